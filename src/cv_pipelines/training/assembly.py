"""The callbacks that the keys of `train` ask for."""

from __future__ import annotations

from typing import Literal

import lightning as L
from lightning.pytorch.callbacks import EMAWeightAveraging

from cv_pipelines.errors import ConfigError
from cv_pipelines.recipe import Train
from cv_pipelines.training.callbacks import Lasso
from cv_pipelines.training.plateau import Plateau

Mode = Literal["max", "min"]


def asked_for(train: Train, monitor: str | None, mode: Mode) -> list[L.Callback]:
    """Return the callbacks of a training's recipe, in the order in which they have to act.

    Args:
        train: the recipe.
        monitor: the validation figure; None if nothing is validated.
        mode: whether `max` or `min` of it is good.

    Raises:
        ConfigError: a key needs a validation figure and there is none.
    """
    callbacks: list[L.Callback] = []
    if train.l1:
        callbacks.append(Lasso(train.l1))
    if train.ema:
        callbacks.append(EMAWeightAveraging(decay=train.ema))
    if train.schedule.name == "plateau":
        if monitor is None:
            raise ConfigError("train.schedule.name: 'plateau' needs a validation split; the source has none")
        callbacks.append(Plateau(train.schedule, monitor, mode))
    return callbacks
