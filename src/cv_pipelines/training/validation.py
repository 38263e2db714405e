"""Checks of sources and experiments against the registries: all that can be known before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cv_pipelines.config import Evaluate, ExperimentConfig, SourceConfig, check_options, options_model, parse
from cv_pipelines.config.ensemble import EnsembleConfig
from cv_pipelines.data.augment import AUGMENTS, PICTURES
from cv_pipelines.errors import ConfigError
from cv_pipelines.metrics.coco_backends import BACKENDS, installed
from cv_pipelines.models import MODELS, builder
from cv_pipelines.models.initialisation import INITIALISERS
from cv_pipelines.sources import READERS, reader
from cv_pipelines.tasks import TASKS, task_class
from cv_pipelines.training.placement import check_layout, layout_of


def check_source(where: str, values: dict[str, Any]) -> SourceConfig:
    """Check a source's parameters, its reader and the reader's options.

    Args:
        where: file and name, for messages.
        values: the section of the parameters file.

    Raises:
        ConfigError: names file, key, value and what is allowed.
    """
    config = parse(where, SourceConfig, values)
    check_name(where, "reader", config.reader, READERS)
    module = reader(config.reader)
    check_options(where, module.read, config.options)
    if config.sample is not None and not (hasattr(module, "write_sample") and config.root):
        raise ConfigError(
            f"{where}: sample: needs `root`, and a reader that can draw; {config.reader} cannot"
        )
    if config.sample is not None:
        drawn = config.sample.model_dump(include={"figures", "objects"}, exclude_none=True)
        check_options(f"{where}: sample", module.write_sample, drawn)
    return config


def check_experiment(where: str, values: dict[str, Any], sources: Iterable[str]) -> ExperimentConfig:
    """Check an experiment's parameters, the names in it and the options of what they name.

    Args:
        where: file and name, for messages.
        values: the section of the parameters file.
        sources: names of the sources there are.

    Raises:
        ConfigError: names file, key, value and what is allowed.
    """
    config = parse(where, ExperimentConfig, values)
    check_name(where, "task", config.task, TASKS)
    check_name(where, "source", config.source, sources)
    check_name(where, "model.name", config.model.name, MODELS)
    check_options(f"{where}: model", builder(config.model.name), config.model.options)
    check_start(where, config)
    check_options(f"{where}: loss", task_class(config.task).__init__, config.loss)
    for step in config.augment:
        check_name(where, "augment.name", step.name, AUGMENTS)
        builder_of_step, tasks = AUGMENTS[step.name]
        check_options(f"{where}: augment", builder_of_step, step.options)
        if config.task not in tasks:
            fitting = ", ".join(name for name, (_, tasks) in AUGMENTS.items() if config.task in tasks)
            raise ConfigError(
                f"{where}: augment.name: {step.name!r} does not fit task {config.task}; allowed are {fitting}"
            )
    check_evaluate(where, config.task, config.evaluate)
    if config.inputs.size and config.task == "detection":
        raise ConfigError(f"{where}: inputs.size: detectors resize by themselves; see the model's options")
    if config.cache and config.cache.side and config.task not in PICTURES:
        raise ConfigError(
            f"{where}: cache.side: {config.cache.side} would belie the boxes or masks of task "
            f"{config.task}; leave it out, it is for {', '.join(PICTURES)}"
        )
    if config.task == "gan" and config.embedder is None:
        raise ConfigError(f"{where}: embedder: a GAN needs the name of a classification experiment")
    check_train(where, config)
    return config


def check_evaluate(where: str, task: str, evaluate: Evaluate) -> None:
    """Check the keys of `evaluate` that do not fit every task.

    Raises:
        ConfigError: names file, key and value.
    """
    fitting = {
        "protocol": ("detection",),
        "flip": ("classification", "detection", "segmentation"),
        "scales": ("classification", "segmentation"),
        "fuse_iou": ("detection",),
        "suppression": ("detection",),
        "validation_backend": ("detection",),
        "score_threshold": ("detection",),
        "keypoint_sigma": ("detection",),
    }
    for key, tasks in fitting.items():
        value = getattr(evaluate, key)
        if value != type(evaluate).model_fields[key].default and task not in tasks:
            raise ConfigError(f"{where}: evaluate.{key}: {value!r} is for {' and '.join(tasks)} only")
    there = [backend for backend in BACKENDS if installed(backend)]
    if evaluate.validation_backend not in there:
        raise ConfigError(
            f"{where}: evaluate.validation_backend: {evaluate.validation_backend!r} is not installed (it "
            f"comes with the extra `eval`: pip install 'cv_pipelines[eval]'); there are {', '.join(there)}"
        )


def check_ensemble(
    where: str, values: dict[str, Any], members: dict[str, ExperimentConfig]
) -> EnsembleConfig:
    """Check an ensemble's parameters against its members, which were checked each by itself.

    Args:
        where: file and name, for messages.
        values: the section of the parameters file.
        members: their parameters, by name.

    Raises:
        ConfigError: names file, key, value and what is allowed.
    """
    config = parse(where, EnsembleConfig, values)
    if config.members != list(members):
        raise ConfigError(
            f"{where}: members: {config.members!r}; an environment may not change {list(members)}"
        )
    task = next(iter(members.values())).task
    why_not = task_class(task).no_ensemble
    if why_not:
        raise ConfigError(f"{where}: members: no ensemble of task {task}: {why_not}")
    check_evaluate(where, task, config.evaluate)
    splits = {name: member.evaluate.split for name, member in members.items()}
    if len(set(splits.values())) > 1:
        raise ConfigError(f"{where}: members: scored on different splits, {splits}; all need the same")
    for name, member in members.items():
        if member.evaluate.protocol != config.evaluate.protocol:
            raise ConfigError(
                f"{where}: evaluate.protocol: {config.evaluate.protocol!r}, but member {name!r} is scored by "
                f"{member.evaluate.protocol!r}; all need the same"
            )
        split = config.evaluate.split
        if split == "train" or (split == "val" and member.train.fit_on == "train_val"):
            raise ConfigError(
                f"{where}: evaluate.split: {split!r} was trained on by member {name!r}; allowed is 'test'"
            )
    return config


def check_start(where: str, config: ExperimentConfig) -> None:
    """Check where the first weights come from.

    Raises:
        ConfigError: names file, key, value and what is allowed.
    """
    start = config.init_weights
    if start is None:
        return
    check_name(where, "init_weights.name", start.name, INITIALISERS)
    check_options(f"{where}: init_weights", INITIALISERS[start.name], start.options)
    if "weights" in options_model(builder(config.model.name)).model_fields:
        raise ConfigError(
            f"{where}: init_weights.name: {start.name!r} is for models without layers of others; "
            f"{config.model.name} starts as its option `weights` says"
        )


def check_train(where: str, config: ExperimentConfig) -> None:
    """Check the keys of `train` that do not fit every task.

    Raises:
        ConfigError: names file, key and value.
    """
    train = config.train
    try:
        check_layout(config, layout_of(train))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    if config.task != "gan":
        return
    by_turns = {
        "accumulate": train.accumulate > 1,
        "compile": train.compile,
        "freeze": train.freeze,
        "gradient_checkpointing": train.gradient_checkpointing,
        "gradient_clip": train.gradient_clip,
        "head_first": train.head_first,
        "optimizer.layer_decay": train.optimizer.layer_decay,
    }
    for key in [key for key, given in by_turns.items() if given]:
        raise ConfigError(f"{where}: train.{key}: not for GANs, whose players step by turns")
    if train.schedule.name == "plateau":
        raise ConfigError(f"{where}: train.schedule.name: 'plateau' needs a validation score; a GAN has none")


def check_name(where: str, key: str, value: str, known: Iterable[str]) -> None:
    """Check that a name is a registered one.

    Raises:
        ConfigError: it is not; the message lists those there are.
    """
    if value not in known:
        raise ConfigError(f"{where}: {key}: unknown name {value!r}; allowed are {', '.join(sorted(known))}")
