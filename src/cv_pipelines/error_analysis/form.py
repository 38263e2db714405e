"""The one form of an error report: the same six parts for every task."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

PARTS = ("confusion", "calibration", "curves", "kinds", "worst", "slices")

WORST = 48
"""Samples that the list of the worst holds at most."""

RIGHT = "right"
"""The kind of a sample of the list that is no mistake."""


@dataclass(frozen=True)
class Kind:
    """One kind of error.

    Attributes:
        kind: its name.
        meaning: what it is, in a sentence.
        count: how often it occurs, in the report's `unit`.
        cost: how much better the metric were without these errors, 0 or more; null where that is unbounded.
    """

    kind: str
    meaning: str
    count: int
    cost: float


@dataclass(frozen=True)
class Worst:
    """One of the samples that the model does worst on.

    Attributes:
        sample_id: of the sample.
        kinds: of its errors, the most frequent first.
        score: what the list is sorted by, see the report's `worst_by`.
        reason: what is wrong, in words.
        boxes: of a detector: its detections and the objects, each with its kind.
        beside: another sample that explains it, such as its nearest neighbour.
    """

    sample_id: str
    kinds: list[str]
    score: float
    reason: str
    boxes: list[dict[str, Any]] = field(default_factory=list)
    beside: str | None = None


@dataclass(frozen=True)
class Slice:
    """The metric on a part of what was scored.

    Attributes:
        slice: what the parts are of, such as "class".
        name: of the part.
        n: how much of it there is: samples, objects of a class, pixels of a class.
        value: the metric on it.
        difference: `value` minus the metric on all.
        low: lower end of the 95 % interval of `difference`; null where it cannot be told.
        high: upper end.
    """

    slice: str
    name: str
    n: int
    value: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Report:
    """All that is known of the errors of one model on one split.

    A part that is None, or empty, says in `absent` why.

    Attributes:
        metric: the figure that costs and slices are of, as in `metrics.json`.
        value: of the first seed, on all that was scored.
        lower_is_better: the direction of the metric.
        unit: what kinds of error are counts of.
        worst_by: what the list of the worst is sorted by.
        confusion: `unit`, `classes` and `counts`: rows are the truth. One row and one column more than
            classes: nothing there, nothing said.
        calibration: `bins` (`confidence`, `accuracy`, `count`) and `ece`.
        curves: `title`, `x`, `y` (axis names) and `lines` (`name`, `x`, `y`, `area`, `n`).
        kinds: of error.
        worst: samples, worst first.
        slices: of the samples.
        absent: part to reason.
    """

    metric: str
    value: float
    unit: str
    worst_by: str
    lower_is_better: bool = False
    confusion: dict[str, Any] | None = None
    calibration: dict[str, Any] | None = None
    curves: dict[str, Any] | None = None
    kinds: list[Kind] = field(default_factory=list)
    worst: list[Worst] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `errors.json`; keys are those of the attributes, in their order."""
        found = asdict(self)
        for part in PARTS:
            if not found[part] and part not in self.absent:
                found["absent"][part] = "there is none"
        return found


def of_matrix(unit: str, classes: list[str], counts: Any) -> dict[str, Any]:
    """Make the `confusion` of a report.

    Args:
        unit: what is counted.
        classes: names in index order.
        counts: (C, C), or (C + 1, C + 1) with "nothing" last.
    """
    return {"unit": unit, "classes": classes, "counts": counts}
