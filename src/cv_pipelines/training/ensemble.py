"""Several trained experiments as one predictor: predicted batch by batch together, scored like each alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pandas as pd
import torch
from torch.utils.data import DataLoader

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.config.ensemble import EnsembleConfig
from cv_pipelines.config.sections import flat
from cv_pipelines.data.datasets import SampleDataset, SourceData
from cv_pipelines.data.digests import digests_of
from cv_pipelines.data.schema import Categories
from cv_pipelines.data.transport import with_workers
from cv_pipelines.errors import ContractError
from cv_pipelines.provenance import Provenance
from cv_pipelines.tasks import task_class
from cv_pipelines.tasks.base import Scores, Task
from cv_pipelines.training.checkpoints import Checkpoint, Meta
from cv_pipelines.training.fingerprint import evaluation_code
from cv_pipelines.training.predict import autocast, load_task, move, scored_part
from cv_pipelines.training.score import averages, clean, contract, deviation, passed_over

VIEWS = ("flip", "scales", "fuse_iou")
"""What an ensemble's `evaluate` sets anew for all members, so theirs may differ."""


@dataclass(frozen=True)
class Member:
    """A trained experiment of an ensemble.

    Attributes:
        name: of the experiment.
        config: its parameters.
        checkpoints: its models, a seed each.
        contract: under which it was scored by itself.
    """

    name: str
    config: ExperimentConfig
    checkpoints: dict[int, Checkpoint]
    contract: dict[str, Any]

    def evaluated_as(self, ensemble: EnsembleConfig) -> ExperimentConfig:
        """Return its parameters with the ensemble's `evaluate`; the batch is its own if that gives none."""
        size = ensemble.evaluate.batch_size or self.config.evaluate.batch_size
        evaluate = ensemble.evaluate.model_copy(update={"batch_size": size or self.config.train.batch_size})
        return self.config.model_copy(update={"evaluate": evaluate})


def predict(
    config: EnsembleConfig, members: list[Member], data: SourceData
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predict the scored split with every model, and fuse sample by sample.

    Only one batch of outputs of each model is held at a time.

    Args:
        config: the ensemble.
        members: in its order.
        data: their prepared source, all splits.

    Returns:
        The ensemble's predictions in the columns of the task's rows, and those of each model alone, with
        `member` and `seed`.

    Raises:
        ContractError: members were trained or scored under contracts that differ.
    """
    check_contracts(members)
    check_data(config, members, data)
    part = scored_part(members[0].evaluated_as(config), data)
    models = [
        (member.name, seed, config.weight_of(member.name), _loaded(config, member, checkpoint, data, part))
        for member in members
        for seed, checkpoint in member.checkpoints.items()
    ]
    tasks, weights = [task for *_, task in models], [weight for _, _, weight, _ in models]
    fused: list[dict[str, Any]] = []
    own: list[list[dict[str, Any]]] = [[] for _ in models]
    with torch.inference_mode():
        for sample_id, outputs in _outputs(tasks, part):
            noted = _noted(tasks[0], sample_id, outputs, own)
            fused += tasks[0].rows_of(sample_id, tasks[0].fuse(noted, weights, config.evaluate))
    tables = [
        pd.DataFrame(rows).assign(member=name, seed=seed)
        for (name, seed, *_), rows in zip(models, own, strict=True)
    ]
    return pd.DataFrame(fused), pd.concat(tables, ignore_index=True)


def _loaded(
    config: EnsembleConfig, member: Member, checkpoint: Checkpoint, data: SourceData, part: SourceData
) -> Task:
    task = load_task(member.evaluated_as(config), data, checkpoint)
    task.evaluate_on(part)
    return task


def _noted(
    task: Task, sample_id: str, outputs: Iterator[Any], tables: list[list[dict[str, Any]]]
) -> Iterator[Any]:
    """Pass outputs on one at a time, and add the rows of each to its model's table."""
    for table, output in zip(tables, outputs, strict=True):
        table.extend(task.rows_of(sample_id, output))
        yield output


def _outputs(tasks: list[Task], part: SourceData) -> Iterator[tuple[str, Iterator[Any]]]:
    """Yield each sample's id and what every model says of it; images of one size are read once a batch."""
    configs = [task.context.config for task in tasks]
    batch_size = min(config.evaluate.batch_size or 1 for config in configs)
    workers = max(config.train.workers for config in configs)
    sizes = [tuple(task.context.preprocessing.size or ()) for task in tasks]
    loaders = {
        size: DataLoader(
            SampleDataset(part, "none", list(size) or None),
            batch_size,
            **with_workers(workers, tasks[0].collate_inputs),
        )
        for size in dict.fromkeys(sizes)
    }
    for batches in zip(*loaders.values(), strict=True):
        by_size = dict(zip(loaders, batches, strict=True))
        given = [_run(task, by_size[size]) for task, size in zip(tasks, sizes, strict=True)]
        for sample_id in tasks[0].sample_ids(batches[0], part):
            yield sample_id, (next(outputs) for outputs in given)


def _run(task: Task, batch: Any) -> Iterator[Any]:
    with autocast(task):
        return iter(task.outputs(move(batch, task.device)))


def check_contracts(members: list[Member]) -> None:
    """Check that the members were scored alike, in all but the views that the ensemble sets for them.

    Raises:
        ContractError: names the field, both members and both values.
    """
    first, *rest = members
    for member in rest:
        for field in sorted((first.contract.keys() | member.contract.keys()) - set(VIEWS)):
            ours, theirs = first.contract.get(field), member.contract.get(field)
            if ours != theirs:
                raise ContractError(
                    f"members {first.name} and {member.name} were scored under contracts that differ in "
                    f"{field!r}: {ours!r} and {theirs!r}; run both again, or leave one out"
                )


def check_data(config: EnsembleConfig, members: list[Member], data: SourceData) -> None:
    """Check that every model fits the source as it is now: its classes, and how many samples are scored.

    Raises:
        ContractError: names the member, the field and both values.
    """
    now = class_lists(data.categories)
    scored = len(scored_part(members[0].evaluated_as(config), data).samples)
    for member in members:
        for seed, checkpoint in member.checkpoints.items():
            _check_alike(
                f"{member.name}, seed {seed}", "trained", class_lists(checkpoint.meta.categories), now
            )
        if member.contract["split"] == config.evaluate.split:
            _check_alike(member.name, "scored", {"n": member.contract["n"]}, {"n": scored})


def class_lists(categories: Categories) -> dict[str, Any]:
    """Return what two sources need alike for a model of one to fit the other: names of classes, in order."""
    names = {f"{kind} classes": categories.names(kind) for kind in ("labels", "objects", "mask")}
    return {**names, "multi_label": categories.multi_label}


def _check_alike(who: str, when: str, then: dict[str, Any], now: dict[str, Any]) -> None:
    for field, value in now.items():
        if then[field] != value:
            raise ContractError(
                f"member {who} was {when} with other {field!r} than the source has now: {then[field]!r} "
                f"and {value!r}; run it again"
            )


def score(
    name: str,
    config: EnsembleConfig,
    members: list[Member],
    predictions: pd.DataFrame,
    own: pd.DataFrame,
    data: SourceData,
    facts: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, Any], pd.DataFrame]:
    """Score the ensemble, and each of its models alone, by the same evaluator under one contract.

    Args:
        name: of the ensemble.
        config: its parameters.
        members: in its order.
        predictions: fused.
        own: of each model alone, with `member` and `seed`.
        data: their prepared source, all splits.
        facts: of the source.

    Returns:
        `metrics.json`, where `spread` is null, for an ensemble is one predictor, and `members` has what each
        scores alone; the details for figures; a row a sample.
    """
    merged = members[0].evaluated_as(config)
    part, kind = scored_part(merged, data), task_class(merged.task)
    scores = kind.score(predictions, part, config.evaluate)
    alone = {
        member.name: {
            seed: kind.score(_rows(own, member.name, seed), part, config.evaluate)
            for seed in member.checkpoints
        }
        for member in members
    }
    models = {f"{member.name}/{seed}": c for member in members for seed, c in member.checkpoints.items()}
    metas = [checkpoint.meta for checkpoint in models.values()]
    made_from = provenance_of(
        config,
        {member.name: member.config for member in members},
        {member.name: {seed: c.meta for seed, c in member.checkpoints.items()} for member in members},
        data,
    )
    metrics = {
        "experiment": name,
        "task": merged.task,
        "values": clean(scores.values),
        "spread": dict.fromkeys(scores.values),
        "members": {
            member: {"weight": config.weight_of(member), **_summary(by_seed)}
            for member, by_seed in alone.items()
        },
        "contract": contract(merged, part, scores, facts),
        "fingerprint": made_from.fingerprint,
        "seconds": round(sum(meta.seconds for meta in metas), 2),
        "device": metas[0].device,
        "passed_over": passed_over(models),
        "provenance": made_from.model_dump(mode="json"),
    }
    return metrics, clean(scores.details), scores.samples


