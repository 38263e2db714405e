"""Node of the train stage. The core is imported when a node runs, so that listing pipelines is fast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cv_pipelines.pipelines.source_data import source_data

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from cv_pipelines.training.checkpoints import Checkpoint


def train_model(
    name: str,
    experiment: dict[str, Any],
    source: dict[str, Any],
    manifest: pd.DataFrame,
    annotations: pd.DataFrame,
    categories: dict[str, Any],
    arrays: dict[str, np.ndarray],
    statistics: dict[str, Any],
    folder: Path,
    init: dict[int, Checkpoint] | None = None,
) -> tuple[dict[int, Checkpoint], pd.DataFrame]:
    """Train every seed of an experiment.

    Args:
        name: of the experiment.
        experiment: its parameters.
        source: parameters of its source.
        manifest: samples with splits.
        annotations: objects.
        categories: class lists.
        arrays: packed samples.
        statistics: of the train split.
        folder: where an interrupted training leaves its state.
        init: checkpoints of the experiment that `init_from` names; its first seed starts every training.

    Returns:
        A checkpoint a seed, and the history.
    """
    from cv_pipelines.config import ExperimentConfig, parse
    from cv_pipelines.training.fit import Job, fit

    data = source_data(source, manifest, annotations, categories, arrays, statistics)
    start = next(iter(init.values())) if init else None
    return fit(Job(name, parse(name, ExperimentConfig, experiment), data, folder, start))
