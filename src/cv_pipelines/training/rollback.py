"""Batches that spoil a training: it goes back to its last state, and then passes over them.

Going back is taking an interrupted training up, with one more batch on the list of those to pass over. So the
outcome depends on the batches alone, not on where the state was kept or how often the training was killed.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from cv_pipelines.config.train import Train
from cv_pipelines.data.ranks import first, world
from cv_pipelines.errors import CvPipelinesError
from cv_pipelines.files import write_text
from cv_pipelines.tasks.base import Task

logger = logging.getLogger(__name__)

LIST = "passed_over.json"


class Batch(BaseModel):
    """A batch of a training.

    Attributes:
        epoch: from 0.
        step: of the epoch, from 0.
        sample_ids: of its samples, on all ranks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epoch: int
    step: int
    sample_ids: tuple[str, ...]


class NotFiniteError(CvPipelinesError):
    """The loss became NaN or infinite; names epoch and step.

    Attributes:
        batch: that did it; None where the error was told by another process.
    """

    def __init__(self, told: str, batch: Batch | None = None) -> None:
        super().__init__(told)
        self.batch = batch


def passed_over(folder: Path) -> list[Batch]:
    """Return the batches that the training of a folder passes over, in the order in which they were met."""
    path = folder / LIST
    found = first(lambda: json.loads(path.read_text(encoding="utf8")) if path.exists() else [])
    return [Batch.model_validate(batch) for batch in found]


def roll_back(folder: Path, train: Train, error: NotFiniteError) -> None:
    """Put a batch on the list, so that the next attempt, from the last state, passes over it.

    Args:
        folder: of the training.
        train: says whether and how often it may go back.
        error: what ended the attempt.

    Raises:
        NotFiniteError: it may not go back, or not once more, or the batch was passed over already.
    """
    known, batch = passed_over(folder), error.batch
    if train.on_nan == "stop" or batch is None:
        raise error
    if (batch.epoch, batch.step) in places(known):
        raise NotFiniteError(f"{error}. It was passed over, and still the weights are no numbers") from None
    if len(known) >= train.max_rollbacks:
        told = f"{error}. {len(known)} batches were passed over before; train.max_rollbacks allows no more"
        common = set(batch.sample_ids).intersection(*(other.sample_ids for other in known))
        alike = f"; in all of them: {', '.join(sorted(common))}" if known and common else ""
        raise NotFiniteError(told + alike) from None
    logger.warning("%s. Going back to the last state, to pass over it", error)
    text = json.dumps([one.model_dump() for one in [*known, batch]], indent=1)
    first(lambda: write_text(folder / LIST, text))


def places(batches: list[Batch]) -> set[tuple[int, int]]:
    """Return epoch and step of each."""
    return {(batch.epoch, batch.step) for batch in batches}


def pass_over(task: Task, batches: list[Batch]) -> None:
    """Have a task do nothing with some batches: no loss, no gradient; the schedule goes on."""
    if not batches:
        return
    known, step = places(batches), task.training_step

    def training_step(self: Task, batch: Any, batch_index: int) -> Any:
        """Take a step, or none at a batch to pass over."""
        if (self.trainer.current_epoch, batch_index) not in known:
            return step(batch, batch_index)
        # Lightning refuses None from one of several ranks; a loss of no weight has no gradient either.
        return None if world() == 1 else torch.zeros((), device=self.device, requires_grad=True)

    task.training_step = MethodType(training_step, task)  # type: ignore[method-assign]
