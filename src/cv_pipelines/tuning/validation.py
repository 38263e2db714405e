"""Checks of a study against the experiment that it searches: all that can be known before anything runs."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator
from typing import Any

from cv_pipelines.config import ExperimentConfig, parse
from cv_pipelines.config.study import Range, StudyConfig
from cv_pipelines.errors import ConfigError
from cv_pipelines.tasks import task_class
from cv_pipelines.training.validation import check_experiment
from cv_pipelines.tuning.space import Space, with_values

FIXED = {
    "task": "trials could not be compared",
    "source": "trials could not be compared",
    "evaluate": "it is the yardstick of the search",
    "init_from": "make a study for each start",
    "embedder": "it is the yardstick of the search",
    "cache": "it is filled once, before the first trial",
    "tour": "it changes no training",
    "group": "it changes no training",
    "train.fit_on": "the search needs the validation split",
    "train.seeds": "a lucky seed is no better experiment",
    "train.devices": "a trial trains in one process",
    "train.num_nodes": "a trial trains in one process",
}
"""Keys that cannot be searched, and why."""

COMBINATIONS = 200
"""Combinations of bounds and choices that are tried out on the experiment's checks at most."""


def check_study(
    where: str, values: dict[str, Any], experiment: dict[str, Any], sources: Iterable[str]
) -> StudyConfig:
    """Check a study: its own keys, and that all it may draw is allowed in its experiment.

    Bounds and choices are tried out in combination, as one may only fit with another.

    Args:
        where: file and name, for messages.
        values: the section of the parameters file.
        experiment: the parameters of the experiment that it names, which are valid.
        sources: names of the sources there are.

    Raises:
        ConfigError: names file, key, value and what is allowed.
    """
    config = parse(where, StudyConfig, values)
    known = list(sources)
    base = check_experiment(config.experiment, experiment, known)
    check_validated(f"{where}: experiment", base)
    for key in config.space:
        for fixed, why in FIXED.items():
            if key == fixed or key.startswith(f"{fixed}."):
                raise ConfigError(f"{where}: space.{key}: cannot be searched: {why}")
        if key == "train" or not all(key.split(".")):
            raise ConfigError(f"{where}: space.{key}: must be a key within a section, such as train.epochs")
    for combination in _combinations(config.space):
        try:
            trial = with_values(experiment, combination)
        except ConfigError as error:
            raise ConfigError(f"{where}: space: {error}") from None
        check_experiment(f"{where}: space", trial, known)
    return config


def check_validated(where: str, experiment: ExperimentConfig) -> None:
    """Check that an experiment keeps a validation split, has a figure to be judged by, and takes one device.

    Raises:
        ConfigError: it does not; a search by the test split would make its scores worthless.
    """
    name = experiment.train.fit_on
    if name != "train":
        raise ConfigError(
            f"{where}: trains on its validation split (train.fit_on {name!r}): nothing to judge by"
        )
    if not task_class(experiment.task).validates:
        raise ConfigError(f"{where}: task {experiment.task!r} has no validation figure to judge by")
    for key in ("devices", "num_nodes"):
        if (value := getattr(experiment.train, key)) != 1:
            raise ConfigError(
                f"{where}: train.{key} is {value!r}; a trial trains in one process, so 1 is what is allowed: "
                "to use several machines or GPUs, let each run the study"
            )


def _combinations(space: Space) -> Iterator[dict[str, Any]]:
    """Yield bounds and choices in combination: all of them, or each value once and some more by chance."""
    listed = [d.ends if isinstance(d, Range) else d for d in space.values()]
    if math.prod(len(values) for values in listed) <= COMBINATIONS:
        points: Iterable[tuple[Any, ...]] = itertools.product(*listed)
    else:
        longest = max(len(values) for values in listed)
        each = [tuple(values[k % len(values)] for values in listed) for k in range(longest)]
        rng = random.Random(0)
        points = itertools.chain(
            each, (tuple(rng.choice(values) for values in listed) for _ in range(COMBINATIONS))
        )
    return (dict(zip(space, point, strict=True)) for point in points)
