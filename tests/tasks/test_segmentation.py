"""Segmentation: scores by hand, void left out, sizes restored, class weights."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from cv_pipelines.config import Evaluate
from cv_pipelines.data.datasets import SampleDataset
from cv_pipelines.data.encoding import decode_png, encode_png
from cv_pipelines.data.preprocessing import Preprocessing
from cv_pipelines.tasks.base import Context
from cv_pipelines.tasks.segmentation import Segmentation, balanced_weights, padded


def predicted(data, change=lambda mask: mask):
    masks = [change(data.mask(i)) for i in range(len(data.samples))]
    return pd.DataFrame({"sample_id": data.samples["sample_id"], "mask": [encode_png(m) for m in masks]})


def test_perfect_masks(mask_source):
    part = mask_source.only("test")
    found = Segmentation.score(predicted(part), part, Evaluate())
    ones = ("miou", "pixel_accuracy", "mean_accuracy", "iou/ground", "iou/sky")
    assert found.values == dict.fromkeys(ones, 1.0)
    assert np.array(found.details["confusion"]).sum() == 4 * 16 * 15  # the void frame counts nowhere
    assert found.contract["classes"] == ["ground", "sky"]


def test_void_pixels_may_be_predicted_as_anything(mask_source):
    part = mask_source.only("test")
    found = Segmentation.score(predicted(part, lambda m: np.where(m == 255, 1, m)), part, Evaluate())
    assert found.values["miou"] == 1.0


def test_all_wrong(mask_source):
    part = mask_source.only("test")
    found = Segmentation.score(
        predicted(part, lambda m: (1 - np.minimum(m, 1)).astype(np.uint8)), part, Evaluate()
    )
    assert set(found.values.values()) == {0.0}


def test_one_matrix_over_all_images(mask_source):
    """All predicted as sky: IoU of sky is its share of the pixels, over the data set, no mean of images."""
    part = mask_source.only("test")
    found = Segmentation.score(predicted(part, np.ones_like), part, Evaluate())
    horizons = [4 + i % 8 for i in range(16, 20)]
    share = sum(horizons) / (4 * 16)
    assert found.values["iou/sky"] == pytest.approx(share)
    assert found.values["iou/ground"] == 0.0
    assert found.values["miou"] == pytest.approx(share / 2)
    assert found.values["pixel_accuracy"] == pytest.approx(share)
    assert found.values["mean_accuracy"] == 0.5
    assert found.samples["score"].tolist() == pytest.approx([h / 32 for h in horizons])


class Brightness(nn.Module):
    """Sky where it is bright; refuses sides that 32 does not divide."""

    def forward(self, x):
        assert x.shape[-1] % 32 == x.shape[-2] % 32 == 0
        return torch.stack([-x.mean(dim=1), x.mean(dim=1)], dim=1)


@pytest.mark.parametrize("size", [(16, 16), (32, 64), (33, 31), (1, 40)])
def test_padding_restores_the_size_and_the_values(size):
    x = torch.randn(2, 3, *size)
    found = padded(Brightness(), x)
    assert found.shape == (2, 2, *size)
    assert torch.equal(found[:, 1], x.mean(dim=1))


@pytest.mark.parametrize("scales", [[1.0], [0.5, 2.0]])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", [None, [32, 32]])
def test_rows_hold_masks_of_the_images_own_size(mask_source, experiment, size, flip, scales):
    config = experiment("segmentation", evaluate={"flip": flip, "scales": scales})
    preprocessing = Preprocessing(size=size, mean=[120.0] * 3, std=[20.0] * 3)
    task = Segmentation(Brightness(), Context(config, mask_source, preprocessing)).eval()
    part = mask_source.only("test")
    task.evaluate_on(part)
    dataset = SampleDataset(part, "none", size)
    rows = task.predict_rows(Segmentation.collate([dataset[i] for i in (1, 3)]))
    assert [set(row) for row in rows] == [{"sample_id", "mask"}] * 2
    assert [row["sample_id"] for row in rows] == ["s17", "s19"]
    for row, index in zip(rows, (1, 3), strict=True):
        mask = decode_png(row["mask"])
        assert mask.shape == (16, 16)
        truth = part.mask(index)
        assert (mask == truth)[truth != 255].mean() > 0.92  # resizing blurs the horizon by a row


class TestBalancedWeights:
    """sqrt(median / count), scaled to a mean of 1 over all pixels."""

    def test_a_case_by_hand(self):
        # medians of (100, 400): torch takes the lower, 100; roots are 1 and 1/2; mean over pixels 300/500
        assert balanced_weights([100, 400]).tolist() == pytest.approx([1 / 0.6, 0.5 / 0.6])

    def test_equal_classes_weigh_one(self):
        assert balanced_weights([7, 7, 7]).tolist() == pytest.approx([1.0] * 3)

    def test_a_class_without_pixels_weighs_nothing(self):
        found = balanced_weights([100, 0, 400])
        assert found[1] == 0
        assert found[[0, 2]].tolist() == pytest.approx([1 / 0.6, 0.5 / 0.6])
        assert found.dtype == torch.float32

    def test_the_mean_over_pixels_is_one(self):
        counts = torch.tensor([3, 50, 1000, 20000])
        assert float((balanced_weights(counts.tolist()) * counts).sum() / counts.sum()) == pytest.approx(1.0)


class TestLoss:
    """What the options add to the cross-entropy."""

    def loss(self, mask_source, experiment, **options):
        preprocessing = Preprocessing(size=None, mean=[0.0] * 3, std=[99.0] * 3)
        context = Context(experiment("segmentation"), mask_source, preprocessing)
        torch.manual_seed(0)
        task = Segmentation(nn.Conv2d(3, 2, 1), context, **options)
        task.log = lambda *args, **kwargs: None
        dataset = SampleDataset(mask_source, "mask")
        batch = Segmentation.collate([dataset[i] for i in range(4)])
        return task, batch, float(task.training_step(batch, 0).detach())

    def test_void_pixels_do_not_count(self, mask_source, experiment):
        task, batch, loss = self.loss(mask_source, experiment)
        logits, mask = task.model(task.inputs(batch)), batch["mask"].long()
        kept = mask != 255
        expected = nn.functional.cross_entropy(logits.permute(0, 2, 3, 1)[kept], mask[kept])
        assert loss == pytest.approx(float(expected), rel=1e-4)

    def test_balance_weighs_the_classes(self, mask_source, experiment):
        task, batch, loss = self.loss(mask_source, experiment, balance="sqrt")
        weights = balanced_weights(mask_source.statistics["pixels"])
        assert torch.equal(task.class_weights, weights)
        logits = task.model(task.inputs(batch))
        expected = nn.functional.cross_entropy(logits, batch["mask"].long(), weights, ignore_index=255)
        assert loss == pytest.approx(float(expected))

    @pytest.mark.parametrize("overlap", ["lovasz", "dice"])
    def test_overlap_is_added_with_its_weight(self, mask_source, experiment, overlap):
        plain = self.loss(mask_source, experiment)[2]
        once = self.loss(mask_source, experiment, overlap=overlap)[2] - plain
        twice = self.loss(mask_source, experiment, overlap=overlap, overlap_weight=2.0)[2] - plain
        assert 0 < once < 2
        assert twice == pytest.approx(2 * once, rel=1e-4)


def test_the_mirror_image_changes_nothing_where_the_model_looks_at_pixels_alone(mask_source, experiment):
    part = mask_source.only("test")
    masks = {}
    for flip in (False, True):
        preprocessing = Preprocessing(size=None, mean=[120.0] * 3, std=[20.0] * 3)
        config = experiment("segmentation", evaluate={"flip": flip})
        task = Segmentation(Brightness(), Context(config, mask_source, preprocessing)).eval()
        task.evaluate_on(part)
        dataset = SampleDataset(part, "none")
        items = [dataset[i] for i in range(4)]
        for item in items:
            item["image"][:, 2:5, :4] = 30  # not the same left and right
        masks[flip] = [decode_png(row["mask"]) for row in task.predict_rows(Segmentation.collate(items))]
    assert all(np.array_equal(one, two) for one, two in zip(masks[False], masks[True], strict=True))
    assert any((mask != mask[:, ::-1]).any() for mask in masks[True])
