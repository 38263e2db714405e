"""Optimiser and schedule from the parameters of an experiment."""

from __future__ import annotations

from typing import Any

import torch
from timm.optim.lion import Lion
from timm.optim.muon import Muon
from torch import nn
from torch.optim import Optimizer as TorchOptimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    SequentialLR,
)

from cv_pipelines.recipe import Optimizer, Schedule, Train

RULES: dict[str, type[TorchOptimizer]] = {
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "lion": Lion,
    # timm's, because PyTorch's own takes neither convolutions nor vectors
    "muon": Muon,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}


def parameter_groups(model: nn.Module, config: Optimizer) -> list[dict[str, Any]]:
    """Group parameters by learning rate and decay.

    Vectors (norms, biases) are not decayed; what lies below a module named `encoder` learns at
    `lr × encoder_lr_scale`.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            encoder = "encoder" in name.split(".")
            groups.setdefault((encoder, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": config.lr * (config.encoder_lr_scale if encoder else 1.0),
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (encoder, decayed), parameters in groups.items()
    ]


def make_optimizer(model: nn.Module, config: Optimizer) -> TorchOptimizer:
    """Build the optimiser over a model's trainable parameters."""
    given = {key: getattr(config, key) for key in Optimizer.options[config.name]}
    options = {key: value for key, value in given.items() if value is not None}
    if "betas" in options:
        options["betas"] = tuple(options["betas"])
    if config.name == "sgd":
        momentum = options.setdefault("momentum", 0.9)
        options.setdefault("nesterov", momentum > 0)
    build: Any = RULES[config.name]
    made: TorchOptimizer = build(parameter_groups(model, config), lr=config.lr, **options)
    return made


def make_scheduler(optimizer: TorchOptimizer, config: Train, steps: int) -> LRScheduler:
    """Build the schedule over `steps` optimiser steps.

    Of `plateau` this is the warm-up alone: its falls depend on validation, see `training.plateau`.
    """
    schedule = config.schedule
    if schedule.name == "one_cycle":
        peaks = [float(group["lr"]) for group in optimizer.param_groups]
        rise = schedule.warmup or 0.3
        return OneCycleLR(optimizer, peaks, steps, pct_start=rise, cycle_momentum=False)
    if schedule.warmup is None:
        return _falling(optimizer, schedule, steps)
    rise = max(round(schedule.warmup * steps), 1)
    rising = LinearLR(optimizer, 1 / (rise + 1), total_iters=rise)
    if schedule.name in {"constant", "plateau"}:
        return rising
    return SequentialLR(optimizer, [rising, _falling(optimizer, schedule, max(steps - rise, 1))], [rise])


def _falling(optimizer: TorchOptimizer, schedule: Schedule, steps: int) -> LRScheduler:
    if schedule.name == "cosine":
        return CosineAnnealingLR(optimizer, steps)
    if schedule.name == "polynomial":
        return PolynomialLR(optimizer, steps, power=schedule.power or 0.9)
    if schedule.name == "step":
        milestones = [round(share * steps) for share in schedule.milestones or (0.5, 0.75)]
        return MultiStepLR(optimizer, milestones, gamma=schedule.factor or 0.1)
    if schedule.name == "plateau":
        return ConstantLR(optimizer, 1.0, 0)  # leaves alone what the plateau's falls have made of the rate
    return LambdaLR(optimizer, lambda step: 1.0)
