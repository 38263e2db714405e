"""Trials before a training: a learning rate, a batch size, where the time goes, whether a batch is learnt."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.tuner.tuning import Tuner
from lightning.pytorch.utilities.memory import garbage_collection_cuda
from torch.utils.data import DataLoader

from cv_pipelines.errors import ConfigError
from cv_pipelines.tasks.base import Task
from cv_pipelines.training.assembly import ACCELERATORS
from cv_pipelines.training.callbacks import StepSeed
from cv_pipelines.training.fit import Job, loaders, make_task, training_data
from cv_pipelines.training.retries import out_of_memory
from cv_pipelines.training.surroundings import float32_products, quiet


@dataclass(frozen=True)
class Rates:
    """What the search for a learning rate saw.

    Attributes:
        rates: tried, rising.
        losses: smoothed, one a rate.
        suggestion: the rate where the loss falls most steeply; None if it never falls.
    """

    rates: list[float]
    losses: list[float]
    suggestion: float | None


def find_rate(job: Job, low: float = 1e-6, high: float = 1.0, steps: int = 100) -> Rates:
    """Raise the learning rate from step to step and watch the loss (Smith 2017 §3.3).

    All parameters have the same rate here; `encoder_lr_scale` and `layer_decay` come on top of what is found.

    Args:
        job: the experiment.
        low: first rate.
        high: last rate; the search ends before where the loss explodes.
        steps: from the one to the other, evenly on a logarithmic scale.

    Raises:
        ConfigError: the task steps by turns (GANs), so that no single loss says how good a rate is.
    """
    task = _task(job, "learning rate")
    train, _ = loaders(job, task, _seed(job))
    trainer = _trainer(job, max_epochs=math.ceil(steps * job.config.train.accumulate / len(train)))
    with quiet(), float32_products(job.config.train.matmul_precision):
        found = Tuner(trainer).lr_find(
            task, train, min_lr=low, max_lr=high, num_training=steps, update_attr=False
        )
    assert found is not None
    return Rates(found.results["lr"], found.results["loss"], found.suggestion(skip_begin=5))


def find_batch_size(job: Job, first: int = 2, trials: int = 20) -> int | None:
    """Double the batch until memory or data run out; return the largest that three steps went through with.

    Lightning's own search validates too, and a task's validation takes whole splits.

    Args:
        job: the experiment.
        first: size that is tried first.
        trials: sizes at most.

    Returns:
        The size; None if not even the first one fits.

    Raises:
        ConfigError: the experiment asks for several devices, and the search has one.
    """
    train, found = job.config.train, None
    if (train.devices, train.num_nodes) != (1, 1):
        raise ConfigError(
            f"{job.experiment}: train.devices: {train.devices} × {train.num_nodes} nodes: the search fills "
            "one device; set both to 1 for it, and multiply what it finds by the devices"
        )
    for size in (first * 2**trial for trial in range(trials)):
        tried = _with(job, batch_size=size, accumulate=1)
        samples = len(training_data(tried, _seed(job)).samples)
        if size > samples or not _fits(tried):
            break
        found = size
    return found


def one_step(job: Job) -> torch.device:
    """Do one step, forward and backward, at the experiment's batch size; return the device it was done on."""
    task = _task(job, None)
    train, _ = loaders(job, task, _seed(job))
    trainer = _trainer(job, max_epochs=1, limit_train_batches=1)
    with quiet(), float32_products(job.config.train.matmul_precision):
        trainer.fit(task, train)
    return trainer.strategy.root_device


def _fits(job: Job) -> bool:
    try:
        task = _task(job, None)
        train, _ = loaders(job, task, _seed(job))
        with quiet(), float32_products(job.config.train.matmul_precision):
            _trainer(job, max_epochs=3, limit_train_batches=1).fit(task, train)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        fits = False
    else:
        fits = True
    task = train = None  # type: ignore[assignment]
    garbage_collection_cuda()
    return fits


