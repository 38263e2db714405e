"""Experiment tracking: one MLflow run an experiment, closed with the right status however it ends."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import MlflowClient
from pydantic import BaseModel, ConfigDict

from cv_pipelines.config.sections import flat
from cv_pipelines.files import write_text
from cv_pipelines.io.data_inputs import data_entries
from cv_pipelines.io.outbox import BATCH, Journal, Outbox
from cv_pipelines.provenance.git import git
from cv_pipelines.tuning.workers import alive

logger = logging.getLogger(__name__)

LAST_WAIT = 30.0
"""Seconds that an interrupted run waits for what is being sent; where jobs are ended, a kill follows soon."""


class TrackingConfig(BaseModel):
    """What `mlflow.yml` may say.

    Attributes:
        tracking_uri: where runs are kept; MLFLOW_TRACKING_URI wins.
        experiment: MLflow's name for the whole project.
        models: put before the names of registered models.
        log_models: log the model of each run that scored one, as `kedro cv log-model` does.
    """

    model_config = ConfigDict(extra="forbid")

    tracking_uri: str
    experiment: str
    models: str = ""
    log_models: bool = False


class Tracker:
    """Runs of one `kedro run`: a child for each experiment below a parent, if there are several.

    All goes through an `Outbox`: a server that cannot be reached, or a database that is locked, holds up
    nothing. While a training goes on, a thread enters the points that it leaves in its working folder.
    """

    def __init__(self, config: TrackingConfig, project: Path, pause: float = 2.0) -> None:
        self.project = project
        self.config = config
        self.pause = pause
        self.uri = os.environ.get("MLFLOW_TRACKING_URI", config.tracking_uri)
        if self.uri.startswith("sqlite:///") and not self.uri.startswith("sqlite:////"):
            self.uri = f"sqlite:///{project / self.uri.removeprefix('sqlite:///')}"
        # MLflow's own patience is about ten minutes a call; ours is the outbox.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        place = hashlib.blake2b(f"{self.uri} {config.experiment}".encode(), digest_size=4).hexdigest()
        self.outbox = Outbox(project / "data" / "outbox" / place, lambda: (self.client, self.experiment_id))
        self.parent: Journal | None = None
        self.open: dict[str, Journal] = {}
        self.works: dict[str, Path] = {}
        self.points: dict[str, dict[tuple[str, int], float]] = {}
        self.parameters: dict[str, dict[str, Any]] = {}
        self.origins: dict[str, tuple[str | None, dict[str, str]]] = {}
        self._stop = threading.Event()

    @property
    def lock_folder(self) -> Path:
        """Where locks lie: beside a database file, for all that use it; else in the project."""
        if self.uri.startswith("sqlite:///"):
            return Path(self.uri.removeprefix("sqlite:///")).parent / ".locks"
        return self.outbox.folder / "locks"

    @cached_property
    def client(self) -> MlflowClient:
        """The connection, made when it is first needed."""
        return MlflowClient(self.uri)

    @cached_property
    def experiment_id(self) -> str:
        """Id of MLflow's experiment, made if there is none."""
        known = self.client.get_experiment_by_name(self.config.experiment)
        if known is not None:
            return str(known.experiment_id)
        local = (self.project / "mlartifacts").as_uri() if self.uri.startswith("sqlite") else None
        kind = {
            "mlflow.experimentKind": "custom_model_development"
        }  # the UI then opens on runs, not on chats
        return str(self.client.create_experiment(self.config.experiment, local, kind))

    def begin(self, title: str, experiments: list[str], works: dict[str, Path] | None = None) -> None:
        """Send what earlier runs left, close orphans of this machine, open the parent run if it needs one.

        Args:
            title: of the parent run.
            experiments: that will run.
            works: the working folder of each one's training.
        """
        self.works = works or {}
        if self.outbox.deliver(insist=True):
            self.outbox.tidy(_interrupted(self.works.values()))
            try:
                self.close_orphans()
            except Exception as error:  # the server went away meanwhile: the next run closes them
                logger.warning("MLflow's orphaned runs stay open for now: %s", str(error)[:200])
        if len(experiments) > 1:
            self.parent = self.outbox.new(title)
            self._create(self.parent, title, {"cv_pipelines.kind": "pipeline"}, None)
            self.outbox.deliver()
        if self.works:
            threading.Thread(target=self._follow, name="curves", daemon=True).start()

    def close_orphans(self) -> None:
        """Mark runs of this machine as KILLED whose process is gone (SIGKILL leaves them RUNNING)."""
        found = self.client.search_runs(
            [self.experiment_id],
            f"attributes.status = 'RUNNING' and tags.`cv_pipelines.host` = '{socket.gethostname()}'",
        )
        for run in found:
            pid = int(run.data.tags.get("cv_pipelines.pid", "0"))
            if pid and not alive(pid):
                self.client.set_terminated(run.info.run_id, "KILLED")

    def _tags(self, name: str) -> dict[str, str]:
        commit = git(self.project, "rev-parse", "HEAD")
        return {
            "mlflow.runName": name,
            "mlflow.source.git.commit": commit.decode().strip() if commit else "unknown",
            "cv_pipelines.host": socket.gethostname(),
            "cv_pipelines.pid": str(os.getpid()),
        }

    def _create(self, journal: Journal, name: str, tags: dict[str, str], parent: Journal | None) -> None:
        above = parent.path.name if parent else None
        journal.add("create", {"tags": self._tags(name) | tags, "parent": above, "time": _now()})

    def start(
        self,
        experiment: str,
        parameters: dict[str, Any],
        below: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        """Open the run of an experiment, unless it is open; log its parameters under flat keys.

        The run of a training that was interrupted goes on, if the parameters are the same.

        Args:
            experiment: or study, or trial: the run's name.
            parameters: nested.
            below: name of the open run that it is a child of; None for the parent of all, if there is one.
            tags: beside those that every run has.
        """
        if experiment in self.open:
            return
        self.origins[experiment] = (below, {"cv_pipelines.kind": "experiment"} | (tags or {}))
        plain = {key: str(value) for key, value in flat(parameters).items()}
        work = self.works.get(experiment)
        before = _run_note(work) if work else None
        self.parameters[experiment] = parameters
        if before and before[1] == plain and (self.outbox.folder / before[0]).exists():
            journal = Journal(self.outbox.folder / before[0])
            parent = self._parent_of(experiment)
            above = parent.path.name if parent else None
            journal.add("reopen", {"tags": self._tags(experiment), "parent": above})
            self.open[experiment], self.points[experiment] = journal, journal.points()
            self.outbox.deliver()
        else:
            self._start_afresh(experiment, plain)

    def _start_afresh(self, experiment: str, plain: dict[str, str]) -> None:
        tags = self.origins[experiment][1] | {"task": plain.get("task", "None")}
        journal = self.outbox.new(experiment)
        if work := self.works.get(experiment):  # before there is a run: a kill here leaves none too many
            write_text(work / "run.json", json.dumps([journal.path.name, plain]))
        self._create(journal, experiment, tags, self._parent_of(experiment))
        journal.add("params", plain)
        self.open[experiment], self.points[experiment] = journal, {}
        self.outbox.deliver()

    def _parent_of(self, experiment: str) -> Journal | None:
        below, _ = self.origins[experiment]
        return self.open.get(below, self.parent) if below else self.parent

    def run_id(self, experiment: str) -> str:
        """Return the id of an open run that was sent to the server."""
        return str(self.open[experiment].sent()["run"])

    def _follow(self) -> None:
        """Enter what trainings leave, as long as the run lasts."""
        sizes: dict[Path, int] = {}
        while not self._stop.wait(self.pause):
            for experiment in list(self.open):
                try:
                    self._catch_up(experiment, sizes)
                except FileNotFoundError:
                    continue  # the training ended meanwhile; who ended it has entered the rest
            self.outbox.deliver()

    def _catch_up(self, experiment: str, sizes: dict[Path, int]) -> None:
        for path in sorted(self.works.get(experiment, Path()).glob("seed_*/live.jsonl")):
            if sizes.get(path) != (size := path.stat().st_size):
                sizes[path] = size
                self.record(experiment, read_rows(path))

    def log_values(self, experiment: str, values: dict[str, float], step: int = 0) -> None:
        """Log figures of one step of an open run."""
        with self.outbox.lock:
            self.open[experiment].add("metrics", [(_key(k), v, _now(), step) for k, v in values.items()])
        self.outbox.deliver()

    def tag(self, experiment: str, tags: dict[str, str]) -> None:
        """Tag an open run."""
        with self.outbox.lock:
            self.open[experiment].add("tags", tags)
        self.outbox.deliver()

    def crown(self, study: str, tags: dict[str, str], mark: str) -> None:
        """Give a mark to the one run of the server that has these tags, and take it from others of its study.

        Args:
            study: whose run is open, in whose journal this stands.
            tags: the first is that of the study; all together belong to the one run.
            mark: the tag that says so.
        """
        with self.outbox.lock:
            self.open[study].add("crown", {"tags": tags, "mark": mark})
        self.outbox.deliver()

    def log_history(self, experiment: str, history: pd.DataFrame) -> None:
        """Log curves: the first seed under plain names, others as `seed_<n>/<name>`, charts of their own."""
        self.record(
            experiment, history[["seed", "epoch", "name", "value"]].itertuples(index=False, name=None)
        )
        self.outbox.deliver()

    def record(self, experiment: str, rows: Iterable[tuple[int, int, str, float]]) -> None:
        """Enter the points that are not entered yet; other values for old points are another training's."""
        with self.outbox.lock:
            if experiment not in self.open:
                return
            seeds = self.parameters[experiment].get("train", {}).get("seeds", [0])
            points = {
                (name if seed == seeds[0] else f"seed_{seed}/{name}", int(epoch)): float(value)
                for seed, epoch, name, value in rows
            }
            known = self.points[experiment]
            if any(repr(known.get(point, value)) != repr(value) for point, value in points.items()):
                self.end(experiment, "KILLED")
                plain = {key: str(value) for key, value in flat(self.parameters[experiment]).items()}
                self._start_afresh(experiment, plain)
                known = self.points[experiment]
            fresh = {point: value for point, value in points.items() if point not in known}
            known |= fresh
            entries = [(key, value, _now(), step) for (key, step), value in fresh.items()]
            for start in range(0, len(entries), BATCH):
                self.open[experiment].add("metrics", entries[start : start + BATCH])

    def log_scores(self, experiment: str, metrics: dict[str, Any], contract_key: str) -> None:
        """Log the figures of `metrics.json`; contract and fingerprint become tags."""
        values = {k: v for k, v in metrics["values"].items() if v is not None}
        entries = [(_key(k), float(v), _now(), 0) for k, v in values.items()]
        tags = {
            "contract": json.dumps(metrics["contract"])[:5000],
            "contract_key": contract_key,
            "fingerprint": str(metrics["fingerprint"]),
            "device": str(metrics["device"]),
            "seconds": str(metrics.get("seconds", "")),
            "passed_over": str(sum(len(batches) for batches in metrics.get("passed_over", {}).values())),
        }
        with self.outbox.lock:
            for start in range(0, len(entries), BATCH):
                self.open[experiment].add("metrics", entries[start : start + BATCH])
            self.open[experiment].add("tags", tags)
        self.outbox.deliver()

    def log_data(self, experiment: str, source: str, root: str | None, manifest: pd.DataFrame) -> None:
        """Log what an open run was trained and scored on: an input a split."""
        with self.outbox.lock:
            self.open[experiment].add("data", data_entries(self.project, source, root, manifest))
        self.outbox.deliver()

    def log_files(self, experiment: str, files: list[Path]) -> None:
        """Copy files to the run's artifacts."""
        for file in files:
            if file.exists():
                self.open[experiment].add("file", str(file))
        self.outbox.deliver()

    def end(self, experiment: str, status: str) -> None:
        """Close the run of an experiment: FINISHED, FAILED or KILLED."""
        with self.outbox.lock:
            journal = self.open.pop(experiment, None)
            if journal:
                journal.add("end", {"status": status, "time": _now()})
        self.outbox.deliver()

    def end_all(self, status: str) -> bool:
        """Close whatever is open, and try once more to send all there is; return whether all was sent."""
        if not self.open and not self.parent:
            return False
        self._stop.set()
        # A signal may have broken in where this thread held a lock, that of logging say. Then the thread that
        # sends waits for it for ever, and must not be waited for.
        free = self.outbox.lock.acquire(timeout=LAST_WAIT if status == "KILLED" else -1)
        closed = {"status": status, "time": _now()}
        for experiment in reversed(list(self.open)):  # children first
            self.open.pop(experiment).add("end", closed)
        if self.parent:
            self.parent.add("end", closed)
            self.parent = None
        sent = free and self.outbox.deliver(insist=True)
        if not sent:
            logger.warning("the next run sends to MLflow what waits in %s", self.outbox.folder)
        if free:
            self.outbox.lock.release()
        return sent


def read_rows(path: Path) -> Iterator[tuple[int, int, str, float]]:
    """Yield the rows that a training left so far: seed, epoch, name, value."""
    for line in path.read_text(encoding="utf8").splitlines(keepends=True):
        if line.endswith("\n"):
            row = json.loads(line)
            yield row["seed"], row["epoch"], row["name"], row["value"]


def _run_note(work: Path) -> tuple[str, dict[str, str]] | None:
    """Read which journal and parameters an interrupted training has."""
    try:
        name, parameters = json.loads((work / "run.json").read_text(encoding="utf8"))
    except (OSError, ValueError):
        return None
    return name, parameters


def _interrupted(works: Iterable[Path]) -> set[str]:
    """Return the journals of runs that may go on: of these works, of those beside them, and of trials."""
    beside = {other for work in works for other in [work, *work.parent.parent.glob(f"*/{work.name}")]}
    folders = [folder for work in beside for folder in [work, *work.glob("trial_*")]]
    return {found[0] for found in map(_run_note, folders) if found}


def _now() -> int:
    return int(time.time() * 1000)


def _key(name: str) -> str:
    """Make a score's name one that MLflow accepts (class names may hold anything)."""
    plain = "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name)
    # Names are paths to MLflow: it refuses those with parts that a path would lose.
    return "/".join(part if part.strip(".") else "_" for part in plain.split("/"))
