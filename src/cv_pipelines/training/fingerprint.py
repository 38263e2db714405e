"""What the results of an experiment are made from, as a whole and the part of it that its training reads."""

from __future__ import annotations

from typing import Any

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.config.sections import flat
from cv_pipelines.data.augment import AUGMENTS
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.digests import digests_of
from cv_pipelines.models import MODELS
from cv_pipelines.provenance import Provenance
from cv_pipelines.provenance.code import code_of
from cv_pipelines.tasks import TASKS
from cv_pipelines.training.checkpoints import Meta

WITHOUT_EFFECT = (
    *("workers", "device", "oom_retries", "checkpoint_every", "on_nan", "max_rollbacks"),
    *("devices", "num_nodes", "strategy", "max_restarts"),
)
"""Keys of `train` that change no result but by rounding, or decide whether there is one."""

NO_RESULT = (
    # What parameters files say is among the parameters, in clear.
    *("config", "errors", "files", "provenance", "data.digests"),
    *("data.memory", "data.parallel", "data.transport"),
    # How a training is started, kept and taken up again.
    *("training.checkpoints", "training.fingerprint", "training.job", "training.launch"),
    *("training.placement", "training.resume", "training.retries", "training.state"),
)
"""Modules whose code changes no result of a sound run."""


def provenance_of(config: ExperimentConfig, data: SourceData | None, init: Meta | None = None) -> Provenance:
    """Gather what an experiment's results are made from: the source of its fingerprint.

    Seeds are left out, for they name several trainings; so are keys and code without an effect on a result.

    Args:
        config: the experiment.
        data: its prepared source, all splits; None leaves the data out.
        init: of the checkpoint that the training starts from.
    """
    trains, evaluates = training_code(config), evaluation_code(config)
    inputs = digests_of(data, masks=config.task == "segmentation") if data else {}
    inputs |= {f"init_from {init.experiment}": init.fingerprint} if init else {}
    return Provenance(
        parameters=parameters_of(config),
        inputs=inputs,
        code=trains[0] | evaluates[0],
        versions=trains[1] | evaluates[1],
    )


def training_part(whole: Provenance, config: ExperimentConfig) -> Provenance:
    """Return the part of a provenance that decides the weights: where it is equal, so are they.

    How the validation split is evaluated belongs to it where a validation figure chooses or stops.

    Args:
        whole: of the experiment's results.
        config: the experiment.
    """
    versions, evaluating = training_code(config)[1], _only_evaluating(config)
    fitted = {"data.train"}
    if chooses(config) or config.train.fit_on == "train_val":
        fitted.add("data.val")
    return Provenance(
        parameters={k: v for k, v in whole.parameters.items() if _trains(k, config)},
        inputs={k: v for k, v in whole.inputs.items() if not k.startswith("data.") or k in fitted},
        # A file that is gone since then is taken for one that trained.
        code={k: v for k, v in whole.code.items() if k not in evaluating},
        versions={k: v for k, v in whole.versions.items() if k in versions},
    )


def evaluation_part(whole: Provenance, config: ExperimentConfig) -> Provenance:
    """Return the part of a provenance that predicting and scoring add to a training."""
    versions = set(evaluation_code(config)[1]) - set(training_code(config)[1])
    evaluating = _only_evaluating(config)
    return Provenance(
        parameters={k: v for k, v in whole.parameters.items() if _evaluates(k)},
        inputs={k: v for k, v in whole.inputs.items() if k == f"data.{config.evaluate.split}"},
        code={k: v for k, v in whole.code.items() if k in evaluating},
        versions={k: v for k, v in whole.versions.items() if k in versions},
    )


def evaluated(trained: Provenance, config: ExperimentConfig, data: SourceData) -> Provenance:
    """Return the provenance of scores: how a model was trained then, and is evaluated now.

    Args:
        trained: of the checkpoint.
        config: the experiment as it is now.
        data: its prepared source as it is now, all splits.
    """
    now = evaluation_part(provenance_of(config, data), config)
    kept = {k: v for k, v in trained.parameters.items() if not _evaluates(k)}
    evaluating = _only_evaluating(config)
    code = {k: v for k, v in trained.code.items() if k not in evaluating}
    return Provenance(
        parameters=kept | now.parameters,
        inputs=trained.inputs | now.inputs,
        code=code | now.code,
        versions=trained.versions | now.versions,
    )


def chooses(config: ExperimentConfig) -> bool:
    """Whether figures of the validation split decide which weights a training gives."""
    train = config.train
    return train.select == "best" or bool(train.early_stopping) or train.schedule.name == "plateau"


def parameters_of(config: ExperimentConfig) -> dict[str, Any]:
    """Return the parameters that have an effect on a result, flat."""
    values = config.model_dump(mode="json")
    for key in (*WITHOUT_EFFECT, "seeds"):
        values["train"].pop(key)
    for key in ("tour", "group", "cache"):
        values.pop(key)
    if config.cache and config.cache.side:
        values["cache"] = {"side": config.cache.side}  # being kept changes no image, their size does
    values["evaluate"].pop("batch_size")
    return flat(values)


def training_code(config: ExperimentConfig) -> tuple[dict[str, str], dict[str, str]]:
    """Digest the modules that decide the weights; see `code_of`."""
    left_out = _left_out(config) | ({"cv_pipelines.metrics"} if not chooses(config) else set())
    return code_of(["cv_pipelines.training.fit", *_chosen(config)], left_out)


def evaluation_code(config: ExperimentConfig, *more: str) -> tuple[dict[str, str], dict[str, str]]:
    """Digest the modules that predict and score, and more modules where these do so too; see `code_of`."""
    stages = ["cv_pipelines.training.predict", "cv_pipelines.training.score"]
    return code_of([*stages, *more, *_chosen(config)], _left_out(config))


def _only_evaluating(config: ExperimentConfig) -> set[str]:
    return set(evaluation_code(config)[0]) - set(training_code(config)[0])


def _trains(key: str, config: ExperimentConfig) -> bool:
    if key in {"evaluate.split", "embedder"}:
        return False
    return chooses(config) or not key.startswith("evaluate.")


def _evaluates(key: str) -> bool:
    return key.startswith("evaluate.") or key == "embedder"


def _chosen(config: ExperimentConfig) -> list[str]:
    """Return the modules that the experiment chooses by name."""
    return [
        *(registry[name].split(":")[0] for registry, name in _names(config) if name in registry),
        *(AUGMENTS[step.name][0].__module__ for step in config.augment if step.name in AUGMENTS),
    ]


def _names(config: ExperimentConfig) -> list[tuple[dict[str, str], str]]:
    return [(MODELS, config.model.name), (TASKS, config.task)]


def _left_out(config: ExperimentConfig) -> set[str]:
    """Return the modules whose code does not count: without effect, or chosen by other experiments alone."""
    no_result = {f"cv_pipelines.{name}" for name in NO_RESULT}
    if config.cache is None:
        no_result.add("cv_pipelines.data.packing")
    own = code_of([*_chosen(config), "cv_pipelines.data.datasets"], no_result)[0]
    registered = {place.split(":")[0] for registry in (MODELS, TASKS) for place in registry.values()}
    registered |= {builder.__module__ for builder, _ in AUGMENTS.values()}
    return no_result | {name for name in registered if _path(name) not in own}


def _path(module: str) -> str:
    return module.removeprefix("cv_pipelines.").replace(".", "/") + ".py"
