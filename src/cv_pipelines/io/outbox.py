"""What MLflow is to hold: written to the disk first, sent when it can be had; nothing waits or is lost.

A run has one journal, a JSON line an entry, and beside it a note of how far it was sent.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from cv_pipelines.io.data_inputs import data_inputs

logger = logging.getLogger(__name__)

BATCH = 1000
"""Metrics in one `log_batch`, MLflow's limit."""
PARAMETERS = 100
"""Parameters in one, MLflow's limit."""
PATIENCE = 30.0
"""Seconds before an unreachable server is asked again."""
REFUSED = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE"}
"""Answers that no later attempt would change."""


class Journal:
    """The entries of one run, in order.

    Args:
        path: of the file; what a kill left of its last line is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.note = path.with_suffix(".sent")
        if path.exists():
            whole = path.read_bytes()
            if not whole.endswith(b"\n"):
                path.write_bytes(whole[: whole.rfind(b"\n") + 1])

    def add(self, kind: str, content: Any) -> None:
        """Append an entry."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf8") as file:
            file.write(json.dumps([kind, content]) + "\n")

    def entries(self, start: int = 0) -> Iterator[tuple[int, str, Any]]:
        """Yield the entries from a byte on: where each ends, its kind and content."""
        with self.path.open("rb") as file:
            file.seek(start)
            for line in file:
                if line.endswith(b"\n"):
                    start += len(line)
                    kind, content = json.loads(line)
                    yield start, kind, content

    def points(self) -> dict[tuple[str, int], float]:
        """Return every point of every curve that was ever entered."""
        entered = (content for _, kind, content in self.entries() if kind == "metrics")
        return {(key, step): value for metrics in entered for key, value, _, step in metrics}

    def sent(self) -> dict[str, Any]:
        """Return how far the journal was sent, and as which run."""
        if not self.note.exists():
            return {"bytes": 0, "run": None, "ended": False}
        found: dict[str, Any] = json.loads(self.note.read_text(encoding="utf8"))
        return found

    def mark(self, sent: dict[str, Any]) -> None:
        """Note how far it was sent."""
        fresh = self.note.with_suffix(".writing")
        fresh.write_text(json.dumps(sent), encoding="utf8")
        fresh.replace(self.note)


class Outbox:
    """All journals of a project, sent in the order of their beginning.

    Sending an entry again, after a kill between sending and noting, changes nothing: points carry the time
    of their entry, and MLflow keeps equal ones once; a run is looked up by its journal before it is made.

    Args:
        folder: of the journals.
        connect: gives the client and the id of MLflow's experiment; raises if there is no reaching it.
    """

    def __init__(self, folder: Path, connect: Callable[[], tuple[MlflowClient, str]]) -> None:
        self.folder = folder
        self.connect = connect
        self.lock = threading.RLock()
        self.resting = 0.0

    def new(self, name: str) -> Journal:
        """Begin a journal."""
        return Journal(self.folder / f"{time.time_ns()}_{name}.jsonl")

    def deliver(self, insist: bool = False) -> bool:
        """Send what was not sent yet; return whether all is sent. Never raises: what fails is sent later.

        Args:
            insist: try even if the server did not answer a moment ago.
        """
        with self.lock:
            if not insist and time.monotonic() < self.resting:
                return False
            try:
                for path in sorted(self.folder.glob("*.jsonl")):
                    self._send(Journal(path))
            except Exception as error:  # MLflow's, requests', the database's: the training is worth more
                self.resting = time.monotonic() + PATIENCE
                logger.warning(
                    "MLflow cannot be reached, so its entries wait in %s: %s", self.folder, str(error)[:200]
                )
                return False
            return True

    def _send(self, journal: Journal) -> None:
        sent = journal.sent()
        if sent["bytes"] >= journal.path.stat().st_size:
            return
        client, experiment = self.connect()
        for end, kind, content in journal.entries(sent["bytes"]):
            try:
                if kind == "create":
                    sent["run"] = self._create(client, experiment, journal.path.name, content)
                elif kind == "crown":
                    self._crown(client, experiment, content)
                else:
                    self._apply(client, sent["run"], kind, content)
            except MlflowException as error:
                if error.error_code not in REFUSED or kind == "create":
                    raise
                logger.warning("MLflow refuses an entry of %s: %s", journal.path, str(error)[:200])
            journal.mark(sent | {"bytes": end, "ended": kind == "end"})

    def _create(self, client: MlflowClient, experiment: str, journal: str, content: dict[str, Any]) -> str:
        made = client.search_runs([experiment], f"tags.`cv_pipelines.journal` = '{journal}'")
        if made:
            return str(made[0].info.run_id)
        tags = content["tags"] | {"cv_pipelines.journal": journal} | self._parent(content["parent"])
        return str(client.create_run(experiment, content["time"], tags).info.run_id)

    def _parent(self, name: str | None) -> dict[str, str]:
        if name is None:
            return {}
        journal = Journal(self.folder / name)
        self._send(journal)
        return {"mlflow.parentRunId": journal.sent()["run"]}

    def _apply(self, client: MlflowClient, run: str, kind: str, content: Any) -> None:
        if kind == "params":
            entries = [Param(key, value) for key, value in content.items()]
            for start in range(0, len(entries), PARAMETERS):
                client.log_batch(run, params=entries[start : start + PARAMETERS])
        elif kind == "metrics":
            client.log_batch(run, metrics=[Metric(*entry) for entry in content])
        elif kind == "tags":
            client.log_batch(run, tags=[RunTag(key, value) for key, value in content.items()])
        elif kind == "data":
            client.log_inputs(run, data_inputs(content))
        elif kind == "reopen":
            client.update_run(run, "RUNNING")
            tags = content["tags"] | self._parent(content["parent"])
            client.log_batch(run, tags=[RunTag(key, value) for key, value in tags.items()])
        elif kind == "file":
            if Path(content).exists():
                client.log_artifact(run, content)
        else:
            client.set_terminated(run, content["status"], content["time"])

    def _crown(self, client: MlflowClient, experiment: str, content: dict[str, Any]) -> None:
        """Mark the best run of a study, which any machine may have made, and it alone."""
        tests = [f"tags.`{key}` = '{value}'" for key, value in content["tags"].items()]
        for run in client.search_runs([experiment], f"{tests[0]} and tags.`{content['mark']}` = 'true'"):
            client.delete_tag(run.info.run_id, content["mark"])
        for run in client.search_runs([experiment], " and ".join(tests)):
            client.set_tag(run.info.run_id, content["mark"], "true")

    def tidy(self, wanted: set[str]) -> None:
        """Remove the journals that are closed and sent, but for those named: their runs may go on."""
        with self.lock:
            for path in self.folder.glob("*.jsonl"):
                sent = Journal(path).sent()
                if sent["ended"] and sent["bytes"] == path.stat().st_size and path.name not in wanted:
                    path.unlink()
                    path.with_suffix(".sent").unlink(missing_ok=True)
