"""What every augmentation keeps: boxes in the image and around their object, mask values, names of points."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import tv_tensors

from cv_pipelines.config import Named
from cv_pipelines.data.augment import ALL, AUGMENTS, Chain
from cv_pipelines.data.augment.geometry import resize
from cv_pipelines.data.augment.objects import drop_degenerate, extents
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
    "warp": {"strength": 0.03},
    "zoom_out": {"p": 1.0},
}
UPRIGHT = ["crop", "mirror", "overlap_crop", "rescale", "resized_crop", "shift", "stretch", "zoom_out"]
"""Movements that keep rectangles rectangles, so that the box of what is left of one is tight."""

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
    """A dark image with one bright rectangle: as box, masks (class 1, object) and two points."""
    x1, y1, x2, y2 = box
    image = torch.full((3, *size), 10, dtype=torch.uint8)
    image[:, y1:y2, x1:x2] = 250
    mask = (image[0] > 100).to(torch.uint8)
    return {
        "image": tv_tensors.Image(image),
        "boxes": tv_tensors.BoundingBoxes(torch.tensor([box]).float(), format="XYXY", canvas_size=size),
        "labels": torch.tensor([label]),
        "mask": tv_tensors.Mask(mask),
        "masks": tv_tensors.Mask(mask[None]),
        "keypoints": tv_tensors.KeyPoints(torch.tensor([[[x1, y1], [x2, y1]]]).float(), canvas_size=size),
        "visibility": torch.tensor([[2, 2]]),
        "keypoint_pairs": torch.tensor([1, 0]),
        "index": 5,
    }


def without(item, *keys):
    return {key: value for key, value in item.items() if key not in keys}


places = st.tuples(st.integers(0, 50), st.integers(0, 30), st.integers(12, 28), st.integers(12, 28)).map(
    lambda p: (p[0], p[1], p[0] + p[2], p[1] + p[3])
)


@pytest.mark.parametrize("name", MOVING)
@given(place=places, seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_a_box_follows_its_object_and_stays_in_the_image(name, place, seed):
    torch.manual_seed(seed)
    found = Chain([Named(name=name, **MOVING[name])])(without(picture(place), "masks"), never)
    height, width = found["image"].shape[-2:]
    assert "masks" not in found
    assert found["mask"].shape == (height, width)
    assert found["boxes"].canvas_size == found["keypoints"].canvas_size == (height, width)
    assert set(found["mask"].unique().tolist()) <= {0, 1, 255}
    assert len({len(found[key]) for key in ("boxes", "labels", "keypoints", "visibility")}) == 1
    assert len(found["boxes"]) == 1 - found["dropped"]
    seen = extents((found["mask"] == 1)[None])[0]
    for x1, y1, x2, y2 in found["boxes"].tolist():
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        # The box of a turned rectangle may be wider than what is left of it in the image, never narrower.
        assert (seen[:2] >= torch.tensor([x1, y1]) - 2).all()
        assert (seen[2:] <= torch.tensor([x2, y2]) + 2).all()
        if name in UPRIGHT:
            assert torch.allclose(torch.tensor([x1, y1, x2, y2]), seen, atol=1.6)


@pytest.mark.parametrize("name", MOVING)
@given(place=places, seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_an_object_mask_moves_like_the_image_and_its_box_is_its_extent(name, place, seed):
    torch.manual_seed(seed)
    found = Chain([Named(name=name, **MOVING[name])])(picture(place), never)
    assert len(found["masks"]) == len(found["boxes"]) == 1 - found["dropped"]
    assert set(found["masks"].unique().tolist()) <= {0, 1}
    for mask, box in zip(found["masks"], found["boxes"], strict=True):
        assert torch.equal(mask == 1, found["mask"] == 1)
        assert torch.allclose(box.as_subclass(torch.Tensor), extents(mask[None])[0], atol=1.01)
        bright = found["image"].float().mean(dim=0)
        assert bright[mask == 1].mean() > 130
        assert bright[(mask == 0) & (found["mask"] == 0)].mean() < 100


@pytest.mark.parametrize("name", MOVING)
@given(place=places, seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_points_stay_on_the_corners_of_their_object(name, place, seed):
    torch.manual_seed(seed)
    found = Chain([Named(name=name, **MOVING[name])])(picture(place), never)
    height, width = found["image"].shape[-2:]
    for (x, y), seen in zip(
        found["keypoints"].reshape(-1, 2).tolist(), found["visibility"].flatten(), strict=True
    ):
        assert bool(seen) == (0 <= x < width and 0 <= y < height)
        if seen and name not in ("rotate", "shear", "warp"):
            left, top, right, _ = extents(found["masks"])[0].tolist()
            assert abs(y - top) < 3
            assert min(abs(x - left), abs(x - right)) < 3
    if name == "rotate" and found["visibility"].all() and not found["dropped"]:
        (x1, y1), (x2, y2) = found["keypoints"][0].tolist()
        assert (x2 - x1) ** 2 + (y2 - y1) ** 2 == pytest.approx((place[2] - place[0]) ** 2, rel=0.01)


@given(seed=st.integers(0, 10**6), place=places)
@settings(max_examples=25, deadline=None)
def test_what_a_crop_cuts_off_does_not_come_back_by_a_turn(seed, place):
    torch.manual_seed(seed)
    steps = [Named(name="crop", size=[20, 24]), Named(name="rotate", degrees=45.0)]
    found = Chain(steps)(without(picture(place), "masks"), never)
    for box in found["boxes"]:
        left, top, right, bottom = box.round().int().tolist()
        assert (found["mask"][max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] == 1).any()


@pytest.mark.parametrize("name", [*MOVING, "boxes", "copy_paste"])
def test_an_image_without_objects_passes(name):
    item = picture((0, 0, 1, 60)) | {"mask": tv_tensors.Mask(torch.zeros(60, 80, dtype=torch.uint8))}
    torch.manual_seed(0)
    options = MOVING.get(name, {})
    found = Chain([Named(name=name, **options)])(item, lambda: item)
    assert found["boxes"].shape == (0, 4)
    assert len(found["masks"]) == len(found["labels"]) == len(found["keypoints"]) == 0
    assert found["dropped"] == 1


@given(places)
@settings(max_examples=20, deadline=None)
def test_mirroring_twice_changes_nothing_and_once_swaps_sides(place):
    item, mirror = picture(place), Chain([Named(name="mirror", p=1.0)])
    once = mirror(item, never)
    twice = mirror(once, never)
    for key in ("image", "boxes", "mask", "keypoints"):
        assert torch.equal(twice[key], item[key])
    marked = mirror(item | {"visibility": torch.tensor([[2, 1]])}, never)
    assert marked["visibility"].tolist() == [[1, 2]]
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


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_a_warp_moves_about_as_far_as_it_says(seed):
    item = {"image": tv_tensors.Image(torch.arange(200, dtype=torch.uint8).repeat(3, 100, 1))}
    torch.manual_seed(seed)
    found = Chain([Named(name="warp", strength=0.02)])(item, never)
    moves = (found["image"].float() - item["image"].float())[0, 25:75, 30:170].abs()  # a grey value a pixel
    assert 0.5 < moves.mean() < 8
    assert moves.max() < 24


@pytest.mark.parametrize("name", [*(n for n in STILL), "rand_augment", "aug_mix", "small_image"])
def test_a_grey_image_stays_grey_and_can_be_changed_further(name):
    grey = {"image": tv_tensors.Image(picture((9, 9, 30, 30))["image"][:1]), "label": 1}
    torch.manual_seed(0)
    steps = [Named(name=name, **STILL.get(name, {})), Named(name="shift", most=0.5)]
    found = Chain(steps)(grey, never)
    assert found["image"].shape == (1, 60, 80)
    assert not torch.equal(found["image"][:, 9:30, 9:30], grey["image"][:, 9:30, 9:30])


@pytest.mark.parametrize("name", ["rand_augment", "aug_mix"])
def test_policies_keep_the_form_of_an_image(name):
    torch.manual_seed(0)
    found = Chain([Named(name=name)])({"image": picture((9, 9, 30, 30))["image"], "label": 1}, never)
    assert found["image"].shape == (3, 60, 80)
    assert found["image"].dtype == torch.uint8
    assert "detection" not in AUGMENTS[name][1]


def test_every_augmentation_of_all_tasks_is_tested_here():
    assert {name for name, (_, tasks) in AUGMENTS.items() if tasks == ALL} == {*MOVING, *STILL} - {
        "overlap_crop",
        "zoom_out",
    }


def test_degenerate_boxes_are_dropped_with_their_labels_and_counted():
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 5, 6, 30], [70, 50, 99, 70], [90, 90, 95, 95]])
    masks = torch.zeros(4, 60, 80, dtype=torch.uint8)
    masks[2] = 1
    item = picture((0, 0, 10, 10)) | {
        "masks": tv_tensors.Mask(masks),
        "keypoints": tv_tensors.KeyPoints(torch.arange(16.0).view(4, 2, 2), canvas_size=(60, 80)),
        "visibility": torch.arange(8).view(4, 2),
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(60, 80)),
        "labels": torch.arange(4),
    }
    found = drop_degenerate(item)
    assert found["labels"].tolist() == [0, 2]
    assert found["dropped"] == 2
    assert found["masks"].float().mean(dim=(1, 2)).tolist() == [0, 1]
    assert found["keypoints"][:, 0, 0].tolist() == [0, 8]
    assert found["visibility"].tolist() == [[0, 1], [4, 5]]
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

    @pytest.mark.parametrize("names", [("mixup", "cutmix"), ("cutmix", "mixup", "mixup")])
    @given(seed=st.integers(0, 10**6))
    @settings(max_examples=20, deadline=None)
    def test_labels_are_mixed_once_at_most(self, names, seed):
        torch.manual_seed(seed)
        found = Chain([Named(name=name, p=0.5, alpha=1.0) for name in names])(DARK, lambda: LIGHT)
        light = found["image"].float().mean().item() / 200
        share = 0 if found["other_label"] == 0 else 1 - found["label_weight"]
        assert light == pytest.approx(share, abs=0.01)

    @given(seed=st.integers(0, 10**6))
    @settings(max_examples=25, deadline=None)
    def test_a_mosaic_keeps_boxes_masks_and_points_on_their_objects(self, seed):
        torch.manual_seed(seed)
        chain = Chain([Named(name="mosaic", size=[90, 100])])
        items = iter([picture((30, 20, 50, 40), label=k) for k in (1, 2, 3)])
        found = chain(picture((30, 20, 50, 40), label=0), lambda: next(items))
        assert found["image"].shape == (3, 90, 100)
        kept = {len(found[key]) for key in ("boxes", "labels", "masks", "keypoints")}
        assert kept == {4 - found["dropped"]}
        assert torch.equal(found["mask"], found["masks"].amax(dim=0))
        assert extents(found["masks"]).tolist() == [
            pytest.approx(box, abs=1.01) for box in found["boxes"].tolist()
        ]
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


@given(
    channels=st.sampled_from([1, 3]),
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    margin=st.integers(0, 3),
    planar=st.booleans(),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=200, deadline=None)
def test_resizing_gives_what_pillow_gives(channels, sides, size, margin, planar, seed):
    shape = (sides[0] + 2 * margin, sides[1] + 2 * margin, channels)
    pixels = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    image = pixels.permute(2, 0, 1)[:, margin : margin + sides[0], margin : margin + sides[1]]
    image = image.contiguous() if planar else image
    found = resize(image, size)
    assert found.dtype == torch.uint8
    for one, channel in zip(found, image, strict=True):
        expected = Image.fromarray(channel.numpy().copy()).resize(size[::-1], Image.Resampling.BILINEAR)
        assert np.abs(one.numpy().astype(int) - np.asarray(expected).astype(int)).max() <= 1