def overfit(job: Job, steps: int = 200) -> list[float]:
    """Train on one batch alone, without augmentation, at a constant rate; return the loss of every step.

    A model that cannot learn one batch by heart is wired wrongly, or its learning rate is far off.

    Args:
        job: the experiment.
        steps: how many.
    """
    job = _with(job, accumulate=1)
    config = job.config.model_copy(update={"augment": []})
    constant = config.train.schedule.model_validate({"name": "constant"})
    config = config.model_copy(update={"train": config.train.model_copy(update={"schedule": constant})})
    job = replace(job, config=config)
    task = _task(job, None)
    batch = next(iter(loaders(job, task, _seed(job))[0]))
    losses = _Losses()
    trainer = _trainer(job, max_epochs=steps, callbacks=[losses])
    with quiet(), float32_products(config.train.matmul_precision):
        again: Any = [batch]
        trainer.fit(task, DataLoader(again, batch_size=None, collate_fn=lambda kept: kept))
    return losses.values


class _Losses(L.Callback):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss."""
        del trainer, pl_module, batch, batch_idx
        self.values.append(float(outputs["loss"]))


def profile(job: Job, trace: Path, steps: int = 20) -> tuple[float, str]:
    """Run some steps under PyTorch's profiler, after three that are not counted.

    Args:
        job: the experiment.
        trace: JSON file for a trace viewer (ui.perfetto.dev, chrome://tracing).
        steps: that are counted.

    Returns:
        Samples a second, and a table of what takes the time.
    """
    task = _task(job, None)
    train, _ = loaders(job, task, _seed(job))
    clock = _Clock(trace)
    trainer = _trainer(job, max_epochs=-1, max_steps=steps + 3, callbacks=[clock])
    with quiet(), float32_products(job.config.train.matmul_precision):
        trainer.fit(task, train)
    sort = "self_device_time_total" if trainer.strategy.root_device.type == "cuda" else "self_cpu_time_total"
    table = clock.profiler.key_averages().table(sort_by=sort, row_limit=12, max_name_column_width=48)
    batch = train.batch_size or 1
    return clock.steps * batch / clock.seconds, str(table)


class _Clock(L.Callback):
    """Profiles from the fourth step on: the first ones set up memory and kernels."""

    def __init__(self, trace: Path) -> None:
        self.trace, self.steps, self.seconds = trace, 0, 1.0
        kinds = [torch.profiler.ProfilerActivity.CPU]
        kinds += [torch.profiler.ProfilerActivity.CUDA] if torch.cuda.is_available() else []
        self.profiler = torch.profiler.profile(activities=kinds)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Begin after the third step; count the others."""
        del pl_module, outputs, batch, batch_idx
        self.steps += 1
        if trainer.global_step == 3:
            self._wait()
            self.profiler.start()
            self.started, self.steps = time.perf_counter(), 0

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop, and write the trace."""
        del trainer, pl_module
        self._wait()
        self.seconds = time.perf_counter() - self.started
        self.profiler.stop()
        self.trace.parent.mkdir(parents=True, exist_ok=True)
        self.profiler.export_chrome_trace(str(self.trace))

    def _wait(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()


def _with(job: Job, **train: Any) -> Job:
    changed = job.config.train.model_copy(update=train)
    return replace(job, config=job.config.model_copy(update={"train": changed}))


def _seed(job: Job) -> int:
    return job.config.train.seeds[0]


def _task(job: Job, purpose: str | None) -> Task:
    if purpose and job.config.task == "gan":
        raise ConfigError(f"{job.experiment}: a GAN's players step by turns: no search for a {purpose}")
    L.seed_everything(_seed(job), verbose=False)
    return make_task(job)


def _trainer(job: Job, callbacks: list[L.Callback] | None = None, **options: Any) -> L.Trainer:
    """Build a trainer that leaves nothing behind."""
    train = job.config.train
    return L.Trainer(
        accelerator=ACCELERATORS[train.device],
        devices=1,
        precision=train.precision,
        gradient_clip_val=train.gradient_clip,
        accumulate_grad_batches=train.accumulate,
        limit_val_batches=0,
        callbacks=[StepSeed(_seed(job)), *(callbacks or [])],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **options,
    )
