"""From a study's space to Optuna's distributions, and from what was drawn to the parameters of a trial."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from cv_pipelines.config.study import Range, name_of
from cv_pipelines.errors import ConfigError

Space = Mapping[str, Any]
"""Dotted keys, each with a `Range` or a list of choices."""


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return what Optuna draws from, by dotted key."""
    return {key: _distribution(dimension) for key, dimension in space.items()}


def _distribution(dimension: Any) -> BaseDistribution:
    if not isinstance(dimension, Range):
        return CategoricalDistribution([name_of(choice) for choice in dimension])
    low, high, step, log = dimension.low, dimension.high, dimension.step, dimension.log
    if dimension.whole:
        return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    if step is not None:
        high = (dimension.values or [high])[-1]  # Optuna wants whole steps between the bounds
    return FloatDistribution(float(low), float(high), log=log, step=step)


def drawn_values(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that Optuna's stored parameters stand for, in the order of the space."""
    found = {}
    for key, dimension in space.items():
        value = params[key]
        known = {} if isinstance(dimension, Range) else {name_of(choice): choice for choice in dimension}
        found[key] = known.get(value, value)
    return found


def with_values(parameters: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of an experiment's parameters with values at dotted keys.

    A section comes before its own keys: `train.optimizer` may be drawn, and `train.optimizer.lr` too.

    Raises:
        ConfigError: a key leads through something that is no section.
    """
    changed = copy.deepcopy(dict(parameters))
    for key in sorted(values, key=lambda key: key.count(".")):
        *above, last = key.split(".")
        section: Any = changed
        for part in above:
            if isinstance(section, dict) and section.get(part) is None:
                section[part] = {}
            section = _at(section, part, key)
        if isinstance(section, list):
            _at(section, last, key)
            section[int(last)] = copy.deepcopy(values[key])
        elif isinstance(section, dict):
            section[last] = copy.deepcopy(values[key])
        else:
            raise ConfigError(f"{key}: unknown key; what is above it is no section but {section!r}")
    return changed


def _at(section: Any, part: str, key: str) -> Any:
    if isinstance(section, dict) and part in section:
        return section[part]
    if isinstance(section, list) and part.isdigit() and int(part) < len(section):
        return section[int(part)]
    raise ConfigError(f"{key}: unknown key; there is no {part!r} in {section!r}")


def own_values(space: Space, *parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the values that an experiment has itself, as Optuna stores them; None if one lies outside.

    Args:
        space: of the study.
        parameters: of the experiment; a key that the first does not have is looked for in the next.
    """
    found = {}
    for key, dimension in space.items():
        for values in parameters:
            try:
                value = _value(values, key)
                break
            except ConfigError:
                continue
        else:
            return None
        if not _within(dimension, value):
            return None
        found[key] = name_of(value)
    return found


def _value(parameters: Mapping[str, Any], key: str) -> Any:
    value: Any = parameters
    for part in key.split("."):
        value = _at(value, part, key)
    return value


def _within(dimension: Any, value: Any) -> bool:
    if not isinstance(dimension, Range):
        return (type(value), value) in [(type(choice), choice) for choice in dimension]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or (dimension.whole and not isinstance(value, int)):
        return False
    listed = dimension.values if dimension.step else None
    return value in listed if listed else dimension.low <= value <= dimension.high
