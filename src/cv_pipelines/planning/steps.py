"""One step of a plan: some nodes of a namespace, whether they are needed, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

State = Literal["run", "maybe", "fresh", "missing"]
"""Needed; needed if what is made before comes out different; up to date; cannot be made."""


TABLES = ("read_source", "prepare")
"""Steps whose tables often come out the same; what is made of them goes by their content."""


@dataclass(frozen=True)
class Step:
    """Nodes that are out of date together.

    Attributes:
        namespace: a source, an experiment, …
        name: of the node that stands for them.
        nodes: all of them, with namespace.
        state: whether they are needed.
        reasons: why, in words; what is missing where it cannot be made.
        gone: files that it read before and that are not there any more; it may do without, or refuse.
        disk: bytes that it writes, those that it replaces not subtracted; None if not known.
        seconds: that it is expected to take; None if not known.
        basis: what the expectation rests on.
    """

    namespace: str
    name: str
    nodes: list[str] = field(default_factory=list)
    state: State = "fresh"
    reasons: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    disk: int | None = None
    seconds: float | None = None
    basis: str = ""

    @property
    def needed(self) -> bool:
        """Whether it has to be run, as far as can be told."""
        return self.state in {"run", "maybe"}


def judged(stale: list[str], above: list[Step]) -> tuple[State, list[str]]:
    """Return the state of a step.

    Args:
        stale: why it is out of date in itself.
        above: the steps whose results it reads.
    """
    lacking = [step for step in above if step.state == "missing"]
    if lacking:
        return "missing", [f"{step.namespace}.{step.name} cannot be made" for step in lacking]
    if stale:
        return "run", stale
    certain = [step for step in above if step.state == "run" and step.name not in TABLES]
    if certain:
        return "run", [f"{step.namespace}.{step.name} runs" for step in certain]
    changed = [step for step in above if step.needed]
    return ("maybe" if changed else "fresh"), [
        f"if {step.namespace}.{step.name} gives something else" for step in changed
    ]
