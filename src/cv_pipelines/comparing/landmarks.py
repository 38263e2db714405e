"""Figures of landmarks: means over points, and over images for presence."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd

from cv_pipelines.comparing.figures import Figures, Measured, ratio
from cv_pipelines.data.datasets import SourceData, keypoint_names
from cv_pipelines.data.landmarks import landmarks_of, predicted_points
from cv_pipelines.metrics.landmarks import SHARES, point_distances


def figures(predictions: pd.DataFrame, data: SourceData) -> Figures:
    """Make the figures of landmarks; see `comparing.figures.figures`."""
    truth = landmarks_of(data)
    chances, points = predicted_points(predictions, data)
    distances = point_distances(points, truth.points, truth.known)
    right = (chances >= 0.5) == truth.present
    return Pointed(keypoint_names(data.categories), distances, truth.sides, truth.spans, right)


class Pointed(Figures):
    """Points beside the true ones; a class is a point.

    Args:
        classes: names of the points.
        distances: (N, P) in pixels, NaN where the truth is not known.
        sides: (N,) of the image, in pixels.
        spans: (N,) longer side of the object's box, in pixels.
        right: (N,) bool, whether presence was told rightly.
    """

    metrics: ClassVar = (
        "mean_error",
        *(f"pck_{round(100 * share)}" for share in SHARES),
        "presence_accuracy",
    )
    beside: ClassVar = metrics
    lower: ClassVar = ("mean_error",)

    def __init__(
        self,
        classes: list[str],
        distances: np.ndarray,
        sides: np.ndarray,
        spans: np.ndarray,
        right: np.ndarray,
    ) -> None:
        self.classes, self.known, self.right = classes, np.isfinite(distances), right
        self.counts = [int(n) for n in self.known.sum(axis=0)]
        shares = np.nan_to_num(distances / spans[:, None], nan=np.inf)
        self.each = {f"pck_{round(100 * share)}": (shares <= share) * 1.0 for share in SHARES}
        self.each["mean_error"] = np.nan_to_num(100 * distances / sides[:, None])

    def measure(self, metric: str, weights: np.ndarray) -> Measured:
        """Return a figure of each resample, overall and by point."""
        if metric == "presence_accuracy":
            values = ratio(weights @ self.right, weights.sum(axis=1))
            return values, np.full((len(weights), len(self.classes)), np.nan)
        sums, counts = weights @ self.each[metric], weights @ self.known
        return ratio(sums.sum(axis=1), counts.sum(axis=1)), ratio(sums, counts)
