"""Node of the train stage. The core is imported when a node runs, so that listing pipelines is fast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cv_pipelines.pipelines.source_data import source_data

if TYPE_CHECKING:
    import pandas as pd

    from cv_pipelines.training.checkpoints import Checkpoint
    from cv_pipelines.training.fit import Job


def train_model(
    name: str,
    experiment: dict[str, Any],
    folder: Path,
    cache: Path,
    verdict: dict[str, Any],
    init: dict[int, Checkpoint] | None = None,
    **tables: Any,
) -> tuple[dict[int, Checkpoint], pd.DataFrame]:
    """Train every seed of an experiment.

    Args:
        name: of the experiment.
        experiment: its parameters.
        folder: where an interrupted training leaves its state.
        cache: folder of the source's packed images, shared by its experiments.
        verdict: says that the source is within its limits; without it there is nothing to train on.
        init: checkpoints of the experiment that `init_from` names; its first seed starts every training.
        tables: its source; see `source_data`.

    Returns:
        A checkpoint a seed, and the history.
    """
    from cv_pipelines.training.launch import launch

    del verdict
    job = job_of(name, experiment, folder, cache, init, tables)
    return launch(job)


def job_of(
    name: str,
    experiment: dict[str, Any],
    folder: Path,
    cache: Path,
    init: dict[int, Checkpoint] | None,
    tables: dict[str, Any],
) -> Job:
    """Gather what a training needs; the arguments are those of `train_model`."""
    from cv_pipelines.config import ExperimentConfig, SourceConfig, parse
    from cv_pipelines.data.parallel import running_on
    from cv_pipelines.training.fit import with_cache
    from cv_pipelines.training.job import Job

    start = next(iter(init.values())) if init else None
    config, data = parse(name, ExperimentConfig, experiment), source_data(**tables)
    if config.cache:
        with running_on(parse("source", SourceConfig, tables["source"]).engine):
            data = with_cache(config, data, cache)
    return Job(name, config, data, folder, start)
