"""Figures of segmentations, from the confusion of each image."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd

from cv_pipelines.comparing.figures import Figures, Measured, mean_of_known, ratio
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.encoding import decode_png
from cv_pipelines.metrics.confusion import confusion_matrix


def figures(predictions: pd.DataFrame, data: SourceData) -> Figures:
    """Make the figures of a segmentation; see `comparing.figures.figures`."""
    names = data.categories.names("mask")
    masks = dict(zip(predictions["sample_id"], predictions["mask"], strict=True))
    matrices = [
        confusion_matrix(decode_png(masks[sample]), data.mask(index), len(names))
        for index, sample in enumerate(data.samples["sample_id"])
    ]
    return Segmented(np.stack(matrices).astype(np.float64), names)


class Segmented(Figures):
    """Pixels of all images counted together, as the data-set-level matrix of `metrics.confusion` does.

    A class's figure is its IoU, for the pixel and mean accuracies its recall.

    Args:
        matrices: (N, C, C), rows are the truth, without void pixels.
        names: of the classes.
    """

    metrics: ClassVar = ("miou", "pixel_accuracy", "mean_accuracy")
    beside: ClassVar = metrics

    def __init__(self, matrices: np.ndarray, names: list[str]) -> None:
        self.classes = names
        self.hits = np.diagonal(matrices, axis1=1, axis2=2)
        self.true, self.guessed = matrices.sum(axis=2), matrices.sum(axis=1)
        self.counts = self.true.sum(axis=0).astype(int).tolist()

    def measure(self, metric: str, weights: np.ndarray) -> Measured:
        """Return a figure of each resample, overall and by class."""
        hits, true, guessed = (weights @ part for part in (self.hits, self.true, self.guessed))
        if metric == "miou":
            iou = ratio(hits, true + guessed - hits)
            return mean_of_known(iou), iou
        recall = ratio(hits, true)
        if metric == "pixel_accuracy":
            return ratio(hits.sum(axis=1), true.sum(axis=1)), recall
        # a class that is predicted but never true counts 0 in the mean
        return mean_of_known(np.where((true == 0) & (guessed > 0), 0.0, recall)), recall
