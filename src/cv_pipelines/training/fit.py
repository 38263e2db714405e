"""Fitting one experiment: a training a seed, each taken up where it was interrupted."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.utilities.memory import garbage_collection_cuda
from torch.utils.data import DataLoader

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.data.augment import Chain
from cv_pipelines.data.datasets import EpochSampler, SampleDataset, SourceData
from cv_pipelines.data.memory import keep_freed_memory
from cv_pipelines.data.packing import packed
from cv_pipelines.data.preprocessing import Preprocessing
from cv_pipelines.data.ranks import RankBatches, first, rank, validation_batches, wait, world
from cv_pipelines.data.spare import Spare
from cv_pipelines.data.transport import with_workers
from cv_pipelines.errors import ConfigError
from cv_pipelines.files import write_text
from cv_pipelines.models import builder
from cv_pipelines.models.initialisation import initialise
from cv_pipelines.models.synchronised import synchronise
from cv_pipelines.provenance import Provenance, differences
from cv_pipelines.tasks import task_class
from cv_pipelines.tasks.base import Context, Task
from cv_pipelines.training.assembly import ACCELERATORS, Mode, asked_for, prepare_model
from cv_pipelines.training.callbacks import EpochLog, FiniteGuard, History, StepSeed, ValidateLast, Watch
from cv_pipelines.training.checkpoints import Checkpoint, Meta, State, Which, start_encoder, versions
from cv_pipelines.training.completion import completed
from cv_pipelines.training.fingerprint import training_part
from cv_pipelines.training.job import Job, fingerprint
from cv_pipelines.training.placement import environment, gpus, shard_on_setup, trainer_options
from cv_pipelines.training.resume import STATE, KeepState, Position, position_of
from cv_pipelines.training.retries import with_retries
from cv_pipelines.training.rollback import NotFiniteError, pass_over, passed_over, roll_back
from cv_pipelines.training.state import StateWriter
from cv_pipelines.training.surroundings import fitting

logger = logging.getLogger(__name__)

__all__ = ["Job", "fingerprint", "fit", "fit_seed", "fit_seeds", "with_cache"]


def fit(job: Job, keep: bool = False) -> tuple[dict[int, Checkpoint], pd.DataFrame]:
    """Train every seed of an experiment.

    Args:
        job: what to fit.
        keep: leave the states of the trainings where they are, for who has yet to save what they gave.

    Returns:
        A checkpoint a seed, and the history: `seed`, `epoch`, `name`, `value`, a row a figure.
    """
    keep_freed_memory()
    result = with_retries(
        job.config,
        lambda config: fit_seeds(replace(job, config=config)),
        job.folder / "halved",
        job.stamp,
    )
    if not keep:
        shutil.rmtree(job.folder, ignore_errors=True)
    return result


def fit_seeds(job: Job) -> tuple[dict[int, Checkpoint], pd.DataFrame]:
    """Train one seed after the other; see `fit`."""
    checkpoints: dict[int, Checkpoint] = {}
    histories = []
    for seed in job.config.train.seeds:
        checkpoints[seed], rows = fit_seed(job, seed)
        histories.append(pd.DataFrame(rows, columns=["seed", "epoch", "name", "value"]))
    return checkpoints, pd.concat(histories, ignore_index=True)


def with_cache(config: ExperimentConfig, data: SourceData, folder: Path) -> SourceData:
    """Let an experiment that asks for it read what it fits from the packed cache in a folder.

    Where all pixels are kept, so is what it validates on; scaled images differ a little from the files, and
    validation and prediction are to read the same.
    """
    if config.cache is None:
        return data
    both = config.train.fit_on == "train_val" or config.cache.side is None
    splits, masks = ("train", "val") if both else ("train",), config.task == "segmentation"
    return packed(data, splits, config.cache, folder, masks=masks)


def fit_seed(job: Job, seed: int) -> tuple[Checkpoint, list[dict[str, Any]]]:
    """Train one seed; take up an interrupted training of the same fingerprint.

    Raises:
        NotFiniteError: the loss became no number, and `train` does not let it go back, or not so often.
    """
    while True:
        try:
            return _attempt(job, seed)
        except NotFiniteError as error:
            roll_back(_folder(job, seed), job.config.train, error)
        # Outside the handler: the error's traceback keeps the tensors of the attempt.
        garbage_collection_cuda()


def _folder(job: Job, seed: int) -> Path:
    return job.folder / f"seed_{seed}"


def _spare(job: Job, seed: int) -> Spare:
    return Spare(_folder(job, seed) / "unreadable.tsv", job.config.train.bad_samples)


def _attempt(job: Job, seed: int) -> tuple[Checkpoint, list[dict[str, Any]]]:
    folder = _folder(job, seed)
    start = first(lambda: prepare_folder(folder, job))
    started = time.perf_counter() - start.seconds
    L.seed_everything(seed, verbose=False)
    task, spoilt = make_task(job), passed_over(folder)
    pass_over(task, spoilt)
    history = History(seed, folder / "live.jsonl" if rank() == 0 else None)
    trainer = make_trainer(job, task, folder, history, start)
    train, val = loaders(job, task, seed, start)
    resume = folder / STATE if start != Position() else None
    with fitting(job.config.train):
        trainer.fit(task, train, val, ckpt_path=resume, weights_only=False)
    wait()  # until what the first rank wrote is there
    states, epoch, score = collect(folder, job.config, trainer)
    meta = Meta(
        experiment=job.experiment,
        seed=seed,
        model=job.config.model.name,
        options=job.config.model.options,
        in_channels=job.data.channels,
        shape=job.data.shape,
        n_outputs=task.n_outputs(job.data),
        categories=job.data.categories,
        preprocessing=task.context.preprocessing,
        config=job.config.model_dump(),
        selected=job.config.train.select,
        epoch=epoch,
        score=score,
        fingerprint=fingerprint(job),
        provenance=job.provenance,
        seconds=time.perf_counter() - started,
        device=device_name(trainer),
        versions=versions(),
        passed_over=spoilt,
    )
    size, spare = task.context.preprocessing.size, _spare(job, seed)
    plain = SampleDataset(training_data(job, seed), task.target, size, spare=spare)
    return completed(Checkpoint(meta, states), task, plain), history.rows


def prepare_folder(folder: Path, job: Job) -> Position:
    """Return where an interrupted training stands; clear the folder of one that does not fit.

    One that fits is left as it is also where no state was kept yet: batches may have to be passed over.
    """
    note = folder / "fingerprint"
    fits = note.exists() and note.read_text(encoding="utf8") == job.stamp
    position = position_of(folder / STATE) if fits else None
    if position is not None:
        logger.info(
            "taking up the interrupted training in %s: epoch %d, step %d",
            *(folder, position.epoch, position.batches),
        )
        return position
    if not fits:
        if note.exists():
            logger.warning("%s: starts again: %s", folder, "; ".join(changes_since(folder, job)))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_text(folder / "provenance.json", job.provenance.model_dump_json(indent=1))
        note.write_text(job.stamp, encoding="utf8")
    return Position()


def changes_since(folder: Path, job: Job) -> list[str]:
    """Say in words why a training that was interrupted in a folder is not that of a job."""
    try:
        then = Provenance.model_validate_json((folder / "provenance.json").read_text(encoding="utf8"))
    except (OSError, ValueError):
        return ["it was interrupted by another version of this project"]
    parts = (training_part(one, job.config) for one in (then, job.provenance))
    return differences(*parts) or ["how its validation chooses has changed"]


def make_task(job: Job) -> Task:
    """Build model and task as the parameters file says."""
    config, data = job.config, job.data
    kind = task_class(config.task)
    model = builder(config.model.name)(data.channels, kind.n_outputs(data), **config.model.options)
    if config.init_weights is not None:
        initialise(model, config.init_weights.name, config.init_weights.options)
    if job.init is not None:
        start_encoder(model, job.init)
    if world() > 1:
        model = synchronise(model, gpus(config.train) > 0)
    prepare_model(model, config.train)
    context = Context(config, data, Preprocessing.of(config.inputs, data))
    task = kind(model, context, **config.loss)
    if world() > 1 and config.train.strategy == "fsdp":
        shard_on_setup(task)
    return task


def make_trainer(job: Job, task: Task, folder: Path, history: History, start: Position) -> L.Trainer:
    """Build Lightning's trainer with our callbacks."""
    train, writer = job.config.train, StateWriter()
    validates = has_validation(job, task)
    monitor = task.monitor if validates else None
    callbacks: list[L.Callback] = [
        history,
        StepSeed(history.seed),
        FiniteGuard(folder, weights=train.on_nan == "rollback"),
        ValidateLast(),
        EpochLog(f"{job.experiment} seed {history.seed}", task.monitor, history),
    ]
    if job.watch is not None:
        callbacks.append(Watch(history.seed, job.watch))
    mode: Mode = "max" if task.higher_is_better else "min"
    callbacks += asked_for(train, monitor, mode)
    if validates and train.early_stopping:
        callbacks.append(EarlyStopping(task.monitor, patience=train.early_stopping, mode=mode))
    if validates:
        bare = not (train.ema or train.swa)  # averages take the weights' place in whole states only
        callbacks.append(
            ModelCheckpoint(
                *(folder, "best"),
                monitor=monitor,
                mode=mode,
                save_weights_only=bare,
                enable_version_counter=False,
            )
        )
    # Last, so that it finds what all others keep up to date.
    callbacks.append(KeepState(folder, train.checkpoint_every, writer, start))
    on_terminal = sys.stderr.isatty() and rank() == 0
    callbacks += [RichProgressBar(leave=False)] if on_terminal else []
    return L.Trainer(
        accelerator=ACCELERATORS[train.device],
        **trainer_options(job.config),
        precision=train.precision,
        deterministic=train.deterministic or None,
        max_epochs=train.epochs,
        check_val_every_n_epoch=train.validate_every,
        gradient_clip_val=train.gradient_clip,
        accumulate_grad_batches=train.accumulate,
        callbacks=callbacks,
        plugins=[writer, *environment()],
        logger=False,
        enable_progress_bar=on_terminal,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def has_validation(job: Job, task: Task) -> bool:
    """Whether there is a split and a figure to choose by."""
    return (
        job.config.train.fit_on == "train"
        and bool((job.data.samples["split"] == "val").any())
        and task.validates
    )


def loaders(
    job: Job,
    task: Task,
    seed: int,
    start: Position = Position(),  # noqa: B008 - it is frozen
) -> tuple[DataLoader[Any], DataLoader[Any] | None]:
    """Build the loaders of the fitted and of the validation split; the first starts at `start`.

    Workers fetch ahead before Lightning names the epoch of a resumed training.
    """
    config = job.config
    fitted = training_data(job, seed)
    augment = Chain(config.augment) if config.augment else None
    size = config.inputs.size
    target = "masks" if augment is not None and augment.needs_masks else task.target
    if target == "masks" and task.target == "points":
        raise ConfigError(f"{job.experiment}: augment: copy_paste moves masks, and no keypoints with them")
    dataset = SampleDataset(fitted, target, size, augment, seed, _spare(job, seed))
    common = with_workers(config.train.workers, task.collate)
    batch = min(config.train.batch_size, len(dataset))
    sampler = EpochSampler(len(dataset), seed, start.epoch, start.batches * batch)
    drop_last = len(dataset) >= 2 * batch
    if world() == 1:
        train = DataLoader(dataset, batch, sampler=sampler, drop_last=drop_last, **common)
    else:
        shares = RankBatches(sampler, batch, drop_last, rank(), world())
        train = DataLoader(dataset, batch_sampler=shares, **common)
    if not has_validation(job, task):
        return train, None
    val, batch = SampleDataset(job.data.only("val"), task.target, size), config.evaluate.batch_size or batch
    if world() == 1:
        return train, DataLoader(val, batch, **common)
    own = validation_batches(len(val), batch, rank(), world())
    return train, DataLoader(val, batch_sampler=own, **common)


def training_data(job: Job, seed: int) -> SourceData:
    """Return the samples that are fitted; with `labels_per_class`, a drawing by `seed` of each class.

    Raises:
        ConfigError: there is nothing to fit.
    """
    splits = ("train", "val") if job.config.train.fit_on == "train_val" else ("train",)
    data = job.data.only(*splits)
    if job.config.task == "segmentation":
        data = data.where(data.samples["target"].notna().to_numpy())
    if data.samples.empty:
        raise ConfigError(f"{job.experiment}: source {job.config.source} has no samples to train on")
    count = job.config.inputs.labels_per_class
    if count is None:
        return data
    first = np.array([labels[0] for labels in data.samples["labels"]])
    order = np.random.default_rng(seed).permutation(len(first))
    keep = np.zeros(len(first), dtype=bool)
    for label in np.unique(first):
        keep[[i for i in order if first[i] == label][:count]] = True
    return data.where(keep)


def collect(
    folder: Path, config: ExperimentConfig, trainer: L.Trainer
) -> tuple[dict[Which, State], int, float | None]:
    """Read the best and last weights back, with the selected one's epoch and validation figure.

    Where nothing is validated, the last are the best.
    """
    states: dict[Which, State] = {}
    epochs: dict[Which, int] = {}
    keeper = next((c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)), None)
    kinds: tuple[Which, ...] = ("best", "last")
    for which in kinds:
        file = folder / f"{which if keeper else 'last'}.ckpt"
        saved = torch.load(file, map_location="cpu", weights_only=False)
        weights = saved["state_dict"]
        states[which] = {k.removeprefix("model."): v for k, v in weights.items() if k.startswith("model.")}
        epochs[which] = int(saved["epoch"])
    score = keeper.best_model_score if keeper and config.train.select == "best" else None
    return states, epochs[config.train.select], None if score is None else float(score)


def device_name(trainer: L.Trainer) -> str:
    """Return what was trained on, such as `cpu` or a GPU's product name, and how many there were."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return name if trainer.world_size == 1 else f"{trainer.world_size} × {name}"
