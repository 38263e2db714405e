"""Frozen parts of a model: for the whole training, or until its head has learnt (two-phase fine-tuning)."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import lightning as L
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cv_pipelines.config.train import Train
from cv_pipelines.errors import ConfigError
from cv_pipelines.tasks.base import Task
from cv_pipelines.tasks.optimizers import in_encoder, make_scheduler, parameter_groups, phase_steps


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze the parameters whose name matches a shell pattern (`encoder.blocks.[0-3].*`).

    Raises:
        ConfigError: a pattern matches nothing, or nothing is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            some = ", ".join(names[:: max(len(names) // 8, 1)])
            raise ConfigError(f"train.freeze: {pattern!r} matches no parameter; there are {some}, …")
    for name, parameter in model.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"train.freeze: {list(patterns)} leaves nothing to train")


class Phases(L.Callback):
    """Keeps frozen batch norms from moving, and unfreezes the encoder when its time comes.

    In the first phase of `head_first` the encoder is frozen; the second has a schedule of its own, at the
    scaled rate. Everything is done when a batch starts: an interrupted training may be taken up anywhere.
    """

    def __init__(self, train: Train) -> None:
        self.train = train
        self.phase = 0
        self.applied: int | None = None
        self.norms: list[nn.Module] = []

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"phase": self.phase}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Know whether the second phase has begun, so that its schedule is not begun again."""
        self.phase = state_dict["phase"]

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin the phase of this epoch where it has not begun; hold the statistics of frozen norms."""
        del batch, batch_idx
        assert isinstance(pl_module, Task)
        head = self.train.head_first
        wanted = int(head is not None and trainer.current_epoch >= head.epochs)
        if wanted != self.applied:
            self._apply(trainer, pl_module.model, wanted)
        for norm in self.norms:
            norm.eval()

    def _apply(self, trainer: L.Trainer, model: nn.Module, phase: int) -> None:
        if self.train.head_first is not None:
            held = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(id(parameter) in held and (phase == 1 or not in_encoder(name)))
        if phase > self.phase:
            self._second_schedule(trainer, model)
        self.phase = self.applied = phase
        self.norms = [
            module
            for module in model.modules()
            if isinstance(module, _BatchNorm) and module.affine and not module.weight.requires_grad
        ]
        for module in model.modules():  # those that were frozen until now
            if isinstance(module, _BatchNorm):
                module.train()

    def _second_schedule(self, trainer: L.Trainer, model: nn.Module) -> None:
        assert self.train.head_first is not None
        optimizer = trainer.optimizers[0]
        for group, fresh in zip(
            optimizer.param_groups, parameter_groups(model, self.train.optimizer), strict=True
        ):
            group["lr"] = fresh["lr"] * self.train.head_first.lr_scale
            for key in ("initial_lr", "max_lr", "min_lr"):  # what the first schedule noted
                group.pop(key, None)
        steps = phase_steps(self.train, int(trainer.estimated_stepping_batches))[1]
        trainer.lr_scheduler_configs[0].scheduler = make_scheduler(optimizer, self.train, steps)
