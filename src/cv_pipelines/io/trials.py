"""The trials of a study as runs in MLflow, each a child of the study's run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cv_pipelines.io.tracking import Tracker, read_rows
from cv_pipelines.tuning.watch import Watcher

STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
"""How the run of a trial ends. A pruned one is KILLED: its figure is not that of a whole training."""


class TrialRuns(Watcher):
    """Keeps one run a trial.

    Runs of a study that several machines share have the tag `cv_pipelines.study` in common; each machine has
    a parent run of its own for those that it ended.

    Args:
        tracker: of this process, with an open run of the study.
        study: its name.
    """

    def __init__(self, tracker: Tracker, study: str) -> None:
        self.tracker, self.study = tracker, study
        self.identity = study

    def opened(self, identity: str) -> None:
        """Know the identity of the study, which all its processes share."""
        self.identity = f"{self.study} {identity}"
        self.tracker.tag(self.study, {"cv_pipelines.study": self.identity})

    def started(self, number: int, parameters: dict[str, Any], folder: Path) -> None:
        """Open the run of a trial; its curves are entered while it trains."""
        name = self._name(number)
        self.tracker.works[name] = folder
        tags = {"cv_pipelines.kind": "trial", **self._tags(number)}
        self.tracker.start(name, parameters, below=self.study, tags=tags)

    def ended(self, number: int, state: str, value: float | None, reason: str | None) -> None:
        """Enter the rest of the curves, the figure and how the trial ended; close its run."""
        name = self._name(number)
        for path in sorted(self.tracker.works[name].glob("seed_*/live.jsonl")):
            self.tracker.record(name, read_rows(path))
        tags = {"cv_pipelines.trial_state": state} | ({"cv_pipelines.reason": reason} if reason else {})
        self.tracker.tag(name, tags)
        if value is not None:
            self.tracker.log_values(name, {"objective": value})
        if value is not None and state == "complete":
            self.tracker.log_values(self.study, {"objective": value}, number)
        self.tracker.end(name, STATUS[state])

    def decided(self, number: int, value: float) -> None:
        """Mark the run of the best trial, and say on the study's own which it is."""
        self.tracker.tag(self.study, {"cv_pipelines.best_trial": str(number)})
        self.tracker.log_values(self.study, {"best_objective": value})
        self.tracker.crown(self.study, self._tags(number), "cv_pipelines.best")

    def _name(self, number: int) -> str:
        return f"{self.study}_trial_{number}"

    def _tags(self, number: int) -> dict[str, str]:
        return {"cv_pipelines.study": self.identity, "cv_pipelines.trial": str(number)}
