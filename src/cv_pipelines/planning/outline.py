"""A plan as a whole: the nodes of its steps, what is missing, disk, time, and the command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from statistics import median
from typing import Any

from cv_pipelines.planning.steps import Step
from cv_pipelines.training.job import Job
from cv_pipelines.training.probe import probe

TOGETHER = {
    "prepare": ("split_samples", "compute_statistics", "measure_samples", "report_source", "enforce_limits"),
    "score": ("score", "coco_files"),
    "draw_report": ("analyse_errors", "explain", "draw_report"),
}
"""Nodes that one step stands for, where they are several; a step of no such name stands for its node."""


def with_nodes(step: Step, own: Sequence[str], *, alone: bool) -> Step:
    """Add the nodes that a step stands for.

    Args:
        step: of a plan.
        own: all nodes of its namespace, with namespace.
        alone: whether it is the only step of its namespace, and stands for them all.
    """
    names = {f"{step.namespace}.{name}" for name in TOGETHER.get(step.name, (step.name,))}
    found = [node for node in own if node in names]
    return replace(step, nodes=list(own) if alone or not found else found)


def expected(step: Step, durations: dict[str, list[float]]) -> Step:
    """Add to a step how long it is expected to take, where nothing better is known: as its nodes took lately.

    Args:
        step: with its nodes.
        durations: of the latest runs of each node, in seconds.
    """
    lately = [durations[node] for node in step.nodes if durations.get(node)]
    if step.seconds is not None or step.basis or not lately or len(lately) < len(step.nodes):
        return step
    count = min(len(one) for one in lately)
    basis = f"median of the latest {count} runs here" if count > 1 else "as in the latest run here"
    return replace(step, seconds=sum(median(one) for one in lately), basis=basis)


def outline(steps: list[Step], free: int) -> dict[str, Any]:
    """Sum up a plan: what is missing, disk and time.

    Args:
        steps: all of them.
        free: bytes on the disk.
    """
    needed = [step for step in steps if step.needed]
    known = [step.seconds for step in needed if step.seconds is not None]
    return {
        "steps": [asdict(step) for step in steps],
        "missing": [
            f"{step.namespace}: {one}" for step in steps if step.name == "read_source" for one in _lacks(step)
        ],
        "disk": {
            "needed": sum(step.disk or 0 for step in needed),
            "unknown": [
                f"{step.namespace}.{step.name}"
                for step in needed
                if step.disk is None and step.name in {"read_source", "train_model"}
            ],
            "free": free,
        },
        "time": {
            "minutes": round(sum(known) / 60, 2) if known or not needed else None,
            "unknown": [f"{step.namespace}.{step.name}" for step in needed if step.seconds is None],
        },
    }


def _lacks(step: Step) -> list[str]:
    return step.reasons if step.state == "missing" else step.gone


def certain_nodes(steps: list[Step]) -> list[str]:
    """Return the nodes that have to run first; whether others do is known once the tables are there."""
    first = [step for step in steps if step.state == "run" or (step.needed and step.name == "prepare")]
    return [name for step in first for name in step.nodes]


def probes(steps: list[Step], job: Callable[[str], Job | None]) -> dict[str, Any]:
    """Do one step of each training that is needed, where its source is prepared.

    Args:
        steps: of a plan.
        job: gathers the training of an experiment; None where its source is not prepared.
    """
    found: dict[str, Any] = {}
    for step in steps:
        if step.name == "train_model" and step.needed:
            gathered = job(step.namespace)
            found[step.namespace] = (
                probe(gathered) if gathered else {"error": "its source is not prepared yet"}
            )
    return found
