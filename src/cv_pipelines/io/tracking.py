"""Experiment tracking: one MLflow run an experiment, closed with the right status however it ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from pydantic import BaseModel, ConfigDict

BATCH = 1000
"""Metrics in one `log_batch`, MLflow's limit."""


class TrackingConfig(BaseModel):
    """What `mlflow.yml` may say.

    Attributes:
        tracking_uri: where runs are kept; MLFLOW_TRACKING_URI wins.
        experiment: MLflow's name for the whole project.
    """

    model_config = ConfigDict(extra="forbid")

    tracking_uri: str
    experiment: str


class Tracker:
    """Runs of one `kedro run`: a child for each experiment below a parent, if there are several."""

    def __init__(self, config: TrackingConfig, project: Path) -> None:
        self.project = project
        self.uri = os.environ.get("MLFLOW_TRACKING_URI", config.tracking_uri)
        if self.uri.startswith("sqlite:///") and not self.uri.startswith("sqlite:////"):
            self.uri = f"sqlite:///{project / self.uri.removeprefix('sqlite:///')}"
        self.client = MlflowClient(self.uri)
        self.experiment_id = self._experiment(config.experiment)
        self.parent: str | None = None
        self.open: dict[str, str] = {}

    def _experiment(self, name: str) -> str:
        known = self.client.get_experiment_by_name(name)
        if known is not None:
            return str(known.experiment_id)
        local = (self.project / "mlartifacts").as_uri() if self.uri.startswith("sqlite") else None
        return str(self.client.create_experiment(name, artifact_location=local))

    def begin(self, title: str, experiments: list[str]) -> None:
        """Close orphans of this machine; open the parent run if there are several experiments."""
        self.close_orphans()
        if len(experiments) > 1:
            self.parent = self._create(title, {"cv_pipelines.kind": "pipeline"})

    def close_orphans(self) -> None:
        """Mark runs of this machine as KILLED whose process is gone (SIGKILL leaves them RUNNING)."""
        found = self.client.search_runs(
            [self.experiment_id],
            f"attributes.status = 'RUNNING' and tags.`cv_pipelines.host` = '{socket.gethostname()}'",
        )
        for run in found:
            pid = int(run.data.tags.get("cv_pipelines.pid", "0"))
            if pid and not _alive(pid):
                self.client.set_terminated(run.info.run_id, "KILLED")

    def _create(self, name: str, tags: dict[str, str]) -> str:
        common = {
            "mlflow.runName": name,
            "mlflow.source.git.commit": _git_commit(self.project),
            "cv_pipelines.host": socket.gethostname(),
            "cv_pipelines.pid": str(os.getpid()),
        }
        run = self.client.create_run(self.experiment_id, tags=common | tags)
        return str(run.info.run_id)

    def start(self, experiment: str, parameters: dict[str, Any]) -> None:
        """Open the run of an experiment, unless it is open; log its parameters under flat keys."""
        if experiment in self.open:
            return
        tags = {"cv_pipelines.kind": "experiment", "task": str(parameters.get("task"))}
        if self.parent:
            tags["mlflow.parentRunId"] = self.parent
        self.open[experiment] = self._create(experiment, tags)
        params = [Param(key, str(value)) for key, value in flat(parameters).items()]
        self.client.log_batch(self.open[experiment], params=params)

    def log_history(self, experiment: str, history: pd.DataFrame) -> None:
        """Log curves: the first seed under plain names, others as `<name>/seed_<n>`."""
        now = int(time.time() * 1000)
        first = history["seed"].iat[0] if len(history) else None
        rows = history[["seed", "epoch", "name", "value"]].itertuples(index=False)
        metrics = [
            Metric(name if seed == first else f"{name}/seed_{seed}", float(value), now, int(epoch))
            for seed, epoch, name, value in rows
        ]
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(self.open[experiment], metrics=metrics[start : start + BATCH])

    def log_scores(self, experiment: str, metrics: dict[str, Any], contract_key: str) -> None:
        """Log the figures of `metrics.json`; contract and fingerprint become tags."""
        now = int(time.time() * 1000)
        values = {k: v for k, v in metrics["values"].items() if v is not None}
        entries = [Metric(_key(k), float(v), now, 0) for k, v in values.items()]
        tags = {
            "contract": json.dumps(metrics["contract"])[:5000],
            "contract_key": contract_key,
            "fingerprint": str(metrics["fingerprint"]),
            "device": str(metrics["device"]),
        }
        self.client.log_batch(self.open[experiment], entries, tags=[RunTag(k, v) for k, v in tags.items()])

    def log_files(self, experiment: str, files: list[Path]) -> None:
        """Copy files to the run's artifacts."""
        for file in files:
            if file.exists():
                self.client.log_artifact(self.open[experiment], str(file))

    def end(self, experiment: str, status: str) -> None:
        """Close the run of an experiment: FINISHED, FAILED or KILLED."""
        run_id = self.open.pop(experiment, None)
        if run_id:
            self.client.set_terminated(run_id, status)

    def end_all(self, status: str) -> None:
        """Close whatever is open."""
        for experiment in list(self.open):
            self.end(experiment, status)
        if self.parent:
            self.client.set_terminated(self.parent, status)
            self.parent = None


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found


def _key(name: str) -> str:
    """Make a score's name one that MLflow accepts (class names may hold anything)."""
    plain = "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name)
    # Names are paths to MLflow: it refuses those with parts that a path would lose.
    return "/".join(part if part.strip(".") else "_" for part in plain.split("/"))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _git_commit(project: Path) -> str:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
