"""What is watched while a model is fitted."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.distributed.tensor import DTensor

from cv_pipelines.data.datasets import sample_seed
from cv_pipelines.data.ranks import any_rank, gathered, rank, world
from cv_pipelines.tasks.base import Task
from cv_pipelines.training.rollback import Batch, NotFiniteError
from cv_pipelines.training.state import snapshot, write_whole

logger = logging.getLogger(__name__)


class History(L.Callback):
    """Keeps every figure of every epoch; its rows survive an interruption within the checkpoint.

    Args:
        seed: of the training.
        live: where rows are left at once, a JSON line each, for whoever watches; those of an epoch that is
            done again after an interruption stand there twice.
    """

    def __init__(self, seed: int, live: Path | None = None) -> None:
        self.seed = seed
        self.live = live
        self.rows: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the rows of an interrupted run."""
        self.rows = list(state_dict["rows"])

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record validation figures (the task logs them when its epoch ends, which is after ours would)."""
        del pl_module
        # A validation figure may be undefined (no large objects, say); that is no point of a curve.
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self._add(trainer, {k: v for k, v in figures.items() if k.startswith("val_") and not math.isnan(v)})

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record training figures and the learning rate."""
        assert isinstance(pl_module, Task)
        rate = trainer.optimizers[0].param_groups[-1]["lr"]
        self._add(trainer, pl_module.figures.close() | {"lr": float(rate)})

    def latest(self, epoch: int) -> dict[str, float]:
        """Return the figures of an epoch."""
        return {row["name"]: row["value"] for row in self.rows if row["epoch"] == epoch}

    def _add(self, trainer: L.Trainer, figures: dict[str, float]) -> None:
        place = {"seed": self.seed, "epoch": trainer.current_epoch}
        rows = [{**place, "name": name, "value": value} for name, value in figures.items()]
        self.rows += rows
        if self.live is not None:
            with self.live.open("a", encoding="utf8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)


class Watch(L.Callback):
    """Tells each figure that the training is judged by to whoever asked for it.

    Args:
        seed: of the training.
        told: is given seed, epochs done and figure; what it raises ends the training.
    """

    def __init__(self, seed: int, told: Callable[[int, int, float], None]) -> None:
        self.seed = seed
        self.told = told

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell the figure; one that is undefined tells nothing."""
        value = float(trainer.callback_metrics.get(str(pl_module.monitor), math.nan))
        if math.isfinite(value):
            self.told(self.seed, trainer.current_epoch + 1, value)


class StepSeed(L.Callback):
    """Draws what a step draws (dropout, noise) from (seed, epoch, step) alone.

    So a training that is taken up at an epoch draws what the uninterrupted one would have drawn. Each rank
    has draws of its own, the first one those of a training in one process.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed torch on the processor and on the device that is trained on."""
        del batch
        # Negative, so that no step shares its draws with a sample of the epoch; -1 is the sampler's.
        seed = sample_seed(self.seed, trainer.current_epoch, -2 - batch_idx)
        seed = sample_seed(seed, rank(), 0) if rank() else seed
        # torch.manual_seed notes down a call for each kind of device that is not in use, with a stack trace:
        # milliseconds a step, and memory that grows with each.
        torch.default_generator.manual_seed(seed)
        if pl_module.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        elif pl_module.device.type == "mps":
            torch.mps.manual_seed(seed)


class FiniteGuard(L.Callback):
    """Stops a training whose loss is no number, instead of letting it go on in silence.

    All ranks stop together: the gradient of one has spoilt the weights of all, which must not be kept.

    Args:
        folder: where the batch that gave such a loss is saved.
        weights: look at the weights after each step, too: a loss may be a number and its gradient none.
    """

    def __init__(self, folder: Path, weights: bool = False) -> None:
        self.folder = folder
        self.weights = weights

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the loss of each batch.

        Raises:
            NotFiniteError: the loss is NaN or infinite; names the file that holds the batch and its samples.
        """
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        what = None
        if isinstance(loss, torch.Tensor) and not torch.isfinite(loss):
            what = f"the loss is {float(loss)}"
        elif self.weights and not finite(pl_module):
            what = "the weights are no numbers after the step"
        if any_rank(what is not None):
            ids = _sample_ids(trainer, batch)
            told = gathered(self._keep(what, trainer, loss, batch, batch_idx) if what else None)
            whole = tuple(chain.from_iterable(gathered(ids)))
            spoilt = Batch(epoch=trainer.current_epoch, step=batch_idx, sample_ids=whole)
            raise NotFiniteError(next(text for text in told if text), spoilt)

    def _keep(self, what: str, trainer: L.Trainer, loss: Any, batch: Any, batch_idx: int) -> str:
        """Save a batch; return what there is to tell."""
        ids = _sample_ids(trainer, batch)
        place = f"epoch_{trainer.current_epoch}_step_{batch_idx}"
        place += f"_rank_{rank()}" if world() > 1 else ""
        path = self.folder / f"not_finite_{place}.pt"
        kept = {"loss": loss, "sample_ids": ids, "batch": batch}
        write_whole(snapshot(kept), path)
        shown = ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
        return (
            f"{what} in epoch {trainer.current_epoch}, step {batch_idx}: "
            f"lower the learning rate or clip the gradient; the batch ({shown}) is kept in {path}"
        )


def _sample_ids(trainer: L.Trainer, batch: Any) -> list[str]:
    loader: Any = trainer.train_dataloader
    samples = loader.dataset.data.samples["sample_id"]
    return [str(samples.iat[int(index)]) for index in batch["index"]]


def finite(module: nn.Module) -> bool:
    """Whether all weights of a module are numbers; of a sharded one, those of this rank."""
    own = [w.to_local() if isinstance(w, DTensor) else w for w in module.parameters()]
    return bool(torch.stack(torch._foreach_norm([w.detach() for w in own])).isfinite().all())


class Lasso(L.Callback):
    """Adds the gradient of an L1 penalty on the weights: what matters little becomes next to nothing.

    Vectors (norms, biases) are left out, as they are of weight decay.

    Args:
        factor: of the sum of absolute weights.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Add factor × sign(w), once a step however many batches it gathers, before any clipping."""
        del trainer, pl_module
        for group in optimizer.param_groups:
            for weight in group["params"]:
                if weight.grad is not None and weight.ndim > 1:
                    weight.grad.add_(weight.detach().sign(), alpha=self.factor)


class ValidateLast(L.Callback):
    """Validates after the last epoch, which is often the best, also where `validate_every` passes it over."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A training may be taken up within its last epoch."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ask for a validation of every epoch once the last one starts."""
        del pl_module
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1


class EpochLog(L.Callback):
    """Says in about ten lines a training how it goes.

    Args:
        title: what it is about.
        monitor: the validation figure to name.
        history: comes before this callback, and has the figures.
    """

    def __init__(self, title: str, monitor: str, history: History) -> None:
        self.title = title
        self.monitor = monitor
        self.history = history

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the monitored figure and the loss now and then, and at the end."""
        del pl_module
        epoch, total = trainer.current_epoch + 1, int(trainer.max_epochs or 1)
        if epoch % max(total // 10, 1) and epoch != total:
            return
        figures = self.history.latest(trainer.current_epoch).items()
        shown = sorted((k, v) for k, v in figures if k.startswith("train_loss") or k == self.monitor)
        text = ", ".join(f"{name} {value:.4f}" for name, value in shown)
        logger.info("%s: epoch %d of %d: %s", self.title, epoch, total, text)
