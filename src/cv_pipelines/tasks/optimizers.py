"""Optimiser and schedule from the parameters of an experiment."""

from __future__ import annotations

from importlib import import_module
from typing import Any

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

from cv_pipelines.config.train import Optimizer, Schedule, Train

RULES = {
    "adagrad": "torch.optim:Adagrad",
    "adam": "torch.optim:Adam",
    "adamw": "torch.optim:AdamW",
    "lion": "timm.optim.lion:Lion",
    # timm's, because PyTorch's own takes neither convolutions nor vectors
    "muon": "timm.optim.muon:Muon",
    "rmsprop": "torch.optim:RMSprop",
    "sgd": "torch.optim:SGD",
}
"""Name to module and class; what is not asked for need not be imported."""


def parameter_groups(model: nn.Module, config: Optimizer) -> list[dict[str, Any]]:
    """Group parameters by learning rate and decay.

    Vectors (norms, biases) are not decayed; what lies below a module named `encoder` learns at
    `lr × encoder_lr_scale`, and with `layer_decay` the less the nearer it is to the input.
    """
    layers = encoder_layers(model)
    groups: dict[tuple[int | None, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            layer = layers.get(name)
            if config.layer_decay is None and layer is not None:
                layer = 0
            groups.setdefault((layer, parameter.ndim > 1), []).append(parameter)
    depth = max(layers.values(), default=0) + 1
    return [
        {
            "params": parameters,
            "lr": config.lr * _scale(config, layer, depth),
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (layer, decayed), parameters in groups.items()
    ]


def _scale(config: Optimizer, layer: int | None, depth: int) -> float:
    if layer is None:
        return 1.0
    decay = 1.0 if config.layer_decay is None else config.layer_decay ** (depth - layer)
    return config.encoder_lr_scale * decay


def in_encoder(name: str) -> bool:
    """Whether a parameter lies below a module named `encoder`."""
    return "encoder" in name.split(".")


def encoder_layers(model: nn.Module) -> dict[str, int]:
    """Number the layers of a model's encoder from the input, by parameter name.

    A layer is what lies below the first number in its path (`encoder.3`, `encoder.blocks.2`), or a module of
    its own (`encoder.conv_stem`); one without a matrix (a norm) belongs to the layer before it.
    """
    layers: dict[str, int] = {}
    paths: list[str] = []
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        if not in_encoder(name):
            continue
        first = parts.index("encoder") + 1
        numbered = [i for i in range(first, len(parts)) if parts[i].isdigit()]
        path = ".".join(parts[: numbered[0] + 1] if numbered else parts[:-1])
        if not paths or (path not in paths and parameter.ndim > 1):
            paths.append(path)
        layers[name] = paths.index(path) if path in paths else len(paths) - 1
    return layers


def phase_steps(config: Train, steps: int) -> tuple[int, int]:
    """Divide a training's optimiser steps among its two phases; without `head_first` the second has none."""
    if config.head_first is None:
        return steps, 0
    first = steps * config.head_first.epochs // config.epochs
    return first, steps - first


def make_optimizer(model: nn.Module, config: Optimizer) -> TorchOptimizer:
    """Build the optimiser over a model's trainable parameters."""
    given = {key: getattr(config, key) for key in Optimizer.options[config.name]}
    options = {key: value for key, value in given.items() if value is not None}
    if "betas" in options:
        options["betas"] = tuple(options["betas"])
    if config.name == "sgd":
        momentum = options.setdefault("momentum", 0.9)
        options.setdefault("nesterov", momentum > 0)
    module, name = RULES[config.name].split(":")
    made: TorchOptimizer = getattr(import_module(module), name)(
        parameter_groups(model, config), lr=config.lr, **options
    )
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
