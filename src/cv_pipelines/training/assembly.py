"""What the keys of `train` ask for: callbacks and changes of the model."""

from __future__ import annotations

from typing import Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn

from cv_pipelines.config.train import Train
from cv_pipelines.errors import ConfigError
from cv_pipelines.training.averaging import Swa
from cv_pipelines.training.callbacks import Lasso
from cv_pipelines.training.phases import Phases, freeze
from cv_pipelines.training.plateau import Plateau

Mode = Literal["max", "min"]

ACCELERATORS = {"auto": "auto", "cpu": "cpu", "cuda": "gpu"}
"""What Lightning calls the choices of `train.device`."""


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
    if train.swa:
        callbacks.append(Swa(train.swa))
    if train.freeze or train.head_first:
        callbacks.append(Phases(train))
    if train.schedule.name == "plateau":
        if monitor is None:
            raise ConfigError("train.schedule.name: 'plateau' needs a validation split; the source has none")
        callbacks.append(Plateau(train.schedule, monitor, mode))
    return callbacks


def prepare_model(model: nn.Module, train: Train) -> None:
    """Freeze, compile and rearrange a model as the recipe says, in place.

    Raises:
        ConfigError: a pattern of `freeze` matches nothing, or no block can be computed again.
    """
    freeze(model, train.freeze)
    if train.channels_last:
        model.to(memory_format=torch.channels_last)
    if train.gradient_checkpointing:
        from cv_pipelines.models.recompute import recompute_blocks  # it needs all models, timm's too

        if not recompute_blocks(model):
            raise ConfigError(f"train.gradient_checkpointing: {type(model).__name__} has no blocks for it")
    if train.compile:
        model.compile()  # in place: the names of the weights stay
