"""Stochastic weight averaging (Izmailov et al. 2018)."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging


class Swa(WeightAveraging):
    """Averages the weights at the end of each epoch in the last part of a training.

    The average is what is validated and kept. The statistics of batch norms are averaged too, where §3.2 of
    the paper would measure them anew in another pass.

    Args:
        start: share of the epochs after which averaging begins, 0 to 1.
    """

    def __init__(self, start: float) -> None:
        super().__init__(use_buffers=True)
        self.start = start
        self.steps_an_epoch, self.first = 1, 0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reckon in optimiser steps: only after a step, not after an epoch, comes the validation."""
        del pl_module
        epochs = int(trainer.max_epochs or 1)
        self.steps_an_epoch = int(trainer.estimated_stepping_batches) // epochs
        self.first = min(round(self.start * epochs), epochs - 1) * self.steps_an_epoch

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether an averaged epoch ends with this step."""
        del epoch_idx
        if step_idx is None:
            return False
        return step_idx >= self.first and (step_idx + 1) % self.steps_an_epoch == 0

    @property
    def begun(self) -> bool:
        """Whether there is an average."""
        return self._average_model is not None and int(self._average_model.n_averaged) > 0

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validate the average, once there is one."""
        if self.begun:
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take up the current weights again."""
        if self.begun:
            super().on_validation_epoch_end(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the average beside the current weights, once there is one."""
        if self.begun:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)
