"""Whether a data report stays within the limits that its source declares."""

from __future__ import annotations

from typing import Any, NamedTuple

from cv_pipelines.config import Limits
from cv_pipelines.data.schema import ACTIONS
from cv_pipelines.errors import DataLimitError

MEANINGS = {
    "dropped": "share of the files and records met that were left out",
    "repaired": "share of the files and records met that were corrected",
    "repeats": "share of the samples that repeat another one of their split, byte for byte",
    "duplicates": "largest share of a split's samples that an earlier split also has, byte for byte",
    "near_duplicates": "largest share of a split's samples that look like one of an earlier split",
    "shared_groups": "largest share of a split's groups (subjects, videos) that an earlier split also has",
    "label_conflicts": "share of the samples whose content also occurs with other classes",
    "smallest_class": "train samples of the smallest class",
    "imbalance": "train samples of the largest class for each one of the smallest",
}
"""What each limit but `drift` is about."""

LEAST = {"smallest_class"}
"""Limits that a value may not fall below; others may not be passed."""


class Check(NamedTuple):
    """One limit, what was measured, and whether that is allowed; `limit` is None where none is set."""

    name: str
    value: float
    limit: float | None

    @property
    def kept(self) -> bool:
        """Whether the value is within the limit."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.name in LEAST else self.value <= self.limit


def check(limits: Limits, summary: dict[str, Any]) -> list[Check]:
    """Compare a data report with the limits of its source.

    Args:
        limits: what is allowed.
        summary: the report's numbers, see `findings.summarise`.
    """
    allowed = limits.model_dump(exclude={"drift"})
    return [Check(name, value, allowed[name]) for name, value in measured(summary).items()]


def enforce(name: str, limits: Limits, summary: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Refuse a source that passes its limits.

    Args:
        name: of the source.
        limits: what is allowed.
        summary: the report's numbers.

    Returns:
        Each limit that is set to its `value` and `limit`.

    Raises:
        DataLimitError: one is passed; names all that are.
    """
    found = [one for one in check(limits, summary) if one.limit is not None]
    passed = [
        f"limits.{one.name} is {one.value:.4g}; allowed is at {'least' if one.name in LEAST else 'most'} "
        f"{one.limit:.4g} ({MEANINGS[one.name]})"
        for one in found
        if not one.kept
    ]
    if passed:
        raise DataLimitError("; ".join(passed), name)
    return {one.name: {"value": one.value, "limit": float(one.limit or 0)} for one in found}


def measured(summary: dict[str, Any]) -> dict[str, float]:
    """Return the value of every limit but `drift`, in the order in which they are told."""
    splits, samples = summary["splits"], max(sum(summary["splits"].values()), 1)
    rows = {action: sum(r["n"] for r in summary["quarantine"] if r["action"] == action) for action in ACTIONS}
    met = sum(summary["splits"].values()) + rows["dropped"]
    pairs = {pair: pair.split("|") for pair in summary["duplicates"]}
    within = sum(n for pair, n in summary["duplicates"].items() if len(set(pairs[pair])) == 1)
    across = {pair: n for pair, n in summary["duplicates"].items() if len(set(pairs[pair])) == 2}
    shared = {pair: found["shared_groups"] for pair, found in summary["leakage"].items()}
    counts = list(summary["classes"].get("train", {}).values())
    return {
        "dropped": rows["dropped"] / max(met, 1),
        "repaired": min(rows["repaired"] / max(met, 1), 1.0),
        "repeats": within / samples,
        "duplicates": _largest_share(across, splits),
        "near_duplicates": _largest_share(summary["near_duplicates"], splits),
        "shared_groups": _largest_share(shared, summary["groups"]),
        "label_conflicts": summary["label_conflicts"] / samples,
        "smallest_class": float(min(counts, default=0)),
        "imbalance": max(counts, default=0) / max(min(counts, default=0), 1),
    }


def _largest_share(found: dict[str, int], totals: dict[str, int]) -> float:
    """Return the largest share that a pair's count has in the later split's total."""
    shares = [count / max(totals.get(pair.split("|")[1], 0), 1) for pair, count in found.items()]
    return max(shares, default=0.0)
