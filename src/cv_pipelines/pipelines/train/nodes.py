"""Node of the train stage. The core is imported when a node runs, so that listing pipelines is fast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cv_pipelines.pipelines.source_data import source_data

if TYPE_CHECKING:
    import pandas as pd

    from cv_pipelines.training.checkpoints import Checkpoint


def train_model(
    name: str,
    experiment: dict[str, Any],
    folder: Path,
    verdict: dict[str, Any],
    init: dict[int, Checkpoint] | None = None,
    **tables: Any,
) -> tuple[dict[int, Checkpoint], pd.DataFrame]:
    """Train every seed of an experiment.

    Args:
        name: of the experiment.
        experiment: its parameters.
        folder: where an interrupted training leaves its state.
        verdict: says that the source is within its limits; without it there is nothing to train on.
        init: checkpoints of the experiment that `init_from` names; its first seed starts every training.
        tables: its source; see `source_data`.

    Returns:
        A checkpoint a seed, and the history.
    """
    from cv_pipelines.config import ExperimentConfig, parse
    from cv_pipelines.training.fit import Job, fit

    del verdict
    start = next(iter(init.values())) if init else None
    return fit(Job(name, parse(name, ExperimentConfig, experiment), source_data(**tables), folder, start))
