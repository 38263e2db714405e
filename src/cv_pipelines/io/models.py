"""Trained models by name: the one place where a name that people type becomes a checkpoint."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cv_pipelines.errors import CheckpointError
from cv_pipelines.training.checkpoints import Checkpoint, load_checkpoints

if TYPE_CHECKING:
    from cv_pipelines.io.registry import MlflowRegistry
    from cv_pipelines.io.tracking import Tracker

REGISTERED, RUN = "models:/", "runs:/"


def find_model(
    data: Path, name: str, seed: int | None = None, tracker: Callable[[], Tracker] | None = None
) -> Checkpoint:
    """Load a trained model.

    Args:
        data: the project's data folder.
        name: of an experiment that was trained on this machine; `models:/NAME@ALIAS` or
            `models:/NAME/VERSION` of a registered model; `runs:/ID` of a run of MLflow's that made a model.
        seed: of its trainings; the first one that the experiment lists if None.
        tracker: connects to MLflow, where the name needs it.

    Raises:
        CheckpointError: there is no such model, it cannot be read, or it was not trained with that seed.
    """
    if name.startswith((REGISTERED, RUN)):
        if tracker is None:
            raise CheckpointError(f"{name}: models of MLflow are not known here; name an experiment")
        return _of_seed(name, _from_mlflow(data, name, tracker()), seed)
    folder = data / "06_models" / name / "checkpoint"
    if not folder.is_dir():
        there = sorted(path.parent.name for path in data.glob("06_models/*/checkpoint"))
        raise CheckpointError(
            f"no trained model {name!r}; there are: {', '.join(there) or 'none'}; of MLflow: "
            f"{REGISTERED}NAME@champion, {REGISTERED}NAME/VERSION, {RUN}ID"
        )
    return _of_seed(name, load_checkpoints(folder), seed)


def _of_seed(name: str, checkpoints: dict[int, Checkpoint], seed: int | None) -> Checkpoint:
    if seed is None:
        return next(iter(checkpoints.values()))
    if seed not in checkpoints:
        raise CheckpointError(f"{name}: no seed {seed}; there are {', '.join(map(str, checkpoints))}")
    return checkpoints[seed]


def _from_mlflow(data: Path, name: str, tracker: Tracker) -> dict[int, Checkpoint]:
    from mlflow.exceptions import MlflowException  # slow to import, and mostly not needed

    from cv_pipelines.io.registry import MlflowRegistry

    registry = MlflowRegistry(tracker)
    try:
        with tempfile.TemporaryDirectory() as place:
            if name.startswith(REGISTERED):
                version = registry.version(name.removeprefix(REGISTERED))
                return load_checkpoints(registry.checkpoint(registry.fetch(version, Path(place))))
            return _of_run(data, name.removeprefix(RUN), registry, Path(place))
    except MlflowException as error:
        raise CheckpointError(f"{name}: MLflow at {tracker.uri}: {error.message}") from None


def _of_run(data: Path, run: str, registry: MlflowRegistry, place: Path) -> dict[int, Checkpoint]:
    """Load the model that a run logged, or the one that it trained and that still lies on this machine."""
    files = registry.fetch_run(run, place)
    if files is not None:
        return load_checkpoints(registry.checkpoint(files))
    found = registry.client.get_run(run)
    experiment, fingerprint = found.info.run_name, found.data.tags.get("fingerprint")
    folder = data / "06_models" / str(experiment) / "checkpoint"
    if fingerprint and folder.is_dir():
        checkpoints = load_checkpoints(folder)
        if all(one.meta.fingerprint == fingerprint for one in checkpoints.values()):
            return checkpoints
    raise CheckpointError(
        f"{RUN}{run}: the run ({experiment}) logged no model, and {folder} holds none of its training"
    )
