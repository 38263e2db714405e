"""The schedule `plateau`: the learning rate falls when the validation score does not get better."""

from __future__ import annotations

import math
from typing import Any, Literal

import lightning as L
from torch.optim.lr_scheduler import ReduceLROnPlateau

from cv_pipelines.config.train import Schedule


class Plateau(L.Callback):
    """Lowers the rate after each validation that calls for it.

    Lightning would do so after the epoch's checkpoint is written, and a resumed training would miss it.

    Args:
        schedule: `factor` and `patience`.
        monitor: the validation figure.
        mode: whether `max` or `min` of it is good.
    """

    def __init__(self, schedule: Schedule, monitor: str, mode: Literal["max", "min"]) -> None:
        self.schedule, self.monitor, self.mode = schedule, monitor, mode
        self.rule: ReduceLROnPlateau | None = None
        self.kept: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"rule": self.rule.state_dict() if self.rule else None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the best score and the patience of an interrupted run."""
        self.kept = state_dict["rule"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take charge of the optimiser, which is there by now."""
        del pl_module
        factor, patience = self.schedule.factor or 0.1, self.schedule.patience or 3
        # `patience` counts the validations that are forgiven; the next one lowers the rate.
        self.rule = ReduceLROnPlateau(trainer.optimizers[0], self.mode, factor, patience - 1)
        if self.kept:
            self.rule.load_state_dict(self.kept)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the score; a figure that is undefined changes nothing."""
        del pl_module
        score = float(trainer.callback_metrics.get(self.monitor, math.nan))
        if self.rule is not None and not math.isnan(score):
            self.rule.step(score)
