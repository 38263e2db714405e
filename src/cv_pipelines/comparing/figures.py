"""A model's figures as functions of how often each sample counts: what is resampled.

Matching, argmax and confusion are done once a sample; a resample only weighs what they gave. With all weights
1 the figures are those of the task's `score`, with whole weights those of a table in which samples repeat.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import pandas as pd

from cv_pipelines.data.datasets import SourceData

FIGURES = {
    "activity": "cv_pipelines.comparing.classification:figures",
    "autoencoder": "cv_pipelines.comparing.reconstruction:figures",
    "classification": "cv_pipelines.comparing.classification:figures",
    "detection": "cv_pipelines.comparing.detection:figures",
    "landmarks": "cv_pipelines.comparing.landmarks:figures",
    "segmentation": "cv_pipelines.comparing.segmentation:figures",
}
"""What makes the figures of a task; a GAN has none, for its images are of no given sample: nothing pairs."""

Measured = tuple[np.ndarray, np.ndarray]
"""(R,) a figure of each resample, and (R, C) the same of each class; NaN where it is undefined."""


class Figures(ABC):
    """One model on N samples.

    Attributes:
        metrics: names that `measure` knows, as in `metrics.json`.
        beside: those of them that every comparison shows.
        lower: those of them of which less is better.
        classes: names of the C classes; empty where figures have no classes.
        counts: samples, pixels or objects of each class.
        size_counts: objects of each size; empty where there are no objects.
    """

    metrics: ClassVar[tuple[str, ...]]
    beside: ClassVar[tuple[str, ...]]
    lower: ClassVar[tuple[str, ...]] = ()
    classes: list[str]
    counts: list[int]
    size_counts: Mapping[str, int] = MappingProxyType({})

    @abstractmethod
    def measure(self, metric: str, weights: np.ndarray) -> Measured:
        """Return a figure of each resample, overall and by class.

        Args:
            metric: one of `metrics`.
            weights: (R, N) float64, how often each sample counts.
        """

    def sizes(self, metric: str, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return a figure of the objects of each of `size_counts`, (R,) each."""
        del metric, weights
        return {}


def figures(task: str, predictions: pd.DataFrame, data: SourceData) -> Figures:
    """Make the figures of one model.

    Args:
        task: a key of `FIGURES`.
        predictions: its rows, of one seed.
        data: the samples that are scored, in the order of the weights.
    """
    module, name = FIGURES[task].split(":")
    made: Figures = getattr(import_module(module), name)(predictions, data)
    return made


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide; NaN where there is nothing to divide by."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Average (R, C) over the classes that are not NaN; NaN for rows without any."""
    known = np.isfinite(values)
    return ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1))


def figures_known(task: str) -> list[str]:
    """Return the names of all figures of a task that can be compared, whatever its data are like."""
    module = import_module(FIGURES[task].split(":")[0])
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Figures)]
    return sorted({metric for kind in kinds if kind is not Figures for metric in kind.metrics})
