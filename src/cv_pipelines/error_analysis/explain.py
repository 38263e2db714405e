"""Where a trained classifier looks: maps of its worst samples and of some others, small enough to keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.data.datasets import SampleDataset, SourceData
from cv_pipelines.data.encoding import encode_png
from cv_pipelines.error_analysis.grad_cam import Layer, depths, explained_layer, grad_cam, map_layers
from cv_pipelines.tasks.base import Task
from cv_pipelines.training.checkpoints import Checkpoint
from cv_pipelines.training.predict import load_task, move, scored_part

WORST, OTHERS = 8, 8
"""Samples that are explained: of the worst, and drawn from all the others."""

SHOWN_FEATURES = 2
"""Of either, so many have their feature maps kept."""

CHANNELS = 8
"""Channels of a layer that are kept of each such sample: those that vary most over the picture."""

COLUMNS = ["sample_id", "why", "what", "name", "channel", "peak", "map"]


def explain(
    config: ExperimentConfig,
    data: SourceData,
    checkpoint: Checkpoint,
    predictions: pd.DataFrame,
    errors: dict[str, Any],
) -> pd.DataFrame:
    """Compute class activation maps and feature maps of a few samples.

    The model sees each sample as it is: whatever views `evaluate` averages over, maps are of the plain one.

    Args:
        config: of a classification or activity experiment.
        data: its prepared source, all splits.
        checkpoint: of its first seed.
        predictions: of that seed.
        errors: `errors.json`.

    Returns:
        A row a map: `sample_id`; `why` it was chosen (`worst`, `other`); `what` the map is (`predicted`: of
        the most probable class; `true`: of the true one, or of several that with the largest error, where
        it is another; `features`); `name` of the class or layer; `channel` (-1 for classes); `peak`, the
        map's largest value; `map`, PNG bytes of (h, w) uint8, 255 for the peak; signals have h = 1.
    """
    part = scored_part(config, data)
    chosen = choose(part.samples["sample_id"].tolist(), errors, config.train.seeds[0])
    picked = part.where(part.samples["sample_id"].isin(list(chosen)).to_numpy())
    task = load_task(config, data, checkpoint)
    x = _inputs(task, picked)
    layers = map_layers(task.model, x[:1])
    if not layers:  # a model without maps, such as one that flattens first
        return pd.DataFrame({name: [] for name in COLUMNS})
    classes = asked_classes(picked, predictions)
    deep = depths(layers)
    layer = explained_layer(layers)
    maps = grad_cam(task.model, x, classes.to(x.device), layer.name, [one.name for one in deep])
    names = data.categories.names("labels")
    rows: list[dict[str, Any]] = []
    place = {sample: i for i, sample in enumerate(picked.samples["sample_id"])}
    for sample, why in chosen.items():
        i, common = place[sample], {"sample_id": sample, "why": why}
        rows += [common | row for row in _class_rows(maps.cams[i], classes[i].tolist(), names)]
        if sample in _with_features(chosen):
            rows += [common | row for one in deep for row in _feature_rows(maps.features[one.name][i], one)]
    return pd.DataFrame(rows, columns=COLUMNS)


def choose(ids: list[str], errors: dict[str, Any], seed: int) -> dict[str, str]:
    """Choose samples, each with why: the worst first, then others drawn by the seed."""
    worst = [row["sample_id"] for row in errors["worst"]][:WORST]
    rest = [sample for sample in ids if sample not in set(worst)]
    drawn = np.random.default_rng(seed).permutation(len(rest))[:OTHERS]
    return dict.fromkeys(worst, "worst") | {rest[i]: "other" for i in drawn}


def _with_features(chosen: dict[str, str]) -> set[str]:
    by_why = {why: [s for s, w in chosen.items() if w == why] for why in ("worst", "other")}
    return {sample for some in by_why.values() for sample in some[:SHOWN_FEATURES]}


def _inputs(task: Task, picked: SourceData) -> Tensor:
    dataset = SampleDataset(picked, "none", task.context.preprocessing.size)
    batch = task.collate_inputs([dataset[i] for i in range(len(dataset))])
    with torch.no_grad():
        return task.inputs(move(batch, task.device)).float()


def asked_classes(picked: SourceData, predictions: pd.DataFrame) -> Tensor:
    """Return (N, 2) int64: the most probable class, and the true one (of several, the worst rated one).

    Args:
        picked: the samples.
        predictions: `sample_id`, `probabilities`.
    """
    table = predictions.set_index("sample_id").loc[picked.samples["sample_id"], "probabilities"]
    rows = []
    for probabilities, labels in zip(table, picked.samples["labels"], strict=True):
        values = np.asarray(probabilities, dtype=np.float64)
        other = int(labels[0]) if len(labels) else int(values.argmax())
        if picked.categories.multi_label:
            truth = np.isin(np.arange(len(values)), list(labels))
            other = int(np.abs(truth - values).argmax())
        rows.append([int(values.argmax()), other])
    return torch.tensor(rows, dtype=torch.int64)


def _class_rows(cams: Tensor, classes: list[int], names: list[str]) -> list[dict[str, Any]]:
    asked = list(zip(("predicted", "true"), classes, cams, strict=True))
    different = asked if classes[0] != classes[1] else asked[:1]
    return [_row(what, names[index], -1, cam) for what, index, cam in different]


def _feature_rows(output: Tensor, layer: Layer) -> list[dict[str, Any]]:
    spread = output.flatten(1).std(dim=1)
    liveliest = spread.argsort(descending=True, stable=True)[:CHANNELS].tolist()
    return [_row("features", layer.name, channel, output[channel]) for channel in liveliest]


def _row(what: str, name: str, channel: int, values: Tensor) -> dict[str, Any]:
    grid = values.numpy() if values.ndim == 2 else values.numpy().reshape(1, -1)
    low = 0.0 if what != "features" else float(grid.min())
    span = float(grid.max()) - low
    scaled = np.zeros(grid.shape, np.uint8)
    if span > 0:
        scaled = np.clip((grid - low) / span * 255, 0, 255).round().astype(np.uint8)
    row = {"what": what, "name": name, "channel": channel}
    return row | {"peak": float(grid.max()), "map": encode_png(scaled)}
