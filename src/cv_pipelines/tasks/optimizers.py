"""Optimiser and schedule from the parameters of an experiment."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer as TorchOptimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR

from cv_pipelines.config import Optimizer, Train


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
    groups = parameter_groups(model, config)
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr, betas=(config.betas[0], config.betas[1]))


def make_scheduler(optimizer: TorchOptimizer, config: Train, steps: int) -> LRScheduler:
    """Build the schedule over `steps` optimiser steps."""
    if config.schedule.name == "one_cycle":
        peaks = [float(group["lr"]) for group in optimizer.param_groups]
        return OneCycleLR(optimizer, peaks, steps, pct_start=config.schedule.warmup, cycle_momentum=False)
    if config.schedule.name == "cosine":
        return CosineAnnealingLR(optimizer, steps)
    return LambdaLR(optimizer, lambda step: 1.0)
