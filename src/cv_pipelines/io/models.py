"""Trained models by name: the one place where a name that people type becomes a checkpoint."""

from __future__ import annotations

from pathlib import Path

from cv_pipelines.errors import CheckpointError
from cv_pipelines.training.checkpoints import Checkpoint, load_checkpoints


def find_model(data: Path, name: str, seed: int | None = None) -> Checkpoint:
    """Load a trained model.

    A registered model or a run of MLflow would be found here too: all that uses models takes a `Checkpoint`.

    Args:
        data: the project's data folder.
        name: of an experiment that was trained on this machine.
        seed: of its trainings; the first one that the experiment lists if None.

    Raises:
        CheckpointError: there is no such model, it cannot be read, or it was not trained with that seed.
    """
    folder = data / "06_models" / name / "checkpoint"
    if not folder.is_dir():
        there = sorted(path.parent.name for path in data.glob("06_models/*/checkpoint"))
        raise CheckpointError(f"no trained model {name!r}; there are: {', '.join(there) or 'none'}")
    checkpoints = load_checkpoints(folder)
    if seed is None:
        return next(iter(checkpoints.values()))
    if seed not in checkpoints:
        raise CheckpointError(f"{name}: no seed {seed}; there are {', '.join(map(str, checkpoints))}")
    return checkpoints[seed]
