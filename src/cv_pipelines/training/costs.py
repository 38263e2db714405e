"""What using a trained model costs: parameters, memory, operations and time an image."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.data.datasets import SampleDataset, SourceData
from cv_pipelines.models.origins import ORIGINS
from cv_pipelines.tasks.base import Task
from cv_pipelines.tasks.gan import Gan
from cv_pipelines.training.checkpoints import Checkpoint
from cv_pipelines.training.predict import autocast, load_task, move, scored_part

SAMPLES = 20
"""Samples that each model is timed on, evenly spaced over the scored split."""


@dataclass(frozen=True)
class Costs:
    """What using one model costs.

    Attributes:
        model: its registered name.
        year: of its method; None where `ORIGINS` has none.
        novelty: what that brought.
        parameters: that are learned or were given.
        megabytes: of the weights in the checkpoint, in 10⁶ bytes.
        gigaflops: operations for one sample, in 10⁹, a product and its sum being two; what is no convolution
            or matrix product does not count. None for models that predict no given sample.
        milliseconds: from a decoded sample to its prediction, one at a time; the median.
        device: that was timed.
        threads: of the CPU.
    """

    model: str
    year: int | None
    novelty: str | None
    parameters: int
    megabytes: float
    gigaflops: float | None
    milliseconds: float | None
    device: str
    threads: int


def measure(
    members: Mapping[str, tuple[ExperimentConfig, SourceData, Checkpoint]], count: int = SAMPLES
) -> dict[str, dict[str, Any]]:
    """Measure models in one run, in turns, so that a busy moment meets all.

    Args:
        members: experiments by name: parameters, prepared source (all splits) and checkpoint.
        count: samples that each is timed on.

    Returns:
        `Costs` as a mapping, by name.
    """
    tasks = {name: load_task(*member) for name, member in members.items()}
    predictions = {
        name: _predictions(task, scored_part(*members[name][:2]), count)
        for name, task in tasks.items()
        if not isinstance(task, Gan)
    }
    with torch.inference_mode():
        operations = {name: _operations(runs[0]) for name, runs in predictions.items()}
        taken = _in_turns(predictions)
    return {
        name: asdict(_costs(task, members[name][2], operations.get(name), taken.get(name)))
        for name, task in tasks.items()
    }


def _predictions(task: Task, part: SourceData, count: int) -> list[Callable[[], Any]]:
    """Return functions that predict a sample each, read and collated already."""
    task.evaluate_on(part)
    dataset = SampleDataset(part, "none", task.context.preprocessing.size)
    chosen = np.unique(np.linspace(0, len(dataset) - 1, count).round().astype(int))
    batches = [task.collate_inputs([dataset[int(index)]]) for index in chosen]

    def predict(batch: Any) -> None:
        """Predict one sample."""
        with autocast(task):
            list(task.outputs(move(batch, task.device)))
        if task.device.type == "cuda":
            torch.cuda.synchronize()

    return [lambda batch=batch: predict(batch) for batch in batches]  # type: ignore[misc]


def _operations(predict: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False) as counter:
        predict()
    return counter.get_total_flops() / 1e9


def _in_turns(predictions: Mapping[str, list[Callable[[], Any]]]) -> dict[str, float]:
    """Return the median milliseconds of each; the first round warms up and does not count."""
    taken: dict[str, list[float]] = {name: [] for name in predictions}
    rounds = max((len(runs) for runs in predictions.values()), default=0)
    for turn in range(-1, rounds):
        for name, runs in predictions.items():
            started = time.perf_counter()
            runs[max(turn, 0) % len(runs)]()
            if turn >= 0:
                taken[name].append(1000 * (time.perf_counter() - started))
    return {name: median(times) for name, times in taken.items()}


def _costs(task: Task, checkpoint: Checkpoint, operations: float | None, milliseconds: float | None) -> Costs:
    model = checkpoint.meta.model
    origin = ORIGINS.get(model)
    return Costs(
        model=model,
        year=origin.year if origin else None,
        novelty=origin.novelty if origin else None,
        parameters=sum(parameter.numel() for parameter in task.model.parameters()),
        megabytes=sum(tensor.nbytes for tensor in checkpoint.state.values()) / 1e6,
        gigaflops=operations,
        milliseconds=milliseconds,
        device=str(task.device),
        threads=torch.get_num_threads(),
    )
