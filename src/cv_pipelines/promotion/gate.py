"""The conditions of a promotion, each by itself: what was measured, what is asked, and whether it holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cv_pipelines.config.promotion import PromotionConfig


@dataclass(frozen=True)
class Check:
    """One condition.

    Attributes:
        name: of it.
        passed: whether it holds.
        told: what was measured and what is asked, in one sentence.
    """

    name: str
    passed: bool
    told: str


def better(config: PromotionConfig, found: Mapping[str, Any]) -> Check:
    """Check that the challenger is better by the stated minimum, with the stated confidence.

    Args:
        config: the promotion.
        found: the comparison of champion (a) and challenger (b).
    """
    row, needed = found["overall"][0], config.bootstrap.confidence
    told = (
        f"{found['metric']} {row['b']:.4f} against the champion's {row['a']:.4f}; better by more than "
        f"{config.minimum:g} in {found['certain']:.1%} of the resamples, {needed:.1%} needed"
    )
    return Check("better", found["certain"] >= needed, told)


def slices(config: PromotionConfig, found: Mapping[str, Any]) -> list[Check]:
    """Check that no class, group or size became worse by more than its bound.

    What counts is the difference itself, not its interval: a class that may be ruined is not promoted.
    """
    checks = []
    for key, bound in config.worse.items():
        rows = [row for row in found["slices"].get(key.replace("_", " "), []) if row["n"] >= config.smallest]
        losses = {row["name"]: _loss(row) for row in rows}
        ruined = {name: loss for name, loss in losses.items() if not loss <= bound}
        listed = ", ".join(f"{name} by {loss:.4f}" for name, loss in ruined.items())
        told = f"worse by more than {bound:g}: {listed}" if ruined else _worst(key, losses, bound)
        checks.append(Check(f"no {key.replace('_', ' ')} ruined", not ruined, told))
    return checks


def _loss(row: Mapping[str, Any]) -> float:
    """How much worse the challenger is; nothing where the champion has no figure either."""
    if not math.isfinite(row["a"]):
        return 0.0
    return float(row["effect"] if row["lower_is_better"] else -row["effect"])


def _worst(key: str, losses: Mapping[str, float], bound: float) -> str:
    if not losses:
        return f"no {key.replace('_', ' ')} is large enough to tell"
    name = max(losses, key=lambda one: losses[one])
    change = f"{losses[name]:.4f} worse" if losses[name] > 0 else f"{-losses[name]:.4f} better"
    return f"worst of {len(losses)} is {name}, {change}; {bound:g} worse is allowed"


def budget(name: str, measured: float, limit: float | None, unit: str) -> Check:
    """Check a cost against its limit; None for no limit."""
    asked = "no limit" if limit is None else f"at most {limit:g} {unit}"
    return Check(name, limit is None or measured <= limit, f"{measured:.3g} {unit}; {asked}")


def same_numbers(
    then: Mapping[str, float | None], now: Mapping[str, float | None], tolerance: float, metric: str
) -> Check:
    """Check that a model read back from the registry scores as it did when it was trained.

    Args:
        then: figures of `metrics.json`.
        now: figures of the model as it lies in the registry.
        tolerance: most that two may differ.
        metric: the figure that is told if all are the same.
    """
    apart = [name for name in {**then, **now} if not _alike(then.get(name), now.get(name), tolerance)]
    told = ", ".join(f"{name} {_shown(now.get(name))} instead of {_shown(then.get(name))}" for name in apart)
    again = f"{metric} {_shown(now.get(metric))}, and all {len(now)} figures again, within {tolerance:g}"
    return Check("same numbers again", not apart, told or again)


def _alike(one: float | None, other: float | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=0.0, abs_tol=tolerance)


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.6g}"
