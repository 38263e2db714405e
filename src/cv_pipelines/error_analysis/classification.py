"""The errors of classifiers, from saved probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, precision_recall_curve

from cv_pipelines.comparing import classification as figures
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.error_analysis.form import RIGHT, WORST, Kind, Report, Worst, of_matrix
from cv_pipelines.error_analysis.slices import slices
from cv_pipelines.metrics.classification import (
    SMALLEST_PROBABILITY,
    calibration,
    calibration_error,
    multi_label_scores,
    reliability,
)

SURE = 0.9
"""From this probability on a mistake is a sure one."""

RECALLS = np.linspace(0.0, 1.0, 101)

MEANINGS = {
    "sure": f"wrong with a probability of {SURE:.0%} or more: look for wrong labels and blind spots here",
    "runner-up": "wrong and less sure; the true class comes second",
    "far off": "wrong and less sure; the true class comes third or later",
}
LABEL_MEANINGS = {
    "missed": "a label of the sample that was not given to it",
    "false alarm": "a label that was given to a sample without it",
}


def report(predictions: pd.DataFrame, data: SourceData, measures: pd.DataFrame) -> Report:
    """Report on a classifier; see `error_analysis.analyse.analyse`."""
    rows = predictions.set_index("sample_id").loc[data.samples["sample_id"], "probabilities"]
    probabilities = np.minimum(np.stack(list(rows)).astype(np.float64), 1.0)
    if data.categories.multi_label:
        return _multi_label(probabilities, predictions, data, measures)
    return _single_label(probabilities, predictions, data, measures)


def _single_label(
    probabilities: np.ndarray, predictions: pd.DataFrame, data: SourceData, measures: pd.DataFrame
) -> Report:
    names = data.categories.names("labels")
    labels = np.array([values[0] for values in data.samples["labels"]])
    guess = probabilities.argmax(axis=1)
    kinds = mistake_kinds(probabilities, labels)
    counts = np.bincount(labels * len(names) + guess, minlength=len(names) ** 2)
    bins = calibration(probabilities, labels)
    truth = np.eye(len(names), dtype=bool)[labels]
    return Report(
        metric="accuracy",
        value=float((guess == labels).mean()),
        unit="samples",
        worst_by="loss: negative log-likelihood of the true class, in nats",
        confusion=of_matrix("samples", names, counts.reshape(len(names), len(names)).tolist()),
        calibration={"bins": bins, "ece": calibration_error(bins)},
        curves=precision_recall(probabilities, truth, names),
        kinds=[
            Kind(kind, meaning, int((kinds == kind).sum()), float((kinds == kind).mean()))
            for kind, meaning in MEANINGS.items()
        ],
        worst=_worst(probabilities, labels, kinds, data),
        slices=slices(figures.figures(predictions, data), "accuracy", data, measures),
    )


def mistake_kinds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (N,) the kind of each sample: `RIGHT` or a key of `MEANINGS`.

    Args:
        probabilities: (N, C) in 0..1; ties go to the lower index.
        labels: (N,) true classes.
    """
    guess = probabilities.argmax(axis=1)
    own = probabilities[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(probabilities.shape[1]) < labels[:, None]
    before = ((probabilities > own) | ((probabilities == own) & earlier)).sum(axis=1)
    kinds = np.where(before == 1, "runner-up", "far off").astype(object)
    kinds[probabilities.max(axis=1) >= SURE] = "sure"
    kinds[guess == labels] = RIGHT
    return kinds


def _worst(probabilities: np.ndarray, labels: np.ndarray, kinds: np.ndarray, data: SourceData) -> list[Worst]:
    names, ids = data.categories.names("labels"), data.samples["sample_id"].tolist()
    own = probabilities[np.arange(len(labels)), labels]
    loss = -np.log(np.clip(own, SMALLEST_PROBABILITY, 1.0))
    found = []
    for i in np.argsort(-loss, kind="stable")[:WORST]:
        guess = int(probabilities[i].argmax())
        reason = f"{names[labels[i]]} taken for {names[guess]} ({probabilities[i, guess]:.2f})"
        if guess == labels[i]:
            reason = f"{names[guess]}, but with {own[i]:.2f} only"
        found.append(Worst(ids[i], [str(kinds[i])], float(loss[i]), reason))
    return found


def precision_recall(probabilities: np.ndarray, truth: np.ndarray, names: list[str]) -> dict[str, Any]:
    """Return the precision-recall curve of each class against all others.

    Args:
        probabilities: (N, C) in 0..1.
        truth: (N, C) bool.
        names: of the classes; those without a true sample have no curve.

    Returns:
        `curves` of a report: at 101 recalls the best precision from there on; `area` is the average precision
        as `multi_label_scores` has it, not interpolated.
    """
    lines = []
    for c in np.flatnonzero(truth.any(axis=0)):
        precision, recall, _ = precision_recall_curve(truth[:, c], probabilities[:, c])
        best = np.maximum.accumulate(precision)[::-1]  # from recall 0 to 1
        at = np.searchsorted(recall[::-1], RECALLS - 1e-12, side="left")
        area = float(average_precision_score(truth[:, c], probabilities[:, c]))
        line = {"name": names[c], "area": area, "n": int(truth[:, c].sum())}
        lines.append(line | {"x": RECALLS.tolist(), "y": best[at].tolist()})
    return {"title": "Each class against all others", "x": "recall", "y": "precision", "lines": lines}


def _multi_label(
    probabilities: np.ndarray, predictions: pd.DataFrame, data: SourceData, measures: pd.DataFrame
) -> Report:
    names = data.categories.names("labels")
    truth = np.zeros(probabilities.shape, dtype=bool)
    for row, labels in enumerate(data.samples["labels"]):
        truth[row, list(labels)] = True
    said = probabilities > 0.5
    value = multi_label_scores(probabilities, truth)["map"]
    bins = reliability(probabilities.ravel(), truth.ravel())
    kinds = []
    for kind, wrong in (("missed", truth & ~said), ("false alarm", said & ~truth)):
        mended = np.where(wrong, truth, probabilities)
        cost = multi_label_scores(mended, truth)["map"] - value
        kinds.append(Kind(kind, LABEL_MEANINGS[kind], int(wrong.sum()), cost))
    return Report(
        metric="map",
        value=value,
        unit="labels",
        worst_by="loss: mean negative log-likelihood of what is true of each label, in nats",
        confusion=of_matrix("labels", names, shared_confusion(truth, said).round(4).tolist()),
        calibration={"bins": bins, "ece": calibration_error(bins)},
        curves=precision_recall(probabilities, truth, names),
        kinds=kinds,
        worst=_worst_labels(probabilities, truth, said, data),
        slices=slices(figures.figures(predictions, data), "map", data, measures),
    )


def shared_confusion(truth: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Count what labels were taken for, where a sample may have several.

    A label that was given rightly counts on the diagonal. One that was missed counts as taken for the labels
    that were falsely given to its sample, in equal shares, or for nothing if there are none; labels falsely
    given to a sample where none was missed were nothing.

    Args:
        truth: (N, C) bool.
        said: (N, C) bool.

    Returns:
        (C + 1, C + 1) float64, rows are the truth, "nothing" last; rows but the last sum to the true labels.
    """
    n = truth.shape[1]
    counts = np.zeros((n + 1, n + 1))
    counts[np.arange(n), np.arange(n)] = (truth & said).sum(axis=0)
    missed, false = truth & ~said, said & ~truth
    for row in np.flatnonzero(missed.any(axis=1) | false.any(axis=1)):
        lost, given = np.flatnonzero(missed[row]), np.flatnonzero(false[row])
        if len(lost) and len(given):
            counts[np.ix_(lost, given)] += 1 / len(given)
        else:
            counts[lost, n] += 1
            counts[n, given] += 1
    return counts


def _worst_labels(
    probabilities: np.ndarray, truth: np.ndarray, said: np.ndarray, data: SourceData
) -> list[Worst]:
    names, ids = data.categories.names("labels"), data.samples["sample_id"].tolist()
    right = np.where(truth, probabilities, 1 - probabilities)
    loss = -np.log(np.clip(right, SMALLEST_PROBABILITY, 1.0)).mean(axis=1)
    found = []
    for i in np.argsort(-loss, kind="stable")[:WORST]:
        told = {
            "missed": [names[c] for c in np.flatnonzero(truth[i] & ~said[i])],
            "false alarm": [names[c] for c in np.flatnonzero(said[i] & ~truth[i])],
        }
        kinds = sorted((k for k, v in told.items() if v), key=lambda k: -len(told[k])) or [RIGHT]
        reason = "; ".join(f"{k}: {', '.join(v)}" for k, v in told.items() if v) or "right, but unsure"
        found.append(Worst(ids[i], kinds, float(loss[i]), reason))
    return found
