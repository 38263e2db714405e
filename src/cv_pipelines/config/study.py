"""What a study may say: which parameters of an experiment are searched, how, and for how many trials."""

from __future__ import annotations

import itertools
import json
import math
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from cv_pipelines.config.sections import Choice, Positive, Strict, refuse

Number = int | float


class Range(Strict):
    """Numbers between two bounds, both included; whole ones if both bounds are.

    Attributes:
        low: smallest.
        high: largest.
        log: draw the logarithm evenly, so that every power of ten is as likely.
        step: distance between the values that are allowed, from `low` on; None for all of them.
    """

    low: Number
    high: Number
    log: bool = False
    step: Annotated[Number, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            refuse("Range", "high", self.high, f"must be a number above low ({self.low})")
        if self.log and self.low <= 0:
            refuse("Range", "low", self.low, "must be above 0 where `log` is true")
        if self.log and self.step is not None:
            refuse("Range", "step", self.step, "goes not with `log`; give one of the two")
        if self.whole and isinstance(self.step, float):
            refuse("Range", "step", self.step, "must be whole where both bounds are")
        return self

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are drawn."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def values(self) -> list[Any] | None:
        """All values, rising; None if they cannot be counted."""
        step = self.step or (1 if self.whole and not self.log else None)
        if step is None:
            return None
        # A tenth of a step of grace: 0.1 + 2 × 0.1 is a little more than 0.3.
        return [self.low + k * step for k in range(math.floor((self.high - self.low) / step + 0.1) + 1)]

    @property
    def ends(self) -> list[Any]:
        """The bounds."""
        return [self.low, self.high]


def name_of(choice: Any) -> Any:
    """Return a choice as it is stored and shown: a list or a mapping becomes its JSON text."""
    return choice if choice is None or isinstance(choice, bool | int | float | str) else json.dumps(choice)


def _dimension(value: Any) -> Any:
    if isinstance(value, dict):
        return Range.model_validate(value)
    if not isinstance(value, list) or not value:
        raise ValueError("give a list of choices, or {low: …, high: …}")
    names = [(type(name_of(choice)), name_of(choice)) for choice in value]
    if len(set(names)) < len(names):
        raise ValueError("a choice is given twice")
    return value


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _storage(url: str) -> str:
    if not url.startswith(("sqlite:////", "postgresql://", "postgresql+")):
        raise ValueError("must be sqlite:/// with a whole path, or postgresql://")
    return url


class Sampler(Choice):
    """What draws the parameters of a trial.

    Attributes:
        name: `grid` takes every combination once, in an order drawn by the seed; `random` draws each trial
            alone (Bergstra & Bengio 2012); `tpe` draws where earlier trials were good (Bergstra et al. 2011).
        startup: of tpe, trials that are drawn at random before it knows enough (10).
    """

    options: ClassVar[dict[str, tuple[str, ...]]] = {"grid": (), "random": (), "tpe": ("startup",)}

    name: Literal["grid", "random", "tpe"] = "tpe"
    startup: Positive | None = None


class Pruner(Choice):
    """What ends a trial before its last epoch.

    Attributes:
        name: `hyperband` (Li et al. 2018) keeps the best of the trials that came as far; `none` keeps all.
        min_epochs: of hyperband, epochs that every trial may have (1).
        factor: of hyperband, one in so many goes on at each look (3).
    """

    options: ClassVar[dict[str, tuple[str, ...]]] = {"hyperband": ("factor", "min_epochs"), "none": ()}

    name: Literal["hyperband", "none"] = "none"
    min_epochs: Positive | None = None
    factor: Annotated[int, Field(ge=2)] | None = None


class StudyConfig(Strict):
    """A search for good parameters of an experiment, by its validation figure.

    Attributes:
        experiment: whose parameters are searched.
        space: dotted keys of the experiment, each with a `Range` or a list of choices.
        trials: of the whole study, on all machines; a grid may leave it out and take every combination.
        sampler: what draws the parameters.
        pruner: what ends a trial early.
        seed: of what is drawn; trial n depends on it, on n and on the trials before alone.
        storage: where the study is kept, as SQLAlchemy's address; None for a file among the study's data.
        failures: trials that may fail in a row before the search stops.
        lost_after: seconds without a sign of life of its process, after which a trial is taken over.
    """

    experiment: str
    space: Annotated[dict[str, Annotated[Any, BeforeValidator(_dimension)]], Field(min_length=1)]
    trials: Positive | None = None
    sampler: Annotated[Sampler, BeforeValidator(_named)] = Sampler()
    pruner: Annotated[Pruner, BeforeValidator(_named)] = Pruner()
    seed: Annotated[int, Field(ge=0)] = 0
    storage: Annotated[str, AfterValidator(_storage)] | None = None
    failures: Positive = 5
    lost_after: Positive = 600

    @model_validator(mode="after")
    def _can_be_counted(self) -> Self:
        if self.sampler.name != "grid":
            if self.trials is None:
                refuse("Study", "trials", None, f"sampler {self.sampler.name} needs a number of trials")
            return self
        for key, dimension in self.space.items():
            if isinstance(dimension, Range) and dimension.values is None:
                refuse("Study", f"space.{key}", dimension.model_dump(), "a grid needs a list, or a step")
        if self.trials is not None and self.trials > self.combinations:
            refuse("Study", "trials", self.trials, f"the grid has {self.combinations} combinations")
        return self

    @property
    def combinations(self) -> int:
        """How many points a grid of this space has."""
        return math.prod(len(values) for values in self._listed())

    @property
    def total(self) -> int:
        """How many trials the study has."""
        return self.trials or self.combinations

    def grid(self) -> list[dict[str, Any]]:
        """Return every combination; the last key changes fastest."""
        return [dict(zip(self.space, point, strict=True)) for point in itertools.product(*self._listed())]

    def _listed(self) -> list[list[Any]]:
        dimensions = self.space.values()
        return [(d.values or []) if isinstance(d, Range) else d for d in dimensions]
