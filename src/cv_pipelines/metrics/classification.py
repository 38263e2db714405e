"""Scores of classifiers from saved probabilities: single-label (images, activities) and multi-label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, precision_recall_fscore_support

ECE_BINS = 15
SMALLEST_PROBABILITY = 1e-12
"""The negative log-likelihood sees no smaller one, so one sure mistake costs 27.6 nats, not infinity."""


def classification_scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Score single-label predictions.

    Ties between classes go to the lower index. `macro_f1` is the plain mean over the classes that occur in
    the truth or in the prediction. `nll` is the mean negative log of the true class's probability, in nats.
    `ece` is the expected calibration error of the top label (Guo et al. 2017, eq. 3): 15 bins of equal
    width, (m-1)/15 < confidence <= m/15, as in `calibration`.

    Args:
        probabilities: (N, C) float in 0..1, a row a sample.
        labels: (N,) int, true class indices in 0..C-1.

    Returns:
        `accuracy`, `top5_accuracy` (top C if C < 5), `macro_f1`, `ece`, each in 0..1, and `nll` >= 0; all
        NaN for N = 0.

    Raises:
        ValueError: shapes do not fit, a label is out of range, or a probability is not within 0..1.
    """
    probabilities, labels = _checked(probabilities, labels)
    if not len(labels):
        return dict.fromkeys(["accuracy", "top5_accuracy", "macro_f1", "nll", "ece"], np.nan)
    true = probabilities[np.arange(len(labels)), labels]
    rank = _rank(probabilities, labels, true)
    return {
        "accuracy": float((rank < 1).mean()),
        "top5_accuracy": float((rank < 5).mean()),
        "macro_f1": float(f1_score(labels, _top(probabilities), average="macro", zero_division=0.0)),
        "nll": float(-np.log(np.clip(true, SMALLEST_PROBABILITY, 1.0)).mean()),
        "ece": calibration_error(calibration(probabilities, labels)),
    }


