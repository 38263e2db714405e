"""The steps of a retraining. Each can be started again: what is done stays done, and is not done twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cv_pipelines.errors import RetrainingError
from cv_pipelines.retraining.commands import Failure, Ran, run
from cv_pipelines.retraining.lock_branch import LOCK, take_lock
from cv_pipelines.retraining.plan import Plan
from cv_pipelines.retraining.record import Item, Record, State
from cv_pipelines.training.leaderboard import main_score

GATES = {"DataLimitError", "LeakageError"}
"""Errors that say that data are not fit to train on, not that something broke."""
REFUSED = 3
"""Status of `kedro run` where a model was refused."""


@dataclass(frozen=True)
class Retraining:
    """One retraining.

    Attributes:
        project: its folder.
        plan: what it covers.
        record: what has happened so far; steps add to it.
    """

    project: Path
    plan: Plan
    record: Record

    @property
    def reporting(self) -> Path:
        """Folder of the reports."""
        return self.project / "data/08_reporting"


def pull(retraining: Retraining) -> list[Item]:
    """Bring what the last retraining made: its lock, and the outputs that it names."""
    retraining.record.transfers["pull"] = item = Item(state="done")
    try:
        taken = take_lock(retraining.project)
        item.facts["lock"] = "of the last retraining" if taken else "of the checkout"
        targets = [*locked(retraining), *retraining.plan.tracked.values()]
        if not has_remote(retraining.project):
            item.facts["remote"] = "none: results of before have to be on this machine"
        elif targets and (ran := run(["dvc", "fetch", *targets], retraining.project)).status:
            raise RetrainingError(ran.why().told)
        # What lies here unsaved (a training that was killed) is left alone; DVC will see that it is stale.
        if targets and run(["dvc", "checkout", *targets], retraining.project).status:
            for target in targets:
                run(["dvc", "checkout", target], retraining.project)
    except RetrainingError as error:
        retraining.record.transfers["pull"] = item = Item(state="failed", told=str(error))
    return [item]


def locked(retraining: Retraining) -> list[str]:
    """Return the covered stages whose outputs the lock knows."""
    try:
        lock = yaml.safe_load((retraining.project / LOCK).read_text(encoding="utf8")) or {}
    except FileNotFoundError:
        return []
    return [stage for stage in dict.fromkeys(retraining.plan.stages) if stage in lock.get("stages", {})]


def has_remote(project: Path) -> bool:
    """Whether a default remote is configured for DVC."""
    return not run(["dvc", "config", "core.remote"], project).status


def data(retraining: Retraining) -> list[Item]:
    """Ingest the sources, and hold those back that are not fit to train on."""
    record, plan = retraining.record, retraining.plan
    if why := record.blocked(set()):
        record.sources = {name: Item(state="skipped", told=why) for name in plan.sources}
        return list(record.sources.values())
    ran = _reproduced(retraining, list(plan.sources.values()))
    for name in plan.sources:
        item = _item(ran, _stages_of([name]), "new" if f"data_{name}" in ran.stages else "unchanged")
        record.sources[name] = item.model_copy(update={"facts": _facts_of_source(retraining, name)})
    return list(record.sources.values())


def train(retraining: Retraining) -> list[Item]:
    """Train again what is stale and has sound data."""
    record, plan = retraining.record, retraining.plan
    before = {name: _score(retraining.reporting / name) for name in plan.experiments}
    record.experiments = {}  # what one waits for is known when its turn comes
    free = [name for name, needs in plan.experiments.items() if not record.blocked(needs)]
    ran = _reproduced(retraining, free) if free else None
    for name, needs in plan.experiments.items():
        if ran is None or name not in free:
            record.experiments[name] = Item(state="skipped", told=record.blocked(needs))
            continue
        item = _item(ran, [name, *_stages_of(needs)], "trained" if name in ran.stages else "unchanged")
        if why := record.blocked(needs):  # one that it starts from has just failed
            item = Item(state="skipped", told=why)
        scores = {"before": before[name], "now": _score(retraining.reporting / name)}
        record.experiments[name] = item.model_copy(update={"facts": scores})
    return list(record.experiments.values())


def promote(retraining: Retraining) -> list[Item]:
    """Put models to use that are better; one that is in use already stays so."""
    record = retraining.record
    for name, candidate in retraining.plan.promotions.items():
        if why := record.blocked({candidate}):
            record.promotions[name] = Item(state="skipped", told=why)
            continue
        words = ["kedro", "run", "--pipelines", name, "--namespaces", name]
        ran = run(words, retraining.project)
        record.promotions[name] = _decided(ran, retraining.reporting / name)
    return list(record.promotions.values())


def push(retraining: Retraining) -> list[Item]:
    """Store what was made on the remote; gather the reports of all that is covered in one folder."""
    item = Item(state="done")
    targets = locked(retraining)
    if not has_remote(retraining.project):
        item.facts["remote"] = "none: results stay on this machine"
    elif targets and (ran := run(["dvc", "push", *targets], retraining.project)).status:
        item = Item(state="failed", told=ran.why().told)
    retraining.record.transfers["push"] = item
    return [item]


STEPS: dict[str, Callable[[Retraining], list[Item]]] = {
    "pull": pull,
    "data": data,
    "train": train,
    "promote": promote,
    "publish": push,
}


def _reproduced(retraining: Retraining, targets: list[str]) -> Ran:
    return run(["dvc", "repro", "--keep-going", *targets], retraining.project)


def _stages_of(sources: Iterable[str]) -> list[str]:
    return [f"{kind}_{name}" for name in sources for kind in ("raw", "data", "drift")]


def _item(ran: Ran, stages: list[str], state: State) -> Item:
    """Say what became of something that these stages make; `state` if none of them failed."""
    broken = [stage for stage in stages if stage in ran.broken]
    if not broken and ran.status and not ran.broken:
        broken = [""]  # DVC did not even begin
    if not broken:
        return Item(state=state)
    why: Failure = ran.why(broken[0])
    return Item(state="gate" if why.kind in GATES else "failed", told=why.told)


def _decided(ran: Ran, folder: Path) -> Item:
    """Say what a promotion decided."""
    if ran.status not in (0, REFUSED):
        return Item(state="failed", told=ran.why().told)
    decision = _json(folder / "decision.json")
    failed = [f"{one['name']}: {one['told']}" for one in decision["checks"] if not one["passed"]]
    return Item(state=decision["outcome"], told="; ".join(failed), facts=decision)


def _facts_of_source(retraining: Retraining, name: str) -> dict[str, Any]:
    """Return what the summary says of a source: samples a split; how far it drifted."""
    report = _json(retraining.reporting / f"data_{name}" / "report.json")
    drift = _json(retraining.reporting / f"drift_{name}" / "drift.json")
    keys = ("samples", "distances", "limit", "beyond", "appeared", "vanished")
    return {"splits": report.get("splits", {}), "drift": {key: drift[key] for key in keys if key in drift}}


def _score(folder: Path) -> dict[str, Any] | None:
    """Return the figure that stands for an experiment, and the samples that it is of."""
    metrics = _json(folder / "metrics.json")
    if not metrics:
        return None
    name, value = main_score(metrics)
    return {"name": name, "value": value, "n": metrics["contract"].get("n")}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
