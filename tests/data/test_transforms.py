"""Augmentations keep image, boxes and masks aligned, and draw within their stated bounds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors

from cv_pipelines.config import Named
from cv_pipelines.data.augment import AUGMENTS, Chain
from cv_pipelines.data.augment.presets import boxes, photo, scene, signal, small_image

BRIGHT = 250
SEEDS = range(20)


def picture(box, size=(60, 80)):
    """A dark image with one bright rectangle, as boxes and as a mask (class 1)."""
    x1, y1, x2, y2 = box
    image = torch.zeros(3, *size, dtype=torch.uint8)
    image[:, y1:y2, x1:x2] = BRIGHT
    return {
        "image": tv_tensors.Image(image),
        "boxes": tv_tensors.BoundingBoxes(torch.tensor([box]).float(), format="XYXY", canvas_size=size),
        "labels": torch.tensor([1]),
        "mask": tv_tensors.Mask((image[0] > 0).to(torch.uint8)),
        "index": 5,
    }


def bright_box(image):
    """The tight box (x1, y1, x2, y2) around what is bright."""
    ys, xs = torch.nonzero(image[0] > 200, as_tuple=True)  # the ground of a shrunk image is 127
    return torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float()


@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_still_cover_their_object(seed):
    item = picture((20, 15, 50, 45))
    del item["mask"]
    torch.manual_seed(seed)
    found = boxes(color=0.0, zoom_out=1.5)(item)
    assert found["labels"].tolist() == [1]
    assert found["index"] == 5
    assert found["boxes"].canvas_size == tuple(found["image"].shape[-2:])
    assert torch.allclose(found["boxes"][0].as_subclass(torch.Tensor), bright_box(found["image"]), atol=1.0)


def test_boxes_mirror_with_the_image():
    item = picture((10, 20, 30, 40))
    torch.manual_seed(0)
    results = [boxes(crop=False, color=0.0)(item)["boxes"].tolist()[0] for _ in range(20)]
    assert {tuple(box) for box in results} == {(10, 20, 30, 40), (50, 20, 70, 40)}


def test_boxes_that_a_crop_leaves_too_small_go_with_their_labels():
    item = picture((20, 15, 50, 45)) | {
        "boxes": tv_tensors.BoundingBoxes(
            torch.tensor([[20.0, 15, 50, 45], [4, 4, 5, 30]]), format="XYXY", canvas_size=(60, 80)
        ),
        "labels": torch.tensor([1, 0]),
    }
    found = boxes(flip=False, crop=False, color=0.0)(item)
    assert found["labels"].tolist() == [1]
    assert found["boxes"].tolist() == [[20, 15, 50, 45]]


@pytest.mark.parametrize("seed", SEEDS)
def test_scene_keeps_image_and_mask_aligned(seed):
    item = picture((20, 15, 50, 45))
    torch.manual_seed(seed)
    found = scene(crop=[40, 48], scale=(0.75, 1.5), color=0.0)(
        {k: item[k] for k in ("image", "mask", "index")}
    )
    assert found["image"].shape == (3, 40, 48)
    assert found["mask"].shape == (40, 48)
    bright = found["image"][0] > BRIGHT // 2
    agree = (bright == (found["mask"] == 1))[found["mask"] != 255]
    assert agree.float().mean() > 0.95  # nearest and antialiased resizing differ along the edges
    assert bright.any()


def test_scene_fills_what_lies_outside_with_void():
    image = tv_tensors.Image(torch.full((3, 20, 20), 200, dtype=torch.uint8))
    item = {"image": image, "mask": tv_tensors.Mask(torch.ones(20, 20, dtype=torch.uint8))}
    torch.manual_seed(0)
    found = scene(crop=[32, 40], scale=(1.0, 1.0), color=0.0)(item)
    inside = found["mask"] == 1
    assert inside.sum() == 400
    assert (found["mask"][~inside] == 255).all()
    assert (found["image"][:, inside] == 200).all()
    assert (found["image"][:, ~inside] == 0).all()


def test_scene_scales_within_its_bounds():
    item = picture((20, 20, 40, 40), size=(60, 60))
    item = {k: item[k] for k in ("image", "mask")}
    torch.manual_seed(0)
    sides = []
    for _ in range(30):
        found = scene(crop=[120, 120], scale=(0.5, 2.0), flip=False, color=0.0)(item)
        sides.append(float((found["mask"] == 1).sum()) ** 0.5 / 20)
    assert 0.4 < min(sides) < 0.8
    assert 1.5 < max(sides) < 2.1


def test_photo_gives_the_size_asked_for_and_keeps_the_rest():
    item = {"image": picture((20, 15, 50, 45))["image"], "label": torch.tensor([1.0, 0.0]), "index": 5}
    torch.manual_seed(0)
    found = photo(size=[24, 32])(item)
    assert found["image"].shape == (3, 24, 32)
    assert found["image"].dtype == torch.uint8
    assert found["label"].tolist() == [1.0, 0.0]
    assert found["index"] == 5


class TestSmallImage:
    """Shifts, turns and erasures of small images."""

    dot = torch.zeros(1, 9, 9, dtype=torch.uint8)
    dot[0, 4, 4] = 200

    def places(self, **options):
        torch.manual_seed(0)
        augment = small_image(**options)
        found = [augment({"image": tv_tensors.Image(self.dot), "index": 0})["image"] for _ in range(60)]
        assert all(image.shape == (1, 9, 9) for image in found)
        return {tuple(torch.nonzero(image[0]).flatten().tolist()) for image in found}

    def test_shifts_by_no_more_than_the_padding(self):
        assert self.places(padding=1) == {(y, x) for y in (3, 4, 5) for x in (3, 4, 5)}

    def test_does_nothing_when_told_so(self):
        assert self.places(padding=0) == {(4, 4)}

    def test_turning_keeps_the_centre_bright(self):
        torch.manual_seed(0)
        bar = self.dot.clone()
        bar[0, 4, 1:8] = 200
        turned = [small_image(padding=0, rotation=45.0)({"image": bar})["image"] for _ in range(10)]
        assert all(image[0, 4, 4] > 150 for image in turned)
        assert len({image.numpy().tobytes() for image in turned}) > 5

    def test_mirrors_half_of_the_images(self):
        bar = {"image": torch.arange(9, dtype=torch.uint8).expand(1, 9, 9)}
        torch.manual_seed(0)
        starts = [int(small_image(padding=0, flip=True)(bar)["image"][0, 0, 0]) for _ in range(100)]
        assert set(starts) == {0, 8}
        assert 30 < starts.count(8) < 70

    def test_erases_with_the_probability_given(self):
        full = {"image": torch.full((1, 9, 9), 255, dtype=torch.uint8)}
        torch.manual_seed(0)
        erased = [bool((small_image(padding=0, erase=0.4)(full)["image"] == 0).any()) for _ in range(200)]
        assert 50 < sum(erased) < 110


class TestSignal:
    """Turning, scaling and disturbing tri-axial windows."""

    window = torch.from_numpy(np.random.default_rng(0).standard_normal((9, 50)).astype(np.float32))

    @given(st.integers(0, 2**31), st.floats(0.01, 3.0))
    @settings(max_examples=30, deadline=None)
    def test_turning_keeps_the_norm_of_each_triple_and_all_triples_rigid(self, seed, rotation):
        torch.manual_seed(seed)
        found = signal(rotation=rotation, scale=0.0, noise=0.0)({"signal": self.window})["signal"]
        before, after = self.window.view(3, 3, 50), found.view(3, 3, 50)
        assert torch.allclose(after.norm(dim=1), before.norm(dim=1), atol=1e-4)
        # One rotation for all sensors: angles between them stay too.
        assert torch.allclose((after[0] * after[1]).sum(0), (before[0] * before[1]).sum(0), atol=1e-3)
        triple = torch.linalg.det(before[:, :, 0]), torch.linalg.det(after[:, :, 0])
        assert torch.allclose(*triple, atol=1e-3)  # no mirror image

    def test_nothing_asked_is_nothing_done(self):
        found = signal(rotation=0.0, scale=0.0, noise=0.0)({"signal": self.window, "label": 1})
        assert torch.allclose(found["signal"], self.window)
        assert found["label"] == 1

    def test_scale_is_one_factor_for_the_window(self):
        torch.manual_seed(0)
        ratio = signal(rotation=0.0, scale=0.2, noise=0.0)({"signal": self.window})["signal"] / self.window
        assert torch.allclose(ratio, ratio[0, 0].expand_as(ratio), atol=1e-4)
        assert abs(float(ratio[0, 0]) - 1) > 1e-3

    def test_noise_is_in_units_of_each_channels_deviation(self):
        loud = torch.randn(3, 4000, generator=torch.Generator().manual_seed(0)) * torch.tensor(
            [[0.1], [1], [10]]
        )
        torch.manual_seed(0)
        added = signal(rotation=0.0, scale=0.0, noise=0.5)({"signal": loud})["signal"] - loud
        assert torch.allclose(added.std(dim=1) / loud.std(dim=1), torch.full((3,), 0.5), rtol=0.1)


@pytest.mark.parametrize("name", [name for name, (_, tasks) in AUGMENTS.items() if tasks != ("activity",)])
def test_augmentations_do_not_write_into_their_input(name):
    """What they get may be a view of the packed cache."""
    sized = {"crop", "mosaic", "photo", "resized_crop"}
    options = {"scene": {"crop": [16, 16]}} | {key: {"size": [16, 16]} for key in sized}
    one, other = (picture((20, 15, 50, 45)) | {"label": 0} for _ in range(2))
    if "detection" in AUGMENTS[name][1]:
        del one["mask"], other["mask"]
    before = {key: value.clone() for key, value in one.items() if isinstance(value, torch.Tensor)}
    step = Named(name=name, **options.get(name, {}))
    for seed in range(8):
        torch.manual_seed(seed)
        Chain([step])(dict(one), lambda: dict(other))
        for item in (one, other):
            for key, value in before.items():
                assert key not in item or torch.equal(item[key], value), key
