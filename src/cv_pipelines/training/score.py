"""From saved predictions to `metrics.json`: the one place where an experiment's figures are made."""

from __future__ import annotations

import math
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.metrics.coco_backends import IouType
from cv_pipelines.metrics.coco_form import FIELDS, ground_truth, results
from cv_pipelines.tasks import task_class
from cv_pipelines.tasks.base import Scores
from cv_pipelines.training.checkpoints import Checkpoint
from cv_pipelines.training.fingerprint import evaluated
from cv_pipelines.training.predict import scored_part


def score(
    experiment: str,
    config: ExperimentConfig,
    predictions: pd.DataFrame,
    data: SourceData,
    checkpoints: dict[int, Checkpoint],
    facts: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, Any], pd.DataFrame]:
    """Score every seed and average.

    Args:
        experiment: its name.
        config: its parameters.
        predictions: what `predict` gave.
        data: its prepared source, all splits.
        checkpoints: for fingerprint, seconds and device.
        facts: of the source; what official splits share becomes part of the contract.

    Returns:
        `metrics.json`, the details for figures (of the first seed), and a row a sample (of the first seed).
    """
    part = scored_part(config, data)
    kind = task_class(config.task)
    by_seed = {
        seed: kind.score(rows.drop(columns="seed").reset_index(drop=True), part, config.evaluate)
        for seed, rows in grouped(predictions, checkpoints)
    }
    first = next(iter(by_seed.values()))
    meta = next(iter(checkpoints.values())).meta
    made_from = evaluated(meta.provenance, config, data) if meta.provenance else None
    metrics = {
        "experiment": experiment,
        "task": config.task,
        "values": averages(list(by_seed.values()), fmean),
        "spread": averages(list(by_seed.values()), deviation),
        "seeds": {str(seed): clean(scores.values) for seed, scores in by_seed.items()},
        "contract": contract(config, part, first, facts),
        "fingerprint": made_from.fingerprint if made_from else meta.fingerprint,
        "seconds": round(sum(c.meta.seconds for c in checkpoints.values()), 2),
        "device": meta.device,
        "passed_over": passed_over({str(seed): checkpoint for seed, checkpoint in checkpoints.items()}),
        "provenance": made_from and made_from.model_dump(mode="json"),
    }
    return metrics, clean(first.details), first.samples


def grouped(predictions: pd.DataFrame, checkpoints: dict[int, Checkpoint]) -> list[tuple[int, pd.DataFrame]]:
    """Split the table by seed; a seed without any row (a detector that found nothing) has an empty one."""
    return [(seed, predictions[predictions["seed"] == seed]) for seed in checkpoints]


def averages(scores: list[Scores], reduce: Any) -> dict[str, float | None]:
    """Reduce each figure over the seeds; figures that are undefined for a seed are left out of it."""
    names = scores[0].values
    finite = {n: [s.values[n] for s in scores if math.isfinite(s.values.get(n, math.nan))] for n in names}
    return {name: reduce(values) if values else None for name, values in finite.items()}


def passed_over(checkpoints: dict[str, Checkpoint]) -> dict[str, list[dict[str, Any]]]:
    """Return, by name, the batches that trainings passed over; of those that passed over none, nothing."""
    return {
        name: [batch.model_dump(mode="json") for batch in checkpoint.meta.passed_over]
        for name, checkpoint in checkpoints.items()
        if checkpoint.meta.passed_over
    }


def deviation(values: list[float]) -> float:
    """Return the sample standard deviation; 0 for a single value."""
    return stdev(values) if len(values) > 1 else 0.0


def contract(
    config: ExperimentConfig, part: SourceData, scores: Scores, facts: dict[str, Any]
) -> dict[str, Any]:
    """State what the figures mean: only figures of equal contracts may be compared."""
    split = config.evaluate.split
    shared = {
        k: v["groups"] or v["samples"] for k, v in facts.get("shared", {}).items() if split in k.split("|")
    }
    return {
        "source": config.source,
        "split": split,
        "n": len(part.samples),
        "protocol": config.evaluate.protocol,
        "flip": config.evaluate.flip,
        "shared_with_other_splits": shared or "nothing",
        **scores.contract,
    }


def clean(value: Any) -> Any:
    """Make a value JSON-able: NaN and infinite become null, numpy scalars plain."""
    if isinstance(value, dict):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def coco_form(
    data: SourceData, predictions: pd.DataFrame
) -> tuple[dict[str, Any], dict[IouType, list[dict[str, Any]]]]:
    """Give truth and detections as COCO's annotation and result lists.

    Args:
        data: the scored split.
        predictions: detections of one seed.

    Returns:
        The truth; results by type: boxes, masks, poses. Where a detector gives no masks or poses, their list
        is empty.
    """
    truth = ground_truth(data.samples, data.annotations, data.categories)
    # a table without rows, of detectors that found nothing, has no columns either
    given = {kind for kind, field in FIELDS.items() if kind == "bbox" or field in predictions.columns}
    found = {
        kind: clean(results(predictions, truth, kind)) if kind in given and len(predictions) else []
        for kind in FIELDS
    }
    return clean(truth), found
