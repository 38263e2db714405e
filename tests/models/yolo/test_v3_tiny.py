"""Tiny YOLOv3: its code, its loss by hand, its published size and cost."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from cv_pipelines.models import builder
from cv_pipelines.models.yolo.detector import Truths
from cv_pipelines.models.yolo.v3_tiny import decode, encode

ANCHORS = [[16, 16], [20, 20], [40, 40], [60, 60]]
FINE, COARSE = 2 * 4 * 4, 2 * 2 * 2
LOG_2 = math.log(2)


@pytest.fixture(scope="module")
def yolo():
    """64 pixels: 4 × 4 cells of 16 pixels and 2 × 2 of 32, two anchors each, two classes."""
    return builder("yolo_v3_tiny")(3, 2, size=64, width=0.1, anchors=ANCHORS)


def truth(*boxes, label=0):
    n = len(boxes)
    return Truths(
        torch.zeros(n, dtype=torch.int64),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.full((n,), label),
    )


def test_the_loss_of_one_object_by_hand(yolo):
    # 16 × 16 pixels around (28, 24): the first anchor, in cell (1, 1), at (0.75, 0.5) of it.
    object_ = truth([20, 16, 36, 32], label=1)
    place = 1 * 4 + 1
    said = torch.zeros(1, FINE + COARSE, 7)
    assert yolo.assigned(object_).tolist() == [place]
    losses = yolo.losses(said, object_)
    assert losses["boxes"] == pytest.approx(0.25**2)  # σ(0) is not 0.75; the sides are right
    # The 20 × 20 anchor of that cell has an IoU of 224 / 432 with the object: it is left alone.
    assert losses["objectness"] == pytest.approx((FINE + COARSE - 1) * LOG_2, rel=1e-5)
    assert losses["classes"] == pytest.approx(2 * LOG_2)

    said[0, place] = torch.tensor([0.0, 0, 0.3, 0, 2, 0, 1])
    losses = yolo.losses(said, object_)
    assert losses["boxes"] == pytest.approx(0.25**2 + 0.3**2)
    rest = (FINE + COARSE - 2) * LOG_2
    assert losses["objectness"] == pytest.approx(rest + math.log(1 + math.exp(-2)), rel=1e-5)
    assert losses["classes"] == pytest.approx(LOG_2 + math.log(1 + math.exp(-1)))


def test_without_objects_every_place_learns_to_be_empty(yolo):
    losses = yolo.losses(torch.zeros(2, FINE + COARSE, 7), truth())
    assert losses["boxes"] == losses["classes"] == 0
    assert losses["objectness"] == pytest.approx((FINE + COARSE) * LOG_2, rel=1e-5)  # the mean over images


def test_objects_go_to_the_level_of_the_anchor_most_like_them(yolo):
    # 58 × 58 around (33, 33): the last anchor, in the coarse cell (1, 1)
    assert yolo.assigned(truth([4, 4, 62, 62])).tolist() == [FINE + 1 * 4 + 1 * 2 + 1]


def test_perfect_logits_give_the_box_back(yolo):
    object_ = [20.0, 16, 36, 32]
    said = torch.full((1, FINE + COARSE, 7), -20.0)
    said[0, 5] = torch.tensor([math.log(3), 0, 0, 0, 20, -20, 20])
    boxes, scores = yolo.decode(said)
    best = yolo.selection(boxes[0], scores[0])
    assert best["boxes"].tolist() == [pytest.approx(object_)]
    assert best["labels"].tolist() == [1]


side = st.floats(0.01, 1000)


@given(st.tuples(st.floats(0, 416), st.floats(0, 416)), st.tuples(side, side), st.sampled_from([16, 32]))
def test_decoding_undoes_encoding(centre, size, stride):
    centres, sizes = (torch.tensor([pair], dtype=torch.float64) for pair in (centre, size))
    cells, strides = (centres // stride), torch.tensor([[stride]])
    anchors = torch.tensor([[81.0, 82.0]], dtype=torch.float64)
    code = encode(centres, sizes, cells, strides, anchors)
    assert ((code[:, :2] >= 0) & (code[:, :2] <= 1)).all()
    expected = torch.cat([centres - sizes / 2, centres + sizes / 2], dim=1)
    assert torch.allclose(decode(code, cells, strides, anchors), expected, atol=1e-6)


def test_decoding_stays_finite():
    code = torch.tensor([[0.5, 0.5, 1e4, -1e4]])
    assert torch.isfinite(decode(code, torch.zeros(1, 2), torch.ones(1, 1), torch.full((1, 2), 10.0))).all()


def test_size_and_cost_are_those_that_the_authors_publish():
    """5.56 billion operations at 416 pixels with COCO's 80 classes (pjreddie.com/darknet/yolo)."""
    with torch.device("meta"):
        model = builder("yolo_v3_tiny")(3, 80).eval()
        with FlopCounterMode(display=False) as counter:
            maps = model.network(torch.zeros(1, 3, 416, 416))
    assert [tuple(one.shape) for one in maps] == [(1, 255, 26, 26), (1, 255, 13, 13)]
    assert counter.get_total_flops() == pytest.approx(5.56e9, rel=0.01)
    convs = [(3, 3, 16), (3, 16, 32), (3, 32, 64), (3, 64, 128), (3, 128, 256), (3, 256, 512), (3, 512, 1024)]
    convs += [(1, 1024, 256), (3, 256, 512), (1, 256, 128), (3, 128 + 256, 256)]
    heads = [(512, 255), (256, 255)]
    expected = sum(k * k * i * o + 2 * o for k, i, o in convs) + sum(i * o + o for i, o in heads)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_anchors_that_cannot_be_divided_are_refused():
    with pytest.raises(ValueError, match="3 are given; expected a multiple of the 2 levels"):
        builder("yolo_v3_tiny")(3, 2, anchors=[[1, 1], [2, 2], [3, 3]])
