"""What comes after the gradient: models with parts that are fitted once, to the finished network's output."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from cv_pipelines.data.datasets import SampleDataset
from cv_pipelines.data.ranks import first
from cv_pipelines.data.transport import with_workers
from cv_pipelines.tasks.base import Task
from cv_pipelines.training.checkpoints import Checkpoint, State, Which
from cv_pipelines.training.predict import autocast, device_of, move


@runtime_checkable
class Completes(Protocol):
    """A model with a stage after training by gradient, such as R-CNN's support vector machines."""

    def complete(self, batches: Any) -> None:
        """Fit what is left, from pairs of normalised images and targets."""


def completed(checkpoint: Checkpoint, task: Task, dataset: SampleDataset) -> Checkpoint:
    """Let a model do what its training by gradient leaves to be done; most have nothing of the kind.

    A training that is killed here is taken up at the end of its last epoch: this part begins again.

    Args:
        checkpoint: of the training.
        task: that trained it.
        dataset: what it was trained on, without augmentation; it comes in its order.
    """
    if not isinstance(task.model, Completes):
        return checkpoint
    return first(lambda: _completed(checkpoint, task, dataset))


def _completed(checkpoint: Checkpoint, task: Task, dataset: SampleDataset) -> Checkpoint:
    began = time.perf_counter()
    done: dict[Which, State] = {}
    for which, state in checkpoint.states.items():
        twin = next((w for w in done if _same(checkpoint.states[w], state)), None)
        done[which] = done[twin] if twin else _state(checkpoint, which, task, dataset)
    seconds = checkpoint.meta.seconds + time.perf_counter() - began
    return Checkpoint(checkpoint.meta.model_copy(update={"seconds": seconds}), done)


def _state(checkpoint: Checkpoint, which: Which, task: Task, dataset: SampleDataset) -> State:
    meta = checkpoint.meta.model_copy(update={"selected": which})
    device = device_of(task.context.config)
    model = Checkpoint(meta, checkpoint.states).build().to(device)
    assert isinstance(model, Completes)
    task.to(device)  # Lightning brings it back to the CPU
    with autocast(task):
        model.complete(_batches(task, dataset))
    return {name: value.cpu() for name, value in model.state_dict().items()}


def _batches(task: Task, dataset: SampleDataset) -> Iterator[tuple[list[Tensor], Any]]:
    train = task.context.config.train
    for batch in DataLoader(dataset, train.batch_size, **with_workers(train.workers, task.collate)):
        there = move(batch, task.device)
        yield [task.normalize(image) for image in there["image"]], there["targets"]


def _same(one: State, other: State) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)
