"""Comparing two `metrics.json`: every figure, within a tolerance."""

from __future__ import annotations

from typing import Any

from cv_pipelines.provenance import Provenance, differences

OTHER_DEVICE = 0.01
"""Tolerance where a GPU was or is used: its sums come out differently from run to run."""


def tolerance_of(then: dict[str, Any], now: dict[str, Any]) -> float:
    """Return the tolerance that suits the devices of two results: none where both are CPUs."""
    return 0.0 if then["device"] == now["device"] == "cpu" else OTHER_DEVICE


def compared(then: dict[str, Any], now: dict[str, Any], tolerance: float) -> list[dict[str, Any]]:
    """Compare the figures of two results, and those of each seed.

    Args:
        then: `metrics.json` of the first.
        now: of the second.
        tolerance: a figure passes if it differs by at most this, or by this share of it where it is above 1.

    Returns:
        A row a figure: `name`, `then`, `now`, `difference`, `passed`.
    """
    one, other = figures(then), figures(now)
    rows = []
    for name in one | other:
        a, b = one.get(name), other.get(name)
        known = a is not None and b is not None
        difference = b - a if a is not None and b is not None else None
        allowed = tolerance * max(1.0, abs(a or 0.0))
        passed = abs(difference) <= allowed if difference is not None else name in one and name in other
        passed = passed and (known or a is b)
        rows.append({"name": name, "then": a, "now": b, "difference": difference, "passed": passed})
    return rows


def figures(metrics: dict[str, Any]) -> dict[str, float | None]:
    """Return every figure of a `metrics.json`: those of single seeds as `seed <n>: <name>`."""
    found = dict(metrics["values"])
    seeds = metrics.get("seeds", {})
    if len(seeds) > 1:
        found |= {f"seed {seed}: {name}": value for seed, own in seeds.items() for name, value in own.items()}
    return found


def told_apart(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Say in words what two results were made from that differs: data, code, versions, parameters."""
    parts = [metrics.get("provenance") for metrics in (then, now)]
    if not all(parts):
        return ["what one of them was made from was not noted"]
    return differences(*(Provenance.model_validate(part) for part in parts))
