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
        self._means: dict[str, Any] = {}
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
        self._take_up_means(trainer)
        done = batch_idx + 1
        if done == trainer.num_training_batches:
            self._conclude_means(trainer)
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
        """Add what Lightning leaves out: position, random states, the sums behind the epoch's means."""
        del pl_module
        checkpoint["position"] = asdict(
            Position(
                trainer.current_epoch + (self.batches == 0),
                self.batches,
                self.start.seconds + time.monotonic() - self.began,
                trainer.should_stop,
            )
        )
        checkpoint["random"] = _collect_rng_states()
        sums = gathered(self._sums(trainer) if self.batches else {})
        checkpoint["means"], checkpoint["means_of_others"] = sums[0], sums[1:]

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take it up; a training that was stopped early stays stopped."""
        del pl_module
        kept = [checkpoint["means"], *checkpoint.get("means_of_others", [])]
        if len(kept) == world():
            self._means = dict(kept[rank()])
        elif rank() == 0:
            self._means = _together(kept, world())
        self._random = checkpoint["random"]
        trainer.should_stop = checkpoint["position"]["stopped"]

    def _sums(self, trainer: L.Trainer) -> dict[str, Any]:
        live = trainer.fit_loop.epoch_loop._results
        sums = {
            key: (metric.value.cpu(), counted(metric)) for key, metric in live.items() if not metric.has_reset
        }
        return self._means | sums

    def _take_up_means(self, trainer: L.Trainer) -> None:
        """Add the sums of the batches before the interruption to those of the first one after it.

        The order of summation is that of an undisturbed run: all before, then this one's.
        """
        live = trainer.fit_loop.epoch_loop._results
        for key in [key for key in self._means if key in live and not live[key].has_reset]:
            total, count = self._means.pop(key)
            live[key].value = total.to(live[key].value.device) + live[key].value
            if count is not None:
                here = live[key].cumulated_batch_size
                live[key].cumulated_batch_size = count.to(here.device) + here

    def _conclude_means(self, trainer: L.Trainer) -> None:
        """Enter the epoch's means where all its batches after the interruption were passed over."""
        reduce = trainer.strategy.reduce
        for key, (total, count) in self._means.items():
            over_ranks = "sum" if count is None else "mean"
            value = reduce(total.to(trainer.strategy.root_device), reduce_op=over_ranks)
            if count is not None:
                value = value / reduce(count.to(value.device), reduce_op=over_ranks)
            trainer.callback_metrics[key.split(".", 1)[1]] = value
        self._means = {}


def counted(metric: Any) -> torch.Tensor | None:
    """Return how many samples are behind a mean so far; None for what is no mean."""
    count = getattr(metric, "cumulated_batch_size", None)
    return None if count is None else count.cpu()


def _together(sums: list[dict[str, Any]], ranks: int) -> dict[str, Any]:
    """Turn the sums of other ranks than there are now into those of the first one.

    A mean is one over ranks in the end, so that what stands for all counts as often as there are ranks.
    """
    found: dict[str, Any] = {}
    for key, (value, count) in sums[0].items():
        whole = sum((other[key][0] for other in sums[1:]), value)
        if count is None:
            found[key] = (whole, None)
        else:
            counted_before = sum((other[key][1] for other in sums[1:]), count)
            found[key] = (whole * ranks / len(sums), counted_before * ranks // len(sums))
    return found
