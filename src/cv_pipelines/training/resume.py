"""Keeping the whole state of a training while it runs, and going on from it to the last bit."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.seed import _collect_rng_states, _set_rng_states
from lightning.pytorch.callbacks import Checkpoint

from cv_pipelines.data.ranks import first, gathered, rank, world
from cv_pipelines.tasks.base import Task
from cv_pipelines.tasks.figures import Sum
from cv_pipelines.training.state import StateWriter

logger = logging.getLogger(__name__)

STATE = "last.ckpt"


@dataclass(frozen=True)
class Position:
    """How far a training has come.

    Attributes:
        epoch: that comes next, or is under way; from 0.
        batches: of that epoch that are done.
        seconds: that it took so far, interruptions not counted.
        stopped: whether early stopping has ended it.
    """

    epoch: int = 0
    batches: int = 0
    seconds: float = 0.0
    stopped: bool = False


def position_of(state: Path) -> Position | None:
    """Read how far a state has come; None if there is none, or none that can be read."""
    if not state.exists():
        return None
    try:
        saved = torch.load(state, map_location="cpu", weights_only=False, mmap=True)
        return Position(**saved["position"])
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError) as error:
        logger.warning("%s cannot be read, so the training starts again: %s", state, error)
        return None


class KeepState(Checkpoint):
    """Saves the whole state every so often within an epoch and at its end.

    Within an epoch that is after a batch whose gradients were used, so none are to be kept, and never after
    the last one: what follows it (validation, the epoch's figures) belongs to the epoch.

    Args:
        folder: where the state lies.
        every: steps, share of an epoch, or seconds as `30s`; None for the ends of epochs alone.
        writer: that writes it.
        start: where this process takes the training up.
    """

    def __init__(
        self,
        folder: Path,
        every: int | float | str | None,
        writer: StateWriter,
        start: Position,
    ) -> None:
        self.path = folder / STATE
        self.every = every
        self.writer = writer
        self.start = start
        self.began = self.saved = time.monotonic()
        self.batches = 0
        self._random: dict[str, Any] | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on with the random states, now that the loaders have drawn their seeds."""
        del trainer, pl_module
        if self._random is not None:
            _set_rng_states(self._random)
            self._random = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time."""
        del pl_module, outputs, batch
        done = batch_idx + 1
        usable = done < trainer.num_training_batches and done % trainer.accumulate_grad_batches == 0
        # What is still being written is new enough; another copy would only wait. Clocks differ: one decides.
        if (
            usable
            and self.every is not None
            and first(lambda: not self.writer.busy and self._due(trainer, done))
        ):
            self._save(trainer, done)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save a whole epoch; of epochs that are shorter than the time given, not each, but the last one."""
        del pl_module
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if ends or not isinstance(self.every, str) or first(lambda: self._due(trainer, 0)):
            self._save(trainer, 0)

    def _save(self, trainer: L.Trainer, batches: int) -> None:
        self.batches = batches
        trainer.save_checkpoint(self.path, weights_only=False)
        self.saved = time.monotonic()

    def _due(self, trainer: L.Trainer, done: int) -> bool:
        if self.every is None:
            return False
        if isinstance(self.every, str):
            return time.monotonic() - self.saved >= float(self.every.removesuffix("s"))
        if isinstance(self.every, int):
            return done % self.every == 0
        return done % max(round(self.every * trainer.num_training_batches), 1) == 0

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what Lightning leaves out: position, random states, the sums behind the epoch's figures."""
        assert isinstance(pl_module, Task)
        checkpoint["position"] = asdict(
            Position(
                trainer.current_epoch + (self.batches == 0),
                self.batches,
                self.start.seconds + time.monotonic() - self.began,
                trainer.should_stop,
            )
        )
        checkpoint["random"] = _collect_rng_states()
        checkpoint["figures"] = gathered(pl_module.figures.kept() if self.batches else {})

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take it up; a training that was stopped early stays stopped."""
        assert isinstance(pl_module, Task)
        kept = checkpoint["figures"]
        same = len(kept) == world()
        pl_module.figures.sums = dict(kept[rank()]) if same else _shared_out(kept, rank(), world())
        self._random = checkpoint["random"]
        trainer.should_stop = checkpoint["position"]["stopped"]


def _shared_out(sums: list[dict[str, Sum]], number: int, ranks: int) -> dict[str, Sum]:
    """Give the first rank the sums of those that were others than there are now, and the rest nothing.

    A mean is one over ranks in the end, so that what stands for all counts as often as there are ranks.
    """
    found: dict[str, Sum] = {}
    for name, (value, count) in sums[0].items():
        whole = sum((other[name][0] for other in sums[1:]), value)
        whole = whole if count is None else whole * ranks / len(sums)
        found[name] = (torch.zeros_like(whole) if number else whole, count)
    return found
