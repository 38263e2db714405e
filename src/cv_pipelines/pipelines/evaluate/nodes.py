"""Nodes of the evaluate stage. The core is imported when a node runs, so that listing pipelines is fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cv_pipelines.pipelines.source_data import source_data

if TYPE_CHECKING:
    import pandas as pd

    from cv_pipelines.training.checkpoints import Checkpoint


def predict(
    experiment: dict[str, Any],
    checkpoint: dict[int, Checkpoint],
    embedder: dict[int, Checkpoint] | None = None,
    **tables: Any,
) -> pd.DataFrame:
    """Predict the scored split with every seed; the checkpoints are used as they lie on disk."""
    from cv_pipelines.config import ExperimentConfig, parse
    from cv_pipelines.training import predict as predictor

    config = parse("experiment", ExperimentConfig, experiment)
    embeds = next(iter(embedder.values())) if embedder else None
    return predictor.predict(config, source_data(**tables), checkpoint, embeds)


def score(
    name: str,
    experiment: dict[str, Any],
    facts: dict[str, Any],
    checkpoint: dict[int, Checkpoint],
    predictions: pd.DataFrame,
    **tables: Any,
) -> tuple[dict[str, Any], dict[str, Any], pd.DataFrame]:
    """Score saved predictions; needs no GPU.

    Returns:
        `metrics.json`, the details for figures, and a row a sample.
    """
    from cv_pipelines.config import ExperimentConfig, parse
    from cv_pipelines.training import score as scorer

    config = parse(name, ExperimentConfig, experiment)
    return scorer.score(name, config, predictions, source_data(**tables), checkpoint, facts)


def coco_files(
    experiment: dict[str, Any], predictions: pd.DataFrame, **tables: Any
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Write truth and results (first seed) in COCO's form, so that any COCO tool can score them.

    Returns:
        `coco_truth.json`, and the results: boxes, masks, poses; see `coco_form`.
    """
    from cv_pipelines.config import ExperimentConfig, parse
    from cv_pipelines.training import score as scorer

    config = parse("experiment", ExperimentConfig, experiment)
    data = source_data(**tables).only(config.evaluate.split)
    first = predictions[predictions["seed"] == config.train.seeds[0]]
    truth, found = scorer.coco_form(data, first)
    return truth, found["bbox"], found["segm"], found["keypoints"]
