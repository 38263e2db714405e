"""Figures of reconstructions: means over the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pandas as pd

from cv_pipelines.comparing.figures import Figures, Measured, ratio
from cv_pipelines.data.datasets import SampleDataset, SourceData
from cv_pipelines.data.encoding import decode_png
from cv_pipelines.metrics.reconstruction import per_sample_mse, per_sample_ssim
from cv_pipelines.tasks.autoencoder import channels_last


def figures(predictions: pd.DataFrame, data: SourceData) -> Figures:
    """Make the figures of an autoencoder; see `comparing.figures.figures`."""
    pictures = dict(zip(predictions["sample_id"], predictions["image"], strict=True))
    rebuilt = np.stack([decode_png(pictures[sample]) for sample in data.samples["sample_id"]])
    dataset = SampleDataset(data, "none", size=list(rebuilt.shape[1:3]))
    images = np.stack([channels_last(dataset[i]["image"]) for i in range(len(data.samples))])
    return Reconstructed(per_sample_mse(images, rebuilt), per_sample_ssim(images, rebuilt))


class Reconstructed(Figures):
    """Images beside what a model makes of them.

    Args:
        mse: (N,) mean squared error of each image.
        ssim: (N,) structural similarity of each image.
        classes: names, where images have classes.
        labels: (N,) class of each image.
    """

    metrics: ClassVar = ("mse", "psnr", "ssim")
    beside: ClassVar = metrics
    lower: ClassVar = ("mse",)

    def __init__(
        self,
        mse: np.ndarray,
        ssim: np.ndarray,
        classes: Sequence[str] = (),
        labels: np.ndarray | None = None,
    ) -> None:
        self.classes, self.mse, self.ssim = list(classes), mse, ssim
        self.labels = np.full(len(mse), -1) if labels is None else labels
        self.counts = [int((self.labels == k).sum()) for k in range(len(self.classes))]

    def measure(self, metric: str, weights: np.ndarray) -> Measured:
        """Return a figure of each resample, overall and by class."""
        each = self.ssim if metric == "ssim" else self.mse
        members = self.labels[:, None] == np.arange(len(self.classes))
        values = ratio(weights @ each, weights.sum(axis=1))
        classes = ratio(weights @ (members * each[:, None]), weights @ members)
        if metric == "psnr":
            with np.errstate(divide="ignore"):
                values, classes = -10 * np.log10(values), -10 * np.log10(classes)
        return values, classes
