"""Whether a data report stays within the limits that its source declares."""

from __future__ import annotations

from typing import Any

from cv_pipelines.config import Limits
from cv_pipelines.errors import DataLimitError


def enforce(limits: Limits, summary: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Compare a data report with the limits of its source.

    Args:
        limits: what is allowed.
        summary: the report's numbers: `splits`, `classes`, `quarantine`, `near_duplicates`.

    Returns:
        Each limit that is set to its `value` and `limit`.

    Raises:
        DataLimitError: one is passed; names all that are.
    """
    values = measured(summary)
    kept = {
        name: {"value": values[name], "limit": limit}
        for name, limit in limits.model_dump(exclude={"drift"}).items()
        if limit is not None
    }
    passed = [
        f"{name} is {one['value']:.4g}; allowed is {'at least' if name == 'smallest_class' else 'at most'} "
        f"{one['limit']:.4g}"
        for name, one in kept.items()
        if (one["value"] < one["limit"] if name == "smallest_class" else one["value"] > one["limit"])
    ]
    if passed:
        raise DataLimitError("; ".join(passed))
    return kept


def measured(summary: dict[str, Any]) -> dict[str, float]:
    """Return what the limits are about: shares, and the number of train samples of the smallest class."""
    samples = sum(summary["splits"].values())
    dropped = sum(row["n"] for row in summary["quarantine"] if row["action"] == "dropped")
    shares = [
        count / summary["splits"][pair.split("|")[1]] for pair, count in summary["near_duplicates"].items()
    ]
    classes = summary["classes"].get("train", {})
    return {
        "dropped": dropped / max(samples + dropped, 1),
        "near_duplicates": max(shares, default=0.0),
        "smallest_class": float(min(classes.values(), default=0)),
    }
