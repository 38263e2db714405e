"""What happened in a retraining, kept on disk from step to step, and the status that it ends with."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from cv_pipelines.errors import RetrainingError
from cv_pipelines.files import write_text
from cv_pipelines.retraining.plan import Plan

State = Literal[
    "pending", "done", "unchanged", "new", "trained", "promoted", "skipped", "refused", "gate", "failed"
]


class Status(IntEnum):
    """Exit status of a retraining, the gravest one that occurred."""

    DONE = 0
    FAILED = 1
    REFUSED = 3
    GATE = 4


OUTCOMES = {
    "failed": Status.FAILED,
    "pending": Status.FAILED,
    "gate": Status.GATE,
    "refused": Status.REFUSED,
}
"""What an item that did not come through makes of the whole; `skipped` ones wait for one that did not."""
GRAVEST = (Status.FAILED, Status.GATE, Status.REFUSED, Status.DONE)


class Item(BaseModel):
    """What became of one source, experiment, promotion or transfer.

    Attributes:
        state: `pending` until its step came to an end.
        told: why, where it did not come through.
        facts: figures for the summary.
    """

    state: State = "pending"
    told: str = ""
    facts: dict[str, Any] = Field(default_factory=dict)

    @property
    def stopped(self) -> bool:
        """Whether what builds on it has to wait."""
        return self.state in {*OUTCOMES, "skipped"}


class Record(BaseModel):
    """What happened in a retraining.

    Attributes:
        began: UTC.
        commit: of the code.
        transfers: `pull` and `push`.
        sources: by name, as are the others.
        experiments: and ensembles.
        promotions: of experiments.
    """

    began: str
    commit: str
    transfers: dict[str, Item] = Field(default_factory=lambda: {"pull": Item(), "push": Item()})
    sources: dict[str, Item] = Field(default_factory=dict)
    experiments: dict[str, Item] = Field(default_factory=dict)
    promotions: dict[str, Item] = Field(default_factory=dict)

    @property
    def status(self) -> Status:
        """The gravest of all items."""
        return gravest([*self.transfers.values(), *self.covered])

    @property
    def covered(self) -> list[Item]:
        """Sources, experiments and promotions."""
        return [*self.sources.values(), *self.experiments.values(), *self.promotions.values()]

    @property
    def stored(self) -> bool:
        """Whether others can have what the lock names."""
        push = self.transfers["push"]
        return push.state == "done" and "remote" not in push.facts

    @property
    def promoted(self) -> list[str]:
        """Promotions that put a model to use."""
        return [name for name, item in self.promotions.items() if item.state == "promoted"]

    def blocked(self, needs: set[str]) -> str:
        """Return why something that needs these sources and experiments has to wait; "" if it has not to."""
        if self.transfers["pull"].stopped:
            return "results of before could not be pulled"
        found = [n for n, item in {**self.sources, **self.experiments}.items() if n in needs and item.stopped]
        return f"waits for {', '.join(found)}" if found else ""


def gravest(items: list[Item]) -> Status:
    """Return the status that items add up to."""
    found = {OUTCOMES.get(item.state, Status.DONE) for item in items} | {Status.DONE}
    return next(status for status in GRAVEST if status in found)


def begin(plan: Plan, began: str, commit: str) -> Record:
    """Return the record of a retraining in which nothing has happened yet."""
    return Record(
        began=began,
        commit=commit,
        sources={name: Item() for name in plan.sources},
        experiments={name: Item() for name in plan.experiments},
        promotions={name: Item() for name in plan.promotions},
    )


def save(record: Record, folder: Path) -> None:
    """Write the record into a retraining's folder."""
    write_text(folder / "record.json", record.model_dump_json(indent=2) + "\n")


def load(folder: Path) -> Record:
    """Read the record of the steps before.

    Raises:
        RetrainingError: there is none.
    """
    try:
        return Record.model_validate_json((folder / "record.json").read_text(encoding="utf8"))
    except (OSError, ValueError):
        raise RetrainingError(f"{folder}: no record of a retraining: begin with the step `pull`") from None
