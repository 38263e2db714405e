"""Figures of classifiers, from saved probabilities."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd

from cv_pipelines.comparing.figures import Figures, Measured, mean_of_known, ratio
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.metrics.classification import ECE_BINS, SMALLEST_PROBABILITY


def figures(predictions: pd.DataFrame, data: SourceData) -> Figures:
    """Make the figures of a classifier; see `comparing.figures.figures`."""
    rows = predictions.set_index("sample_id").loc[data.samples["sample_id"], "probabilities"]
    probabilities = np.minimum(np.stack(list(rows)).astype(np.float64), 1.0)
    names = data.categories.names("labels")
    if data.categories.multi_label:
        return MultiLabel(probabilities, data.samples["labels"], names)
    labels = np.array([values[0] for values in data.samples["labels"]])
    return SingleLabel(probabilities, labels, names, data.samples["group"].to_numpy())


class SingleLabel(Figures):
    """One label a sample. All but F1 and calibration are means of the samples; a class's are of its samples.

    Args:
        probabilities: (N, C) in 0..1.
        labels: (N,) true classes.
        names: of the classes.
        groups: (N,) of the samples.
    """

    metrics: ClassVar = ("accuracy", "top5_accuracy", "macro_f1", "nll", "ece", "worst_subject_accuracy")
    beside: ClassVar = metrics[:-1]
    lower: ClassVar = ("nll", "ece")

    def __init__(
        self, probabilities: np.ndarray, labels: np.ndarray, names: list[str], groups: np.ndarray
    ) -> None:
        self.classes = names
        self.counts = np.bincount(labels, minlength=len(names)).tolist()
        self.true = one_hot(labels, len(names))
        self.guess = one_hot(probabilities.argmax(axis=1), len(names))
        self.groups = one_hot(np.unique(groups.astype(str), return_inverse=True)[1])
        own = probabilities[np.arange(len(labels)), labels]
        # ties go to the lower index, as in `metrics.classification`
        earlier = np.arange(len(names)) < labels[:, None]
        rank = ((probabilities > own[:, None]) | ((probabilities == own[:, None]) & earlier)).sum(axis=1)
        self.means = {
            "accuracy": (rank < 1).astype(float),
            "top5_accuracy": (rank < 5).astype(float),
            "nll": -np.log(np.clip(own, SMALLEST_PROBABILITY, 1.0)),
        }
        confidence = probabilities.max(axis=1)
        bins = np.digitize(confidence, np.arange(1, ECE_BINS) / ECE_BINS, right=True)
        self.gaps = one_hot(bins, ECE_BINS) * (self.means["accuracy"] - confidence)[:, None]

    def measure(self, metric: str, weights: np.ndarray) -> Measured:
        """Return a figure of each resample, overall and by class."""
        total = weights.sum(axis=1)
        if metric == "ece":  # a bin's |accuracy - confidence| times its samples is |sum of their gaps|
            absent = np.full((len(weights), len(self.classes)), np.nan)
            return ratio(np.abs(weights @ self.gaps).sum(axis=1), total), absent
        if metric == "macro_f1":
            hits = weights @ (self.true * self.guess)
            f1 = ratio(2 * hits, weights @ self.true + weights @ self.guess)
            return mean_of_known(f1), f1
        values = self.means["accuracy" if metric == "worst_subject_accuracy" else metric]
        classes = ratio(weights @ (self.true * values[:, None]), weights @ self.true)
        if metric == "worst_subject_accuracy":
            subjects = ratio(weights @ (self.groups * values[:, None]), weights @ self.groups)
            return np.where(np.isnan(subjects), np.inf, subjects).min(axis=1), classes
        return ratio(weights @ values, total), classes


class MultiLabel(Figures):
    """Several labels a sample.

    Args:
        probabilities: (N, C) in 0..1.
        labels: true classes of each sample.
        names: of the classes.
    """

    metrics: ClassVar = ("map", "macro_f1")
    beside: ClassVar = metrics

    def __init__(self, probabilities: np.ndarray, labels: Any, names: list[str]) -> None:
        self.classes, self.probabilities = names, probabilities
        self.true = np.stack([one_hot(np.asarray(list(own), int), len(names)).sum(axis=0) for own in labels])
        self.guess = (probabilities > 0.5).astype(float)
        self.counts = self.true.sum(axis=0).astype(int).tolist()

    def measure(self, metric: str, weights: np.ndarray) -> Measured:
        """Return a figure of each resample, overall and by class."""
        if metric == "macro_f1":
            hits = weights @ (self.true * self.guess)
            classes = ratio(2 * hits, weights @ self.true + weights @ self.guess)
        else:
            columns = [self._precision(c, weights) for c in range(len(self.classes))]
            classes = np.stack(columns, axis=1)
        return mean_of_known(classes), classes

    def _precision(self, category: int, weights: np.ndarray) -> np.ndarray:
        """Average precision: precision times gain in recall; equal scores are one step."""
        scores = self.probabilities[:, category]
        order = np.argsort(-scores, kind="stable")
        last = np.append(np.diff(scores[order]) != 0, True)
        drawn = weights[:, order]
        found = np.cumsum(drawn * self.true[order, category], axis=1)
        hits, all_ = found[:, last], np.cumsum(drawn, axis=1)[:, last]
        gains = np.diff(hits, axis=1, prepend=0.0)
        precision = np.divide(hits, all_, out=np.zeros_like(hits), where=all_ > 0)
        return ratio((gains * precision).sum(axis=1), found[:, -1])


def one_hot(indices: np.ndarray, count: int | None = None) -> np.ndarray:
    """Return (N, count) float64 with a 1 at each index; as many columns as it takes if `count` is None."""
    width = count if count is not None else int(indices.max(initial=-1)) + 1
    return np.eye(width)[indices]
