"""Copy-paste: what lies on top hides what is below, and boxes and masks say so."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from torchvision import tv_tensors

from cv_pipelines.config import Named
from cv_pipelines.data.augment import Chain
from cv_pipelines.data.augment.objects import extents
from cv_pipelines.data.datasets import SampleDataset
from cv_pipelines.data.encoding import decode_segmentation

PASTE = Chain([Named(name="copy_paste", p=1.0)])
SIZE = (40, 50)

rectangle = st.tuples(st.integers(0, 35), st.integers(0, 25), st.integers(3, 15), st.integers(3, 15)).map(
    lambda p: (p[0], p[1], p[0] + p[2], p[1] + p[3])
)


def scene(boxes, first_label, shade, size=SIZE, masks=True):
    """A picture of objects of one shade each, 10 apart; where they overlap, later ones lie on top."""
    image, shown = torch.zeros(3, *size, dtype=torch.uint8), torch.zeros(len(boxes), *size, dtype=torch.uint8)
    for row, (x1, y1, x2, y2) in enumerate(boxes):
        shown[:, y1:y2, x1:x2] = 0
        shown[row, y1:y2, x1:x2] = 1
        image[:, y1:y2, x1:x2] = shade + 10 * row
    corners = extents(shown) if masks else torch.tensor(boxes).float().view(-1, 4)
    item = {
        "image": tv_tensors.Image(image),
        "boxes": tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=size),
        "labels": torch.arange(first_label, first_label + len(boxes)),
        "index": first_label,
    }
    return item | ({"masks": tv_tensors.Mask(shown)} if masks else {})


@given(
    ours=st.lists(rectangle, max_size=4),
    theirs=st.lists(rectangle, min_size=1, max_size=4),
    size=st.sampled_from([SIZE, (30, 60), (70, 45)]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=80, deadline=None)
def test_every_object_is_seen_where_its_mask_and_box_say(ours, theirs, size, seed):
    torch.manual_seed(seed)
    item, other = scene(ours, 0, 50), scene(theirs, 10, 150, size)
    before = item["image"].clone()
    found = PASTE(item, lambda: other)
    assert torch.equal(item["image"], before)
    assert found["index"] == 0
    assert found["image"].shape == (3, *SIZE)
    assert len(found["masks"]) == len(found["boxes"]) == len(found["labels"])
    assert found["masks"].sum(dim=0).max() <= 1 if len(found["masks"]) else True
    for label, mask, box in zip(found["labels"].tolist(), found["masks"], found["boxes"], strict=True):
        shade = 50 + 10 * label if label < 10 else 150 + 10 * (label - 10)
        assert (found["image"][0][mask == 1] == shade).all()
        assert torch.equal(box.as_subclass(torch.Tensor), extents(mask[None])[0])
        assert (box[2:] - box[:2]).min() >= 2
    kept = [label for label in found["labels"].tolist() if label < 10]
    assert len(kept) == len(ours) - found["dropped"]
    for label, mask in enumerate(item["masks"]):
        left = (found["image"][0] == 50 + 10 * label) & (mask == 1)
        x1, y1, x2, y2 = extents(left[None])[0].tolist()
        seen = mask.any() and left.sum() >= 0.1 * mask.sum() and min(x2 - x1, y2 - y1) >= 2
        assert (label in kept) == bool(seen)


def test_a_hidden_object_is_dropped_and_counted_and_a_half_hidden_one_is_cut():
    ours = scene([(5, 5, 15, 15), (20, 0, 30, 20), (40, 30, 48, 38)], 0, 50)
    found = PASTE(ours, lambda: scene([(0, 0, 50, 16)], 10, 150))
    assert found["labels"].tolist() == [1, 2, 10]
    assert found["boxes"].tolist() == [[20, 16, 30, 20], [40, 30, 48, 38], [0, 0, 50, 16]]
    assert found["dropped"] == 1


@pytest.mark.parametrize(("visible", "labels"), [(0.1, [0, 10]), (0.3, [10])])
def test_how_much_must_stay_visible_is_an_option(visible, labels):
    chain = Chain([Named(name="copy_paste", p=1.0, visible=visible)])
    found = chain(scene([(20, 0, 30, 20)], 0, 50), lambda: scene([(0, 0, 50, 16)], 10, 150))
    assert found["labels"].tolist() == labels


def test_without_masks_the_rectangles_of_the_boxes_are_pasted():
    ours, theirs = (
        scene([box], n, s, masks=False) for box, n, s in [((0, 0, 20, 9), 0, 50), ((10, 2, 30, 20), 1, 99)]
    )
    found = PASTE(ours, lambda: theirs)
    assert (found["image"][0, 2:20, 10:30] == 99).all()
    assert found["boxes"].tolist() == [[0, 0, 20, 9], [10, 2, 30, 20]]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_it_joins_with_other_steps(seed):
    torch.manual_seed(seed)
    steps = [
        "mirror",
        "rotate",
        {"name": "mosaic", "size": [64, 64]},
        "copy_paste",
        {"name": "crop", "size": [48, 48]},
    ]
    chain = Chain([Named.model_validate({"name": s} if isinstance(s, str) else s) for s in steps])
    found = chain(scene([(5, 5, 30, 25)], 0, 200), lambda: scene([(20, 10, 45, 39)], 1, 200))
    assert found["image"].shape == (3, 48, 48)
    assert set(found["masks"].unique().tolist()) <= {0, 1}
    for mask, box in zip(found["masks"], found["boxes"], strict=True):
        assert torch.allclose(box.as_subclass(torch.Tensor), extents(mask[None])[0], atol=2)
        if mask.sum() >= 100:  # a sliver that a crop leaves is all edge, half of it turned ground
            assert found["image"][0][mask == 1].float().mean() > 150


@pytest.mark.parametrize("form", ["polygons", "run lengths", "compressed"])
def test_segmentations_are_drawn_whatever_their_form(form):
    mask = np.zeros((12, 20), np.uint8)
    mask[3:9, 4:15] = 1
    runs = coco_mask.encode(np.asfortranarray(mask))
    plain = [int(n) for n in np.diff(np.flatnonzero(np.diff(mask.T.ravel(), prepend=0, append=1)), prepend=0)]
    shape = {
        "polygons": [[4, 3, 10, 3, 10, 9, 4, 9], [10, 3, 15, 3, 15, 9, 10, 9]],
        "run lengths": {"size": [12, 20], "counts": plain},
        "compressed": {"size": [12, 20], "counts": runs["counts"].decode()},
    }[form]
    assert np.array_equal(decode_segmentation(json.dumps(shape), 12, 20), mask)


def test_a_sample_has_masks_where_they_are_asked_for(box_source):
    square = [[8.0, 12.0, 20.0, 12.0, 20.0, 30.0, 8.0, 30.0]]
    texts = [json.dumps(square) if i == 0 else None for i in range(10)]
    data = replace(box_source, annotations=box_source.annotations.assign(segmentation=texts))
    assert "masks" not in SampleDataset(data, "boxes")[0]
    drawn, boxed = (SampleDataset(data, "masks")[i]["masks"] for i in (0, 1))
    assert extents(drawn).tolist() == [[8, 12, 20, 30]]
    assert extents(boxed).tolist() == [[9, 12, 33, 33]]
    small = SampleDataset(data, "masks", size=[32, 32])[0]
    assert extents(small["masks"]).tolist() == [[4, 6, 10, 15]]
