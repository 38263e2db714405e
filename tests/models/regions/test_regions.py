"""R-CNN and Fast R-CNN: against scikit-learn and torchvision, and what R-CNN's second stage does."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVC
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.ops import box_iou

from cv_pipelines.models import builder
from cv_pipelines.models.regions.machines import CODER, Fitting, Machines

FITTING = Fitting(svm_c=0.01, ridge=10.0, negative_iou=0.3, moved_iou=0.6, refit_every=10**9)


class Given(torch.nn.Module):
    """Stands for a proposal network that gives fixed boxes."""

    def __init__(self, boxes):
        super().__init__()
        self.boxes = boxes

    def forward(self, images, features, targets=None):
        return [boxes.clone() for boxes in self.boxes], {}


class OneOf(torch.nn.Module):
    """Pools from the one map of torchvision's dict of maps."""

    def __init__(self, pool):
        super().__init__()
        self.pool = pool

    def forward(self, maps, *rest):
        return self.pool(maps["0"], *rest)


def test_fast_rcnn_is_torchvisions_on_the_same_proposals():
    torch.manual_seed(0)
    detector = builder("fast_rcnn")(3, 3, weights="none", min_size=64, max_size=96, stride=8, head_width=16)
    net = detector.net
    images = [torch.randn(3, 64, 64), torch.randn(3, 64, 96)]
    peer = GeneralizedRCNN(net.backbone, Given(net.proposals(images)), net.roi_heads, net.transform)
    boxes = [torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([[10.0, 4, 80, 44], [0, 0, 30, 30]])]
    labels = [torch.tensor([0]), torch.tensor([1, 2])]
    ours = [{"boxes": b, "labels": k} for b, k in zip(boxes, labels, strict=True)]
    theirs = [{"boxes": b, "labels": k + 1} for b, k in zip(boxes, labels, strict=True)]
    buffers = {k: v.clone() for k, v in net.state_dict().items()}  # batch norms learn as they go
    torch.manual_seed(2)
    losses = detector.train()(images, ours)
    net.load_state_dict(buffers)
    peer.roi_heads.box_roi_pool = OneOf(peer.roi_heads.box_roi_pool)
    torch.manual_seed(2)
    expected = peer.train()(images, theirs)
    assert losses.keys() == expected.keys()
    assert all(torch.equal(losses[key], expected[key]) for key in losses)


class TestMachines:
    """The second stage on made-up features."""

    generator = np.random.default_rng(0)

    def regions(self, count, spread=1.0):
        """Images whose proposals of class k lie near the k-th axis, the others near 0."""
        for _ in range(count):
            boxes = torch.tensor([[0.0, 0, 10, 10], [30, 0, 50, 20], [60, 60, 70, 70], [1, 0, 10, 10]])
            true, labels = torch.tensor([[1.0, 1, 11, 10], [29, 1, 50, 22]]), torch.tensor([0, 1])
            kinds = [0, 1, None, 0, 0, 1]
            rows = self.generator.normal(0, 0.2 * spread, (6, 8))
            for row, kind in zip(rows, kinds, strict=True):
                if kind is not None:
                    row[kind] += 3
            yield torch.from_numpy(rows).float(), boxes, true, labels

    def test_are_scikit_learns(self):
        machines, gathered = Machines(3, FITTING), []
        for one in self.regions(12):
            machines.add(*one)
            gathered.append(one)
        found = machines.solved()
        size = found["size"]
        length = float(gathered[0][0].norm(dim=1).mean())
        assert float(size) == pytest.approx(length / 20)
        rows = [one[0].double().numpy() / float(machines.size) for one in gathered]
        positives, negatives = (
            np.concatenate([r[[4]] for r in rows]),
            np.concatenate([r[[1, 2]] for r in rows]),
        )
        svm = LinearSVC(C=0.01, loss="hinge", intercept_scaling=10.0, random_state=0)
        svm.fit(np.concatenate([positives, negatives]), [1] * len(positives) + [0] * len(negatives))
        expected = np.append(svm.coef_[0], svm.intercept_)
        assert found["machines"][0].numpy() == pytest.approx(expected, rel=1e-4, abs=1e-6)
        boxes, true = gathered[0][1], gathered[0][2]
        near = [0, 3]
        assert (box_iou(boxes[near], true[:1]) >= 0.6).all()
        moves = CODER.encode_single(true[[0, 0]], boxes[near]).numpy()
        ridge = Ridge(alpha=10.0).fit(np.concatenate([r[near] for r in rows]), np.tile(moves, (12, 1)))
        assert found["movers"][0][:-1].numpy() == pytest.approx(ridge.coef_.T, abs=1e-4)
        assert found["movers"][0][-1].numpy() == pytest.approx(ridge.intercept_, abs=1e-3)

    def test_a_class_without_objects_never_scores_and_moves_nothing(self):
        machines = Machines(3, FITTING)
        for one in self.regions(4):
            machines.add(*one)
        found = machines.solved()
        assert found["machines"][2].tolist() == [0.0] * 8 + [-10.0]
        assert not found["movers"][2].any()

    def test_easy_negatives_are_not_kept_and_hard_ones_are(self):
        """What is kept is little, and decides as all of them do."""
        few = Machines(3, Fitting(**{**FITTING.__dict__, "refit_every": 20, "svm_c": 1.0}))
        every = Machines(3, Fitting(**{**FITTING.__dict__, "svm_c": 1.0}))
        regions = list(self.regions(80))
        for one in regions:
            few.add(*one)
            every.add(*one)
        one, other = few.solved()["machines"][:2], every.solved()["machines"][:2]
        kept = [sum(map(len, m.negatives)) for m in (*few.machines[:2], *every.machines[:2])]
        assert max(kept[:2]) < min(kept[2:]) / 4 or max(kept[2:]) < 40
        features = torch.cat([r[0] for r in regions]) / few.size
        rows = torch.nn.functional.pad(features, (0, 1), value=1.0)
        assert ((rows @ one.T > 0) == (rows @ other.T > 0)).float().mean() > 0.99


@pytest.fixture(scope="module")
def toy():
    """Two images with a bright square each, of two classes; and one without."""
    images, targets = [], []
    for k in range(6):
        image = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(k)) * 0.05 - 0.5
        image[k % 2, 16:44, 10 + k : 40 + k] = 1.0
        images.append(image)
        targets.append({"boxes": torch.tensor([[10.0 + k, 16, 40 + k, 44]]), "labels": torch.tensor([k % 2])})
    images.append(torch.randn(3, 64, 64) * 0.05)
    targets.append({"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)})
    return images, targets


def test_the_second_stage_finds_what_the_first_has_not_learned(toy):
    """ImageNet's features tell red squares from green ones without any training by gradient."""
    torch.manual_seed(0)
    model = builder("rcnn")(3, 2, crop=64, search="single", svm_c=0.01).eval()
    images, targets = toy
    with torch.no_grad():
        before = model(images[:1])[0]
        assert not model.completed
        model.complete([(images[:4], targets[:4]), (images[4:], targets[4:])])
        after = model(images)
    assert model.completed
    assert before["scores"].max() < 0.6
    for found, target in zip(after[:6], targets[:6], strict=True):
        assert found["labels"][0] == target["labels"][0]
        assert box_iou(found["boxes"][:1], target["boxes"]) > 0.6
