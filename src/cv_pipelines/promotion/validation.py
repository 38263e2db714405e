"""Checks of a promotion against the experiment that it promotes, before anything runs."""

from __future__ import annotations

from typing import Any

from cv_pipelines.comparing.figures import FIGURES, figures_known
from cv_pipelines.config import ExperimentConfig, parse
from cv_pipelines.config.promotion import PromotionConfig
from cv_pipelines.errors import ConfigError


def check_promotion(where: str, values: dict[str, Any], candidate: ExperimentConfig) -> PromotionConfig:
    """Check a promotion's parameters.

    Args:
        where: file and name, for messages.
        values: the section of the parameters file.
        candidate: parameters of the experiment, which was checked by itself.

    Raises:
        ConfigError: names file, key, value and what is allowed.
    """
    config = parse(where, PromotionConfig, values)
    if candidate.task not in FIGURES:
        raise ConfigError(
            f"{where}: candidate: {config.candidate!r} is of task {candidate.task}, whose results cannot be "
            f"compared sample by sample; allowed are {', '.join(FIGURES)}"
        )
    if candidate.evaluate.split == "train":
        raise ConfigError(
            f"{where}: candidate: {config.candidate!r} is scored on its train split, which does not say how "
            "good it is; allowed are candidates with evaluate.split val or test"
        )
    known = figures_known(candidate.task)
    if config.metric is not None and config.metric not in known:
        raise ConfigError(
            f"{where}: metric: unknown figure {config.metric!r}; allowed are {', '.join(known)}"
        )
    return config
