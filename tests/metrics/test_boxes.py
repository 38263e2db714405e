"""Boxes: corners, overlap, and the checks on predicted boxes."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask
from torchvision.ops import box_iou

from cv_pipelines.metrics.boxes import check_predictions, iou, xywh_to_xyxy, xyxy_to_xywh

BOX = st.tuples(*[st.floats(0, 500)] * 2, *[st.floats(0.5, 300)] * 2)
BOXES = st.lists(BOX, min_size=1, max_size=6).map(np.array)


def test_hand_worked_overlap():
    a = np.array([[0, 0, 10, 10], [20, 20, 5, 5]])
    b = np.array([[5, 0, 10, 10], [0, 0, 10, 10], [10, 0, 10, 10]])
    np.testing.assert_allclose(iou(a, b), [[50 / 150, 1, 0], [0, 0, 0]])


def test_a_crowd_is_measured_by_the_detections_area():
    detection, region = np.array([[2.0, 2, 4, 4]]), np.array([[0.0, 0, 100, 100]])
    assert iou(detection, region)[0, 0] == pytest.approx(16 / 10000)
    assert iou(detection, region, np.array([True]))[0, 0] == 1


@settings(max_examples=50, deadline=None)
@given(BOXES, BOXES, st.randoms(use_true_random=False))
def test_equals_pycocotools_and_torchvision(a, b, random):
    crowd = np.array([random.random() < 0.5 for _ in b])
    np.testing.assert_allclose(iou(a, b, crowd), mask.iou(a, b, crowd.astype(np.uint8)), atol=1e-9)
    theirs = box_iou(torch.from_numpy(xywh_to_xyxy(a)), torch.from_numpy(xywh_to_xyxy(b)))
    np.testing.assert_allclose(iou(a, b), theirs.numpy(), atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(BOXES, BOXES, st.floats(-1000, 1000), st.floats(0.1, 10))
def test_symmetric_bounded_and_blind_to_shift_and_scale(a, b, shift, scale):
    value = iou(a, b)
    assert ((value >= 0) & (value <= 1 + 1e-12)).all()
    np.testing.assert_allclose(value, iou(b, a).T)
    np.testing.assert_allclose(np.diag(iou(a, a)), 1)
    move = np.array([shift, shift, 0, 0])
    np.testing.assert_allclose(iou((a + move) * scale, (b + move) * scale), value, atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(BOXES)
def test_corner_forms_are_inverse(a):
    np.testing.assert_allclose(xyxy_to_xywh(xywh_to_xyxy(a)), a, atol=1e-9)


def test_no_boxes_and_boxes_without_area():
    assert iou(np.zeros((0, 4)), np.ones((3, 4))).shape == (0, 3)
    assert iou(np.array([]), np.array([])).shape == (0, 0)
    assert xywh_to_xyxy(np.array([])).shape == (0, 4)
    point = np.array([[1.0, 1, 0, 0]])
    assert iou(point, point)[0, 0] == 0
    assert iou(point, point, np.array([True]))[0, 0] == 0


@pytest.mark.parametrize("bad", [np.zeros(4), np.zeros((2, 5)), np.zeros((1, 2, 4))])
def test_other_shapes_are_refused(bad):
    with pytest.raises(ValueError, match=r"expected \(N, 4\)"):
        iou(bad, np.zeros((1, 4)))


def test_crowd_marks_must_fit():
    with pytest.raises(ValueError, match="crowd"):
        iou(np.ones((1, 4)), np.ones((2, 4)), np.array([True]))


GOOD = {"sample_id": "a", "category": 0, "score": 0.5, "x": 1.0, "y": 1.0, "w": 2.0, "h": 2.0}


def test_good_and_empty_predictions_pass():
    check_predictions(pd.DataFrame([GOOD]), {"a"}, 1)
    check_predictions(pd.DataFrame(columns=list(GOOD)), set(), 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_id": "b"}, "unknown samples"),
        ({"category": 1}, r"expected 0\.\.0"),
        ({"category": -1}, r"expected 0\.\.0"),
        ({"score": np.nan}, "not finite"),
        ({"x": np.inf}, "not finite"),
        ({"w": -1.0}, "negative"),
    ],
)
def test_bad_predictions_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        check_predictions(pd.DataFrame([GOOD, {**GOOD, **change}]), {"a"}, 1)


def test_missing_columns_are_named():
    with pytest.raises(ValueError, match="lack score"):
        check_predictions(pd.DataFrame([GOOD]).drop(columns="score"), {"a"}, 1)
