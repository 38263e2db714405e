"""The v5-style detector: which places learn an object, its loss by hand, what decoding can reach."""

import math
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cv_pipelines.models import builder
from cv_pipelines.models.yolo.detector import Truths
from cv_pipelines.models.yolo.v5 import decode

FINE, MIDDLE, COARSE = 64, 16, 4
LOG_2 = math.log(2)


@cache
def build(**options):
    anchors = [[8, 8], [16, 16], [40, 40]]
    weights = {"box_weight": 1.0, "objectness_weight": 1.0, "class_weight": 1.0}
    return builder("yolo_v5")(3, 2, size=64, width=0.1, anchors=anchors, **weights, **options)


@pytest.fixture(scope="module")
def strict():
    """64 pixels: 8 × 8, 4 × 4 and 2 × 2 cells with an anchor each, that learns what is nearly its size."""
    return build(largest_ratio=1.5)


def truth(*boxes, label=0):
    n = len(boxes)
    return Truths(
        torch.zeros(n, dtype=torch.int64),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.full((n,), label),
    )


def test_three_cells_of_each_anchor_like_an_object_learn_it():
    # 16 × 16 around (24, 24): half, as large and twice and a half as large as the anchors
    which, place = build(largest_ratio=4.0).assigned(truth([16, 16, 32, 32]))
    assert which.tolist() == [0] * 9
    fine = [3 * 8 + 3, 3 * 8 + 2, 2 * 8 + 3]  # on the corner of four cells
    middle = [64 + 1 * 4 + 1, 64 + 1 * 4 + 2, 64 + 2 * 4 + 1]  # in the middle of its cell
    coarse = [80, 80 + 1, 80 + 2]  # in the last quarter of its cell
    assert place.tolist() == fine + middle + coarse


def test_no_cell_outside_the_grid_learns(strict):
    _, place = strict.assigned(truth([-5, -5, 9, 9]))  # centre (2, 2): the cells beside are outside
    assert place.tolist() == [FINE]


def test_the_loss_of_one_object_by_hand(strict):
    # With logits of 0 each place says its anchor, in the middle of its cell: one is right, two are 16 pixels
    # beside: IoU 0, and the distance of the centres costs 16² / (32² + 16²) = 0.2.
    said = torch.zeros(1, FINE + MIDDLE + COARSE, 7)
    losses = strict.losses(said, truth([16, 16, 32, 32], label=1))
    assert losses["boxes"] == pytest.approx((0 + 1.2 + 1.2) / 3, abs=1e-5)
    assert losses["classes"] == pytest.approx(LOG_2)
    assert losses["objectness"] == pytest.approx((4 + 1 + 0.4) * LOG_2)
    # Surer where the box is right, of objectness 1; a place beside, of IoU 0, should have said nothing.
    said[0, FINE + 5, 4], said[0, FINE + 6, 4] = 2.0, 3.0
    middle = (14 * LOG_2 + math.log(1 + math.exp(-2)) + math.log(1 + math.exp(3))) / 16
    losses = strict.losses(said, truth([16, 16, 32, 32], label=1))
    assert losses["objectness"] == pytest.approx(4.4 * LOG_2 + middle)


def test_a_place_of_two_objects_has_the_objectness_of_the_one_it_fits(strict):
    said = torch.zeros(1, FINE + MIDDLE + COARSE, 7)
    said[0, FINE + 5, 4] = 2.0
    one = strict.losses(said, truth([16, 16, 32, 32]))["objectness"]
    for pair in ([[16, 16, 32, 32], [16, 14, 32, 36]], [[16, 14, 32, 36], [16, 16, 32, 32]]):
        both = strict.losses(said, truth(*pair))["objectness"]
        # The 16 × 22 box around (24, 25) has the cell below it as a neighbour too, with logit 0: no change.
        assert both == pytest.approx(one.item())


sides = st.floats(3, 60)


@given(st.floats(0, 63.9), st.floats(0, 63.9), sides, sides)
def test_every_place_that_learns_an_object_can_say_it(x, y, w, h):
    model = build(largest_ratio=4.0)
    object_ = truth([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    _, place = model.assigned(object_)
    grid = model.grid
    cells, strides, anchors = grid.cells[place], grid.strides[place], grid.anchors[place]
    centre = (object_.centres / strides - cells + 0.5) / 2
    side = (object_.sizes / anchors).sqrt() / 2
    shares = torch.cat([centre, side], dim=1)
    assert ((shares > -1e-3) & (shares < 1 + 1e-3)).all()
    found = decode(shares.clamp(1e-6, 1 - 1e-6).logit(), cells, strides, anchors)
    assert torch.allclose(found, object_.boxes.expand(len(place), -1), atol=0.05)


def test_depth_and_width_scale_the_network():
    def size(**options):
        with torch.device("meta"):
            return sum(p.numel() for p in builder("yolo_v5")(3, 80, **options).parameters())

    # "s" of this family of networks has 7.2 million parameters; ours is built of the same parts.
    assert size(width=0.5, depth=0.33) == pytest.approx(7.2e6, rel=0.05)
    assert size(width=0.25) < size(width=0.5) < size(width=0.5, depth=0.67)
