"""Confusion matrix and data-set-level segmentation scores."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import confusion_matrix as sklearn_matrix
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

from cv_pipelines.metrics.confusion import confusion_matrix, segmentation_scores

MASKS = arrays(np.uint8, (2, 4, 5), elements=st.integers(0, 3))


def test_hand_worked():
    target = np.array([[0, 0, 0], [1, 1, 255]], dtype=np.uint8)
    prediction = np.array([[0, 0, 1], [1, 0, 1]], dtype=np.uint8)
    matrix = confusion_matrix(prediction, target, 2)
    np.testing.assert_array_equal(matrix, [[2, 1], [1, 1]])
    assert matrix.dtype == np.int64
    scores = segmentation_scores(matrix, ["road", "sky"])
    assert scores["iou/road"] == pytest.approx(2 / 4)
    assert scores["iou/sky"] == pytest.approx(1 / 3)
    assert scores["miou"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert scores["pixel_accuracy"] == pytest.approx(3 / 5)
    assert scores["mean_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)


@settings(max_examples=40, deadline=None)
@given(MASKS, MASKS)
def test_equals_sklearn_and_torchmetrics(prediction, target):
    matrix = confusion_matrix(prediction, target, 4)
    flat = sklearn_matrix(target.ravel(), prediction.ravel(), labels=range(4))
    np.testing.assert_array_equal(matrix, flat)
    scores = segmentation_scores(matrix, list("abcd"))
    p, t = torch.from_numpy(prediction.astype(int)), torch.from_numpy(target.astype(int))
    # torchmetrics leaves absent classes out of the mean accuracy only; its Jaccard counts them 0 or 1
    present = [k for k in range(4) if matrix[k].sum() + matrix[:, k].sum()]
    jaccard = multiclass_jaccard_index(p, t, 4, average="none")[present].mean()
    assert scores["miou"] == pytest.approx(float(jaccard), abs=1e-6)
    accuracy = multiclass_accuracy(p, t, 4, average="macro")
    assert scores["mean_accuracy"] == pytest.approx(float(accuracy), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(MASKS, MASKS)
def test_matrices_of_parts_add_up_to_that_of_the_whole(prediction, target):
    parts = sum(confusion_matrix(p, t, 4) for p, t in zip(prediction, target, strict=True))
    np.testing.assert_array_equal(parts, confusion_matrix(prediction, target, 4))


def test_data_set_level_is_not_the_mean_over_images():
    small, large = np.array([[1, 1], [1, 0]]), np.array([[50, 0], [0, 50]])
    names = ["a", "b"]
    whole = segmentation_scores(small + large, names)["miou"]
    mean = np.mean([segmentation_scores(m, names)["miou"] for m in (small, large)])
    assert whole == pytest.approx((51 / 53 + 50 / 52) / 2)
    assert whole > mean + 0.2


def test_absent_class_is_nan_and_a_false_one_counts_zero():
    scores = segmentation_scores(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]]), ["a", "b", "c"])
    assert scores["iou/b"] == 0
    assert np.isnan(scores["iou/c"])
    assert scores["miou"] == pytest.approx((3 / 4 + 0) / 2)
    assert scores["mean_accuracy"] == pytest.approx((3 / 4 + 0) / 2)


def test_perfect_and_all_wrong():
    target = np.arange(4)
    assert segmentation_scores(confusion_matrix(target, target, 4), list("abcd"))["miou"] == 1
    assert segmentation_scores(confusion_matrix(target[::-1], target, 4), list("abcd"))["miou"] == 0


@pytest.mark.parametrize("target", [np.zeros((0, 4), np.uint8), np.full((2, 4), 255, np.uint8)])
def test_nothing_to_count(target):
    matrix = confusion_matrix(np.zeros_like(target), target, 2)
    assert matrix.sum() == 0
    scores = segmentation_scores(matrix, ["a", "b"])
    assert list(scores) == ["miou", "pixel_accuracy", "mean_accuracy", "iou/a", "iou/b"]
    assert np.isnan(list(scores.values())).all()


def test_predictions_at_void_pixels_do_not_matter():
    assert confusion_matrix(np.array([0, 255]), np.array([0, 255]), 1).tolist() == [[1]]


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        ([0, 2], [0, 1], r"prediction has classes 0\.\.2"),
        ([0, -1], [0, 1], r"prediction has classes -1"),
        ([0, 1], [0, 7], r"target has classes 0\.\.7"),
        ([0.0, 1.0], [0, 1], "integer"),
        ([0, 1, 1], [0, 1], "expected the same"),
    ],
)
def test_bad_input_is_named(prediction, target, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(np.array(prediction), np.array(target), 2)


def test_matrix_must_fit_the_names():
    with pytest.raises(ValueError, match=r"expected \(3, 3\)"):
        segmentation_scores(np.zeros((2, 2)), ["a", "b", "c"])
