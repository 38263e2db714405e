"""What the steps of an experiment take: time by earlier trainings, space by the size of its model."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.models import builder
from cv_pipelines.planning.steps import Step
from cv_pipelines.tasks import task_class
from cv_pipelines.training.predict import device_of

STATE_COPIES = 4
"""Weights, two moments of Adam and the best weights so far: what a training keeps on the disk meanwhile."""


@dataclass(frozen=True)
class Past:
    """An earlier training.

    Attributes:
        seconds: it took, all seeds.
        device: it ran on.
        epochs: of all seeds together; None if not known.
    """

    seconds: float
    device: str
    epochs: int | None = None


def timed(step: Step, config: ExperimentConfig, past: Iterable[Past]) -> Step:
    """Add to a training how long it is expected to take: the median of those on the same device.

    Where the number of epochs or seeds has changed since, the time is taken to change with it.

    Args:
        step: `train_model`.
        config: the experiment.
        past: its earlier trainings.
    """
    device, epochs = device_name(config), config.train.epochs * len(config.train.seeds)
    alike = {one for one in past if one.device == device}
    if not alike:
        return replace(step, basis=f"no earlier training on {device}")
    scaled = [one.seconds * (epochs / one.epochs if one.epochs else 1.0) for one in alike]
    changed = any(one.epochs not in {None, epochs} for one in alike)
    count = f"{len(alike)} earlier training{'s' if len(alike) > 1 else ''} on {device}"
    return replace(step, seconds=median(scaled), basis=f"median of {count}{', by epochs' if changed else ''}")


def device_name(config: ExperimentConfig) -> str:
    """Return the device of a training as its results will name it."""
    train, device = config.train, device_of(config)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    devices = train.devices if isinstance(train.devices, int) else 1
    count = devices * train.num_nodes
    return name if count == 1 else f"{count} × {name}"


def sized(step: Step, config: ExperimentConfig, data: SourceData | None) -> Step:
    """Add to a training what it writes at most: checkpoints, its state meanwhile, the cache it asks for.

    Args:
        step: `train_model`; its `disk` is what the checkpoints there take.
        config: the experiment.
        data: its prepared source; None if it is not prepared.
    """
    seeds = len(config.train.seeds)
    weights = (step.disk or 0) / (2 * seeds) or weights_of(config, data)
    if not weights:
        return replace(step, disk=None)
    cache = config.cache.gigabytes * 1e9 if config.cache else 0.0
    return replace(step, disk=math.ceil(weights * (2 * seeds + STATE_COPIES) + cache))


def weights_of(config: ExperimentConfig, data: SourceData | None) -> int:
    """Return the bytes of a model's weights, 0 where that cannot be told before its source is prepared."""
    if data is None:
        return 0
    options = config.model.options | ({"weights": "none"} if "weights" in config.model.options else {})
    try:
        with torch.device("meta"):
            model = builder(config.model.name)(
                data.channels, task_class(config.task).n_outputs(data), **options
            )
    except (RuntimeError, NotImplementedError, ValueError, OSError):
        return 0
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def free_bytes(folder: Path) -> int:
    """Return what is free on the disk of a folder, or of the nearest one above it that there is."""
    there = next(path for path in [folder, *folder.parents] if path.exists())
    return shutil.disk_usage(there).free
