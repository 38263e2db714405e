"""What every augmentation keeps: boxes in the image and around their object, mask values, names of points."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors

from cv_pipelines.config import Named
from cv_pipelines.data.augment import ALL, AUGMENTS, Chain, drop_degenerate
from cv_pipelines.data.augment.signals import HOLDS

MOVING = {
    "crop": {"size": [40, 50]},
    "mirror": {"p": 1.0},
    "overlap_crop": {},
    "rescale": {},
    "resized_crop": {"size": [48, 48]},
    "rotate": {"degrees": 30.0},
    "shear": {"degrees": 20.0},
    "shift": {"most": 0.3},
    "stretch": {"most": 2.0},
    "zoom_out": {"p": 1.0},
}
"""Movements that keep straight lines straight, so that a box can follow its object."""

STILL = {
    "blur": {"p": 1.0},
    "color": {},
    "erase": {"p": 1.0, "scale": [0.02, 0.05]},
    "noise": {},
    "pca_color": {},
}
SIGNALS = [name for name, (_, tasks) in AUGMENTS.items() if tasks == ("activity",)]


def never():
    raise AssertionError("no other sample is needed")


def picture(box, size=(60, 80), label=1):
    """A dark image with one bright rectangle: as a box, as a mask (class 1), and its corners as points."""
    x1, y1, x2, y2 = box
    image = torch.full((3, *size), 10, dtype=torch.uint8)
    image[:, y1:y2, x1:x2] = 250
    points = torch.tensor([[[x1, y1], [x2, y1]]]).float()
    return {
        "image": tv_tensors.Image(image),
        "boxes": tv_tensors.BoundingBoxes(torch.tensor([box]).float(), format="XYXY", canvas_size=size),
        "labels": torch.tensor([label]),
        "mask": tv_tensors.Mask((image[0] > 100).to(torch.uint8)),
        "keypoints": tv_tensors.KeyPoints(points, canvas_size=size),
        "keypoint_pairs": torch.tensor([1, 0]),
        "index": 5,
    }


def extent(mask):
    ys, xs = torch.nonzero(mask == 1, as_tuple=True)
    return torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float()


def without(item, *keys):
    return {key: value for key, value in item.items() if key not in keys}


places = st.tuples(st.integers(0, 50), st.integers(0, 30), st.integers(12, 28), st.integers(12, 28)).map(
    lambda p: (p[0], p[1], p[0] + p[2], p[1] + p[3])
)


@pytest.mark.parametrize("name", MOVING)
@given(place=places, seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_a_box_follows_its_object_and_stays_in_the_image(name, place, seed):
    item = picture(place)
    if name == "overlap_crop":
        item = without(item, "keypoints")
    torch.manual_seed(seed)
    found = Chain([Named(name=name, **MOVING[name])])(item, never)
    height, width = found["image"].shape[-2:]
    assert found["mask"].shape == (height, width)
    assert found["boxes"].canvas_size == (height, width)
    assert set(found["mask"].unique().tolist()) <= {0, 1, 255}
    assert len(found["boxes"]) == len(found["labels"]) == 1 - found["dropped"]
    for x1, y1, x2, y2 in found["boxes"].tolist():
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        # The box of a turned rectangle may be wider than what is left of it in the image, never narrower.
        seen = extent(found["mask"])
        assert seen[0] >= x1 - 2
        assert seen[1] >= y1 - 2
        assert seen[2] <= x2 + 2
        assert seen[3] <= y2 + 2


@pytest.mark.parametrize(
    "name", ["crop", "mirror", "rescale", "resized_crop", "shift", "stretch", "zoom_out"]
)
@given(place=places, seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_upright_movements_keep_boxes_tight(name, place, seed):
    torch.manual_seed(seed)
    found = Chain([Named(name=name, **MOVING[name])])(picture(place), never)
    for box in found["boxes"]:
        assert torch.allclose(box.as_subclass(torch.Tensor), extent(found["mask"]), atol=1.6)


@given(places)
@settings(max_examples=20, deadline=None)
def test_mirroring_twice_changes_nothing_and_once_swaps_sides(place):
    item, mirror = picture(place), Chain([Named(name="mirror", p=1.0)])
    once = mirror(item, never)
    twice = mirror(once, never)
    for key in ("image", "boxes", "mask", "keypoints"):
        assert torch.equal(twice[key], item[key])
    assert once["keypoints"][0, 0, 0] < once["keypoints"][0, 1, 0]  # the left one is still called left
    assert once["keypoints"][0, :, 0].tolist() == [79 - place[2], 79 - place[0]]  # points are pixels


@pytest.mark.parametrize("name", STILL)
def test_what_changes_colours_leaves_truth_alone(name):
    item = picture((10, 10, 40, 40))
    torch.manual_seed(3)
    found = Chain([Named(name=name, **STILL[name])])(item, never)
    assert not torch.equal(found["image"], item["image"])
    assert found["image"].dtype == torch.uint8
    for key in ("boxes", "mask", "keypoints"):
        assert torch.equal(found[key], item[key])


def test_a_local_warp_keeps_size_and_mask_values():
    torch.manual_seed(0)
    found = Chain([Named(name="warp")])(without(picture((20, 20, 50, 50)), "keypoints"), never)
    assert found["image"].shape == (3, 60, 80)
    assert set(found["mask"].unique().tolist()) <= {0, 1, 255}


@pytest.mark.parametrize("name", ["rand_augment", "aug_mix"])
def test_policies_keep_the_form_of_an_image(name):
    torch.manual_seed(0)
    found = Chain([Named(name=name)])({"image": picture((9, 9, 30, 30))["image"], "label": 1}, never)
    assert found["image"].shape == (3, 60, 80)
    assert found["image"].dtype == torch.uint8
    assert "detection" not in AUGMENTS[name][1]


def test_every_augmentation_of_all_tasks_is_tested_here():
    assert {name for name, (_, tasks) in AUGMENTS.items() if tasks == ALL} == {*MOVING, *STILL, "warp"} - {
        "overlap_crop",
        "zoom_out",
    }


def test_degenerate_boxes_are_dropped_with_their_labels_and_counted():
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 5, 6, 30], [70, 50, 99, 70], [90, 90, 95, 95]])
    item = picture((0, 0, 10, 10)) | {
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(60, 80)),
        "labels": torch.arange(4),
    }
    found = drop_degenerate(item)
    assert found["labels"].tolist() == [0, 2]
    assert found["dropped"] == 2
    assert isinstance(found["boxes"], tv_tensors.BoundingBoxes)


DARK = {"image": tv_tensors.Image(torch.zeros(3, 20, 30, dtype=torch.uint8)), "label": 0, "index": 0}
LIGHT = {"image": tv_tensors.Image(torch.full((3, 24, 24), 200, dtype=torch.uint8)), "label": 1, "index": 1}
WINDOW = torch.randn(6, 64, generator=torch.Generator().manual_seed(0))


class TestMixing:
    """Several samples become one."""

    @pytest.mark.parametrize("name", ["mixup", "cutmix"])
    @given(seed=st.integers(0, 10**6))
    @settings(max_examples=30, deadline=None)
    def test_the_weight_is_the_share_of_the_first_image(self, name, seed):
        torch.manual_seed(seed)
        found = Chain([Named(name=name, alpha=1.0)])(DARK, lambda: LIGHT)
        assert (found["label"], found["other_label"], found["index"]) == (0, 1, 0)
        light = found["image"].float().mean().item() / 200
        assert light == pytest.approx(1 - found["label_weight"], abs=0.01)

    def test_an_unmixed_sample_has_the_same_keys(self):
        found = Chain([Named(name="mixup", p=0.0)])(DARK, never)
        assert (found["label"], found["other_label"], found["label_weight"]) == (0, 0, 1.0)

    def test_labels_of_many_classes_are_mixed_themselves(self):
        torch.manual_seed(0)
        one = DARK | {"label": torch.tensor([1.0, 0.0])}
        other = LIGHT | {"label": torch.tensor([0.0, 1.0])}
        found = Chain([Named(name="mixup", alpha=1.0)])(one, lambda: other)
        assert found["label"].sum().item() == pytest.approx(1.0)
        assert 0 < found["label"][0] < 1

    def test_steps_before_a_mixture_meet_all_of_its_samples(self):
        chain = Chain([Named(name="resized_crop", size=[16, 16]), Named(name="mixup")])
        torch.manual_seed(0)
        assert chain(DARK, lambda: LIGHT)["image"].shape == (3, 16, 16)

    @given(seed=st.integers(0, 10**6))
    @settings(max_examples=25, deadline=None)
    def test_a_mosaic_keeps_boxes_on_their_objects(self, seed):
        torch.manual_seed(seed)
        chain = Chain([Named(name="mosaic", size=[90, 100])])
        items = iter([picture((30, 20, 50, 40), label=k) for k in (1, 2, 3)])
        first = without(picture((30, 20, 50, 40), label=0), "mask", "keypoints")
        found = chain(first, lambda: without(next(items), "mask", "keypoints"))
        assert found["image"].shape == (3, 90, 100)
        assert len(found["boxes"]) == len(found["labels"])
        for x1, y1, x2, y2 in found["boxes"].round().int().tolist():
            inside = found["image"][0, y1 + 1 : y2 - 1, x1 + 1 : x2 - 1].float()
            assert inside.numel() == 0 or inside.mean() > 225


class TestSignals:
    """Windows of two triples of axes."""

    @pytest.mark.parametrize("name", SIGNALS)
    def test_form_stays_and_draws_differ(self, name):
        torch.manual_seed(1)
        chain = Chain([Named(name=name)])
        draws = [chain({"signal": WINDOW, "label": 0}, never)["signal"] for _ in range(8)]
        assert all(draw.shape == WINDOW.shape and draw.isfinite().all() for draw in draws)
        assert len({tuple(draw.flatten().tolist()) for draw in draws}) > 1

    @pytest.mark.parametrize("name", ["turn", "orientation"])
    def test_turns_keep_the_length_of_each_triple(self, name):
        torch.manual_seed(2)
        found = Chain([Named(name=name)])({"signal": WINDOW}, never)["signal"]
        before, after = (x.view(2, 3, 64).norm(dim=1) for x in (WINDOW, found))
        assert torch.allclose(before, after, atol=1e-4)

    def test_there_are_24_ways_to_hold_a_phone(self):
        assert len({tuple(hold.flatten().tolist()) for hold in HOLDS}) == 24
        assert all(torch.allclose(hold @ hold.T, torch.eye(3)) for hold in HOLDS)

    def test_warped_time_keeps_both_ends(self):
        torch.manual_seed(0)
        found = Chain([Named(name="time_warp", deviation=0.5)])({"signal": WINDOW}, never)["signal"]
        assert torch.allclose(found[:, [0, -1]], WINDOW[:, [0, -1]], atol=1e-4)
