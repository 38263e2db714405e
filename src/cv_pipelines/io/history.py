"""How long earlier trainings took, from MLflow and from the results on disk."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from cv_pipelines.io.outbox import Journal
from cv_pipelines.io.patience import within
from cv_pipelines.io.tracking import Tracker, TrackingConfig
from cv_pipelines.planning.costs import Past

logger = logging.getLogger(__name__)

LATEST = 20
"""Runs of an experiment that are looked at."""

PATIENCE = 20.0
"""Seconds that MLflow has to answer."""


@dataclass(frozen=True)
class History:
    """Earlier trainings of a project's experiments.

    Attributes:
        config: of the tracking.
        project: its folder.
        data: the folder of its data.
    """

    config: TrackingConfig
    project: Path
    data: Path

    def past(self, experiment: str) -> list[Past]:
        """Return the earlier trainings of an experiment; where MLflow does not answer, those on disk."""
        found = on_disk(self.data / "08_reporting", experiment)
        if self._mlflow is None:
            return found
        client, runs = self._mlflow
        try:
            return found + within(PATIENCE, lambda: tracked(client, runs, experiment))
        except Exception:  # MLflow's, the database's: the figures on disk have to do
            return found

    @cached_property
    def _mlflow(self) -> tuple[MlflowClient, str] | None:
        try:
            return within(PATIENCE, lambda: connect(self.config, self.project))
        except Exception as error:
            logger.warning("MLflow cannot be asked about earlier runs: %s", str(error)[:200])
            return None


def connect(config: TrackingConfig, project: Path, patience: int = 5) -> tuple[MlflowClient, str] | None:
    """Return MLflow's client and the id of the project's experiment there, without making anything.

    Args:
        config: of the tracking.
        project: its folder.
        patience: seconds to wait for an answer of a server.

    Returns:
        None where there is no such experiment, or no database.

    Raises:
        Exception: MLflow's own or the database's: there is no reaching it.
    """
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(patience)
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    tracker = Tracker(config, project)
    if tracker.uri.startswith("sqlite:///") and not Path(tracker.uri.removeprefix("sqlite:///")).exists():
        return None  # MLflow would make one
    known = tracker.client.get_experiment_by_name(config.experiment)
    return (tracker.client, str(known.experiment_id)) if known else None


def tracked(client: MlflowClient, experiment_id: str, experiment: str) -> list[Past]:
    """Return the latest trainings of an experiment that MLflow knows of."""
    asked = f"attributes.run_name = '{experiment}' and attributes.status = 'FINISHED'"
    runs = client.search_runs([experiment_id], asked, max_results=LATEST)
    found = []
    for run in runs:
        tags, params = run.data.tags, run.data.params
        if "seconds" in tags and "device" in tags:
            found.append(Past(float(tags["seconds"]), tags["device"], _epochs(params)))
    return found


def on_disk(reporting: Path, experiment: str) -> list[Past]:
    """Return the training that `metrics.json` tells of; nothing if there is none."""
    try:
        metrics = json.loads((reporting / experiment / "metrics.json").read_text(encoding="utf8"))
        epochs = (metrics.get("provenance") or {}).get("parameters", {}).get("train.epochs")
        seeds = len(metrics.get("seeds", {})) or 1
        return [Past(float(metrics["seconds"]), metrics["device"], epochs and int(epochs) * seeds)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _epochs(params: dict[str, Any]) -> int | None:
    try:
        seeds = json.loads(params.get("train.seeds", "[0]"))
        return int(params["train.epochs"]) * len(seeds)
    except (KeyError, ValueError, TypeError):
        return None


def waiting(config: TrackingConfig, project: Path) -> int:
    """Return how many runs have entries that were not sent to MLflow yet."""
    journals = [Journal(path) for path in Tracker(config, project).outbox.folder.glob("*.jsonl")]
    return sum(journal.sent()["bytes"] < journal.path.stat().st_size for journal in journals)