def per_class(
    probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> list[dict[str, str | float | int]]:
    """Return `name, precision, recall, f1, support` of every class, in index order.

    A ratio without denominator (never predicted, never true) counts 0; `support` tells which.

    Args:
        probabilities: (N, C) float in 0..1.
        labels: (N,) int in 0..C-1.
        names: the C class names.

    Raises:
        ValueError: as `classification_scores`, or the names are not C.
    """
    probabilities, labels = _checked(probabilities, labels)
    if len(names) != probabilities.shape[1]:
        raise ValueError(f"{len(names)} names; expected {probabilities.shape[1]}, one a column")
    guess = _top(probabilities)
    classes = np.arange(len(names))
    columns = (
        precision_recall_fscore_support(labels, guess, labels=classes, zero_division=0.0)
        if len(labels)
        else np.zeros((4, len(names)))
    )
    return [
        {"name": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for name, p, r, f, n in zip(names, *columns, strict=True)
    ]


def calibration(probabilities: np.ndarray, labels: np.ndarray) -> list[dict[str, float]]:
    """Return the reliability diagram of the top label, lowest confidence first (Guo et al. 2017, §2).

    Args:
        probabilities: (N, C) float in 0..1.
        labels: (N,) int in 0..C-1.

    Returns:
        For each of the 15 equal-width bins that holds a sample: `confidence` (mean, 0..1), `accuracy` (0..1)
        and `count`; empty for N = 0.

    Raises:
        ValueError: as `classification_scores`.
    """
    probabilities, labels = _checked(probabilities, labels)
    return reliability(probabilities.max(axis=1), _top(probabilities) == labels)


def reliability(confidence: np.ndarray, hit: np.ndarray) -> list[dict[str, float]]:
    """Return how often statements of some confidence are right; see `calibration`.

    Args:
        confidence: (N,) float in 0..1.
        hit: (N,) bool, whether each statement is right.
    """
    inner_edges = np.arange(1, ECE_BINS) / ECE_BINS
    bins = np.digitize(confidence, inner_edges, right=True)
    counts = np.bincount(bins, minlength=ECE_BINS)
    sums = np.bincount(bins, weights=confidence, minlength=ECE_BINS)
    hits = np.bincount(bins, weights=hit, minlength=ECE_BINS)
    return [
        {"confidence": float(s / n), "accuracy": float(h / n), "count": int(n)}
        for s, h, n in zip(sums, hits, counts, strict=True)
        if n
    ]


def calibration_error(bins: Sequence[Mapping[str, float]]) -> float:
    """Return the expected calibration error of a reliability diagram, 0..1; NaN for an empty one."""
    gaps = [abs(b["accuracy"] - b["confidence"]) * b["count"] for b in bins]
    return float(sum(gaps) / sum(b["count"] for b in bins)) if bins else np.nan


def group_accuracy(
    probabilities: np.ndarray, labels: np.ndarray, groups: Sequence[str] | np.ndarray
) -> dict[str, float]:
    """Return the accuracy (0..1) of each group, such as each subject, sorted by name.

    Args:
        probabilities: (N, C) float in 0..1.
        labels: (N,) int in 0..C-1.
        groups: (N,) group names.

    Raises:
        ValueError: as `classification_scores`, or the groups are not N.
    """
    probabilities, labels = _checked(probabilities, labels)
    names = np.asarray(groups).astype(str)
    if names.shape != labels.shape:
        raise ValueError(f"groups have shape {names.shape}; expected {labels.shape}, one a sample")
    hit = _top(probabilities) == labels
    return {str(name): float(hit[names == name].mean()) for name in np.unique(names)}


def multi_label_scores(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Score predictions of several labels a sample.

    Args:
        probabilities: (N, C) float in 0..1, one independent probability a class.
        targets: (N, C) bool.

    Returns:
        `map`, the mean over the classes with a positive of the average precision (sum of precision times
        gain in recall, no interpolation; equal scores are one step), and `macro_f1`, with "present" for a
        probability above 0.5, over the classes that occur in the truth or in the prediction. In 0..1; NaN
        where no class is left, as for N = 0.

    Raises:
        ValueError: shapes differ or are not (N, C), or a probability is not within 0..1.
    """
    probabilities = _checked_probabilities(probabilities)
    targets = np.asarray(targets)
    if targets.shape != probabilities.shape:
        raise ValueError(f"targets have shape {targets.shape}; expected {probabilities.shape}")
    targets, guess = targets.astype(bool), probabilities > 0.5
    positives = np.flatnonzero(targets.any(axis=0))
    precisions = [average_precision_score(targets[:, c], probabilities[:, c]) for c in positives]
    hits, marks = (targets & guess).sum(axis=0), targets.sum(axis=0) + guess.sum(axis=0)
    occurs = marks > 0
    return {
        "map": float(np.mean(precisions)) if precisions else np.nan,
        "macro_f1": float((2 * hits[occurs] / marks[occurs]).mean()) if occurs.any() else np.nan,
    }


def _rank(probabilities: np.ndarray, labels: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return how many classes stand before the true one; counting is far cheaper than sorting rows."""
    above = (probabilities > true[:, None]).sum(axis=1)
    ties = (probabilities == true[:, None]) & (np.arange(probabilities.shape[1]) < labels[:, None])
    return above + ties.sum(axis=1)


def _top(probabilities: np.ndarray) -> np.ndarray:
    return probabilities.argmax(axis=1)


def _checked(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probabilities, labels = _checked_probabilities(probabilities), np.asarray(labels)
    if labels.shape != probabilities.shape[:1]:
        raise ValueError(f"labels have shape {labels.shape}; expected ({len(probabilities)},), one a row")
    if not labels.size:
        return probabilities, labels.astype(np.int64)
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels have dtype {labels.dtype}; expected integer class indices")
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError(f"labels {labels.min()}..{labels.max()}; expected 0..{probabilities.shape[1] - 1}")
    return probabilities, labels.astype(np.int64)


def _checked_probabilities(probabilities: np.ndarray) -> np.ndarray:
    array = np.asarray(probabilities, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"probabilities have shape {array.shape}; expected (N, C) with C > 0")
    # float32 softmax may overshoot 1 by rounding; logits and NaN do not pass
    if array.size and not (array.min() >= 0 and array.max() <= 1 + 1e-4):
        raise ValueError(f"probabilities span {array.min()}..{array.max()}; expected 0..1 and no NaN")
    return np.minimum(array, 1.0)
