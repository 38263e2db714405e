"""Models logged with the runs that trained them, which MLflow shows, loads and serves."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.errors import CvPipelinesError, ExportError, InputError
from cv_pipelines.io.models import find_model
from cv_pipelines.io.registry import MlflowRegistry
from cv_pipelines.io.tracking import Tracker
from cv_pipelines.promotion.registry import Nominee
from cv_pipelines.training.checkpoints import Checkpoint, save_checkpoints

logger = logging.getLogger(__name__)


def log_checkpoint(tracker: Tracker, experiment: str, found: Checkpoint, data: SourceData) -> LoggedModel:
    """Log a model with its run, in a form that loads and serves without this project's code.

    Args:
        tracker: connected to MLflow.
        experiment: that trained it.
        found: the model.
        data: its prepared source, all splits: the graph is checked on samples of it.

    Raises:
        ExportError: a model of its kind has no such form; says why.
    """
    return _log(tracker, experiment, found, data, served=True)


def log_trained(tracker: Tracker, folder: Path, experiment: str, data: SourceData) -> None:
    """Log the model of an experiment that was just trained; as a checkpoint where it has no form that serves.

    What is in the way is a warning: the results are there, and `kedro cv log-model` can be asked again.

    Args:
        tracker: connected to MLflow, with all that the run logged sent.
        folder: of the data.
        experiment: its name; the first of its seeds is logged.
        data: its prepared source, all splits.
    """
    try:
        found = find_model(folder, experiment)
        try:
            log_checkpoint(tracker, experiment, found, data)
        except (ExportError, InputError) as error:
            logger.info("%s is logged as a checkpoint: %s", experiment, error)
            _log(tracker, experiment, found, data, served=False)
    except (CvPipelinesError, MlflowException, OSError) as error:
        logger.warning("the model of %s is not logged: %s", experiment, error)


def _log(tracker: Tracker, experiment: str, found: Checkpoint, data: SourceData, served: bool) -> LoggedModel:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "checkpoint"
        save_checkpoints(folder, {found.meta.seed: found})
        return MlflowRegistry(tracker).log(Nominee(experiment, folder, found, data, served=served))
