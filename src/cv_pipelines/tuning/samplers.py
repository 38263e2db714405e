"""What draws the parameters of a trial, and what ends it early."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from cv_pipelines.config.study import Range, StudyConfig, name_of


class ByNumber(BaseSampler):
    """Lets another sampler draw each trial from the study's seed and the trial's number.

    So neither an interruption nor a second process makes one draw what another has drawn already, as
    samplers of one seed would.

    Args:
        make: makes the sampler of one trial from a seed.
        seed: of the study.
        fixed: gives the values of a trial that is not drawn, by its number; None for one that is.
    """

    def __init__(
        self,
        make: Callable[[int], BaseSampler],
        seed: int,
        fixed: Callable[[int], Mapping[str, Any] | None],
    ) -> None:
        self.make, self.seed, self.fixed = make, seed, fixed
        self.inner = make(seed)
        self.given: Mapping[str, Any] | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed the draws of a trial."""
        (drawn,) = np.random.SeedSequence([self.seed, trial.number]).generate_state(1)
        self.inner, self.given = self.make(int(drawn)), self.fixed(trial.number)
        self.inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that are drawn together: none of a trial whose values are given."""
        return {} if self.given is not None else self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw parameters together."""
        return {} if self.given is not None else self.inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one parameter, or take the value that is given."""
        if self.given is not None:
            return self.given[param_name]
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Tell the sampler how a trial ended."""
        self.inner.after_trial(study, trial, state, values)


def make_sampler(config: StudyConfig, own: Mapping[str, Any] | None) -> BaseSampler:
    """Return the sampler of a study.

    Args:
        config: the study.
        own: the values that the experiment has itself, where they lie in the space: trial 0 takes them, so
            that the winner is never worse than what there was. A grid has them in their place.
    """
    if config.sampler.name == "grid":
        points = [{key: name_of(value) for key, value in point.items()} for point in config.grid()]
        order = np.random.default_rng(config.seed).permutation(len(points))
        return ByNumber(RandomSampler, config.seed, lambda n: points[order[n % len(order)]])

    def make(seed: int) -> BaseSampler:
        """Make the sampler of one trial."""
        if config.sampler.name == "random":
            return RandomSampler(seed)
        return TPESampler(seed=seed, n_startup_trials=config.sampler.startup or 10)

    return ByNumber(make, config.seed, lambda number: own if number == 0 else None)


def make_pruner(config: StudyConfig, epochs: int) -> BasePruner:
    """Return the pruner of a study.

    Args:
        config: the study.
        epochs: of the experiment, where they are not searched.
    """
    pruner = config.pruner
    if pruner.name == "none":
        return NopPruner()
    searched = config.space.get("train.epochs", [epochs])
    longest = max(searched.ends if isinstance(searched, Range) else searched)
    return HyperbandPruner(pruner.min_epochs or 1, longest, pruner.factor or 3)
