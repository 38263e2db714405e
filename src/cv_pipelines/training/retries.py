"""A training that needs more memory than there is starts again with smaller batches."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from lightning.pytorch.utilities.memory import garbage_collection_cuda, is_oom_error

from cv_pipelines.config import ExperimentConfig

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")


def halved(config: ExperimentConfig) -> ExperimentConfig:
    """Return an experiment with half the batch, gathering twice as many for a step (GANs cannot gather)."""
    train = config.train
    smaller = {"batch_size": max(train.batch_size // 2, 1)}
    if config.task != "gan":
        smaller["accumulate"] = train.accumulate * 2
    return config.model_copy(update={"train": train.model_copy(update=smaller)})


def with_retries(
    config: ExperimentConfig, run: Callable[[ExperimentConfig], ResultT], note: Path, stamp: str
) -> ResultT:
    """Run a training, and again from its start with half the batch where memory runs out.

    Args:
        config: the experiment; `train.oom_retries` says how often.
        run: trains what it is given.
        note: file that remembers the halvings, so that a training that is taken up again does not meet the
            same end first.
        stamp: fingerprint of the experiment as it is configured; a note of another one does not count.

    Raises:
        RuntimeError: memory ran out for the last time, or for want of something else than memory.
    """
    done = _noted(note, stamp)
    for _ in range(done):
        config = halved(config)
    while True:
        try:
            return run(config)
        except RuntimeError as error:
            spent = done >= config.train.oom_retries or config.train.batch_size == 1
            if spent or not out_of_memory(error):
                raise
        # Outside the handler: the error's traceback keeps the tensors that filled the memory.
        garbage_collection_cuda()
        done, config = done + 1, halved(config)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{stamp} {done}", encoding="utf8")
        logger.warning("out of memory: starting again with batches of %d", config.train.batch_size)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left, of a GPU or of the machine."""
    return isinstance(error, torch.OutOfMemoryError) or is_oom_error(error)


def _noted(note: Path, stamp: str) -> int:
    if not note.exists():
        return 0
    known, count = note.read_text(encoding="utf8").split()
    return int(count) if known == stamp else 0
