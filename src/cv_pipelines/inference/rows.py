"""The tables that come out: their columns by task, and class names beside class numbers."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from cv_pipelines.data.datasets import Target
from cv_pipelines.data.schema import QUARANTINE, Categories
from cv_pipelines.tasks.detection import COLUMNS

SAMPLES = pa.schema([("sample_id", pa.string()), ("width", pa.int64()), ("height", pa.int64())])
"""The inputs that were predicted; sizes in pixels, 0 for signals."""

DEFECTS = pa.schema([(name, pa.string()) for name in QUARANTINE.columns])
"""What was left out, corrected or noted: the project's quarantine table."""

READ = pa.schema([("sample_id", pa.string())])
"""All inputs that were looked at, also those that were left out."""

_ID = ("sample_id", pa.string())
_CLASSES = [
    _ID,
    ("label", pa.string()),
    ("confidence", pa.float32()),
    ("probabilities", pa.list_(pa.float32())),
]
_PREDICTIONS: dict[str, list[tuple[str, pa.DataType]]] = {
    "activity": _CLASSES,
    "autoencoder": [_ID, ("image", pa.binary())],
    "classification": _CLASSES,
    "detection": [
        _ID,
        ("category", pa.int64()),
        ("label", pa.string()),
        *((name, pa.float64()) for name in COLUMNS[2:]),
    ],
    "landmarks": [_ID, ("score", pa.float64()), ("keypoints", pa.list_(pa.float64()))],
    "segmentation": [_ID, ("mask", pa.binary())],
}
SEVERAL = 0.5
"""Probability from which a class counts where a sample may have several."""


def prediction_schema(task: str, categories: Categories, target: Target = "none") -> pa.Schema:
    """Return the columns of a task's predictions.

    Of a multi-label source, `label` is a list of the classes from 0.5 on, and there is no `confidence`. A
    detector whose target are `masks` gives each as run lengths, in COCO's form as JSON; one whose target are
    `points` gives those of an object as a list of x, y, visibility.
    """
    fields = _PREDICTIONS[task]
    if target == "masks":
        fields = [*fields, ("segmentation", pa.string())]
    if target == "points" and task == "detection":
        fields = [*fields, ("keypoints", pa.list_(pa.float64()))]
    if fields is _CLASSES and categories.multi_label:
        fields = [_ID, ("label", pa.list_(pa.string())), _CLASSES[-1]]
    return pa.schema(fields)


def named(task: str, row: dict[str, Any], categories: Categories) -> dict[str, Any]:
    """Add names of classes to a row that a task predicted."""
    if task == "detection":
        return row | {"label": categories.objects[row["category"]].name}
    if "probabilities" not in row:
        return row
    names, probabilities = categories.names("labels"), row["probabilities"]
    if categories.multi_label:
        return row | {"label": [n for n, p in zip(names, probabilities, strict=True) if p >= SEVERAL]}
    best = int(probabilities.argmax())
    return row | {"label": names[best], "confidence": float(probabilities[best])}
