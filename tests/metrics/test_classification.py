"""Single-label and multi-label scores from probabilities."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, top_k_accuracy_score
from torchmetrics.functional import classification as reference

from cv_pipelines.metrics.classification import (
    calibration,
    classification_scores,
    group_accuracy,
    multi_label_scores,
    per_class,
)

HAND = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
HAND_LABELS = np.array([0, 1, 1, 2])


def draw(seed, n, classes):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, classes))
    labels = np.where(rng.random(n) < 0.5, logits.argmax(axis=1), rng.integers(0, classes, n))
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), labels


def test_hand_worked():
    scores = classification_scores(HAND, HAND_LABELS)
    assert scores["accuracy"] == 0.75
    assert scores["top5_accuracy"] == 1
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert scores["nll"] == pytest.approx(-np.log([0.7, 0.8, 0.3, 0.6]).mean())
    # each confidence has a bin of its own, except 0.7 (0.667..0.733)
    assert scores["ece"] == pytest.approx((0.3 + 0.2 + 0.5 + 0.4) / 4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(2, 12))
def test_equals_torchmetrics_and_sklearn(seed, n, classes):
    p, y = draw(seed, n, classes)
    scores = classification_scores(p, y)
    tp, ty = torch.from_numpy(p), torch.from_numpy(y)
    k = min(5, classes)
    theirs = {
        "accuracy": reference.multiclass_accuracy(tp, ty, classes, average="micro"),
        "macro_f1": reference.multiclass_f1_score(tp, ty, classes, average="macro"),
        "ece": reference.multiclass_calibration_error(tp, ty, classes, n_bins=15),
        "nll": log_loss(y, p, labels=range(classes)),
        "top5_accuracy": 1.0 if k == classes else top_k_accuracy_score(y, p, k=k, labels=range(classes)),
    }
    assert scores == pytest.approx({key: float(value) for key, value in theirs.items()}, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.randoms(use_true_random=False))
def test_blind_to_the_order_of_samples(seed, n, random):
    p, y = draw(seed, n, 4)
    order = random.sample(range(n), n)
    assert classification_scores(p[order], y[order]) == pytest.approx(classification_scores(p, y))


def test_sure_and_right_and_sure_and_wrong():
    right = classification_scores(np.eye(3), np.arange(3))
    assert right == {"accuracy": 1, "top5_accuracy": 1, "macro_f1": 1, "nll": 0, "ece": 0}
    wrong = classification_scores(np.eye(6)[:, ::-1], np.arange(6))
    assert wrong["accuracy"] == wrong["macro_f1"] == 0
    assert wrong["ece"] == 1
    assert wrong["nll"] == pytest.approx(-np.log(1e-12))


def test_ties_go_to_the_lower_index():
    p = np.full((6, 6), 1 / 6)
    scores = classification_scores(p, np.arange(6))
    assert scores["accuracy"] == pytest.approx(1 / 6)
    assert scores["top5_accuracy"] == pytest.approx(5 / 6)


def test_bins_are_closed_above():
    p = np.array([[6 / 15, 5 / 15, 4 / 15], [6 / 15 + 1e-6, 5 / 15, 4 / 15 - 1e-6]])
    assert [b["count"] for b in calibration(p, np.array([0, 0]))] == [1, 1]


def test_calibration_weighs_up_to_the_error():
    p, y = draw(3, 500, 5)
    bins = calibration(p, y)
    assert sum(b["count"] for b in bins) == 500
    ece = sum(abs(b["accuracy"] - b["confidence"]) * b["count"] for b in bins) / 500
    assert classification_scores(p, y)["ece"] == pytest.approx(ece)
    assert bins == sorted(bins, key=lambda b: b["confidence"])


def test_per_class_hand_worked():
    rows = per_class(HAND, HAND_LABELS, ["cat", "dog", "owl"])
    assert rows[0] == {"name": "cat", "precision": 0.5, "recall": 1, "f1": pytest.approx(2 / 3), "support": 1}
    assert rows[1] == {"name": "dog", "precision": 1, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}
    assert rows[2] == {"name": "owl", "precision": 1, "recall": 1, "f1": 1, "support": 1}


def test_a_class_that_never_occurs_has_no_say_in_macro_f1():
    p = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
    assert classification_scores(p, np.array([0, 1]))["macro_f1"] == 1
    assert per_class(p, np.array([0, 1]), ["a", "b", "c"])[2]["support"] == 0


def test_group_accuracy():
    got = group_accuracy(HAND, HAND_LABELS, ["s2", "s1", "s1", "s2"])
    assert got == {"s1": 0.5, "s2": 1.0}
    assert list(got) == ["s1", "s2"]


def test_no_samples():
    p, y = np.zeros((0, 3)), np.zeros(0, dtype=int)
    assert np.isnan(list(classification_scores(p, y).values())).all()
    assert calibration(p, y) == []
    assert group_accuracy(p, y, []) == {}
    assert [row["support"] for row in per_class(p, y, ["a", "b", "c"])] == [0, 0, 0]
    assert np.isnan(list(multi_label_scores(p, np.zeros((0, 3), dtype=bool)).values())).all()


@pytest.mark.parametrize(
    ("p", "y", "message"),
    [
        (HAND, HAND_LABELS[:3], "one a row"),
        (HAND, HAND_LABELS + 1, r"expected 0\.\.2"),
        (HAND, HAND_LABELS - 1, r"expected 0\.\.2"),
        (HAND, HAND_LABELS.astype(float), "integer"),
        (HAND[0], HAND_LABELS, r"expected \(N, C\)"),
        (HAND * 5, HAND_LABELS, r"expected 0\.\.1"),
        (HAND * np.nan, HAND_LABELS, "no NaN"),
    ],
)
def test_bad_input_is_named(p, y, message):
    with pytest.raises(ValueError, match=message):
        classification_scores(p, y)


def test_names_and_groups_must_fit():
    with pytest.raises(ValueError, match="2 names"):
        per_class(HAND, HAND_LABELS, ["a", "b"])
    with pytest.raises(ValueError, match="groups"):
        group_accuracy(HAND, HAND_LABELS, ["a"])
    with pytest.raises(ValueError, match="targets"):
        multi_label_scores(HAND, np.zeros((4, 2), dtype=bool))


def test_multi_label_hand_worked():
    p = np.array([[0.9, 0.1, 0.2], [0.8, 0.7, 0.1], [0.3, 0.6, 0.3]])
    t = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0]], dtype=bool)
    scores = multi_label_scores(p, t)
    # class 0: ranks hit, miss, hit; class 1: hit first; class 2 has no positive
    assert scores["map"] == pytest.approx(((1 / 2 * 1 + 1 / 2 * 2 / 3) + 1) / 2)
    assert scores["macro_f1"] == pytest.approx((2 * 1 / (2 + 2) + 2 * 1 / (1 + 2)) / 2)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_multi_label_equals_torchmetrics(seed):
    rng = np.random.default_rng(seed)
    p, t = rng.random((40, 5)).round(2), rng.random((40, 5)) < 0.3
    tp, tt = torch.from_numpy(p), torch.from_numpy(t.astype(int))
    scores = multi_label_scores(p, t)
    ap = reference.multilabel_average_precision(tp, tt, 5, average="macro")
    f1 = reference.multilabel_f1_score(tp, tt, 5, average="macro")
    assert scores == pytest.approx({"map": float(ap), "macro_f1": float(f1)}, abs=1e-5)