def _rows(own: pd.DataFrame, member: str, seed: int) -> pd.DataFrame:
    rows = own[(own["member"] == member) & (own["seed"] == seed)]
    return rows.drop(columns=["member", "seed"]).reset_index(drop=True)


def _summary(by_seed: dict[int, Scores]) -> dict[str, Any]:
    scores = list(by_seed.values())
    return {
        "values": averages(scores, fmean),
        "spread": averages(scores, deviation),
        "seeds": {str(seed): clean(one.values) for seed, one in by_seed.items()},
    }


def provenance_of(
    config: EnsembleConfig,
    members: dict[str, ExperimentConfig],
    metas: dict[str, dict[int, Meta]],
    data: SourceData | None,
) -> Provenance:
    """Gather what an ensemble's results are made from: the source of its fingerprint.

    What its models were trained from is in their fingerprints, so that of the data only the scored split
    counts, and of the code what predicts, fuses and scores.

    Args:
        config: the ensemble.
        members: parameters of its members, by name.
        metas: what the checkpoints of each say of themselves, by seed.
        data: their prepared source, all splits; None leaves the data out.
    """
    weights = {f"weight.{name}": config.weight_of(name) for name in members}
    inputs = {
        f"model {name}/{seed}": meta.fingerprint for name, own in metas.items() for seed, meta in own.items()
    }
    first = next(iter(members.values()))
    if data is not None:
        scored = f"data.{config.evaluate.split}"
        inputs[scored] = digests_of(data, masks=first.task == "segmentation").get(scored, "none")
    code, versions = dict[str, str](), dict[str, str]()
    for member in members.values():
        own = evaluation_code(member, "cv_pipelines.training.ensemble")
        code, versions = code | own[0], versions | own[1]
    evaluate = flat({"evaluate": config.evaluate.model_dump(mode="json", exclude={"batch_size"})})
    return Provenance(parameters=weights | evaluate, inputs=inputs, code=code, versions=versions)
