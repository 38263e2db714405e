"""Samples of a source with their truth, as gallery items: what a person judges a data set by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from pycocotools import mask as coco_mask

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.schema import SPLITS
from cv_pipelines.plots.gallery import GalleryItem, gallery
from cv_pipelines.plots.rasters import Box
from cv_pipelines.plots.signals import signal_gallery
from cv_pipelines.plots.theme import class_colors

SHOWN = 16
SIGNALS_SHOWN = 9
SIGNAL_CHANNELS = tuple(f"{kind}_{axis}" for kind in ("body_acc", "body_gyro", "total_acc") for axis in "xyz")
SIGNAL_RATE = 50.0


def picture_of(data: SourceData, index: int) -> np.ndarray:
    """Read a sample as (H, W) or (H, W, 3) uint8."""
    image = data.read(index).numpy()
    return image[0] if image.shape[0] == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))


def label_of(data: SourceData, index: int) -> str | None:
    """Return the class names of a sample; None if it has none."""
    names = data.categories.names("labels")
    labels = data.samples["labels"].iat[index]
    return ", ".join(names[i] for i in labels) if labels is not None and len(labels) else None


def boxes_of(data: SourceData, index: int) -> list[Box]:
    """Return the true boxes of a sample."""
    names = data.categories.names("objects")
    rows = data.annotations[data.annotations["sample_id"] == data.samples["sample_id"].iat[index]]
    columns = rows[["x", "y", "w", "h", "category"]].itertuples(index=False)
    return [Box(x, y, w, h, names[int(c)]) for x, y, w, h, c in columns]


def poses_of(data: SourceData, index: int) -> list[np.ndarray]:
    """Return the true points of a sample's objects, (P, 3) each: x, y in pixels, visibility."""
    rows = data.annotations[data.annotations["sample_id"] == data.samples["sample_id"].iat[index]]
    known = [pose for pose in rows["keypoints"] if isinstance(pose, list | np.ndarray)]
    return [np.asarray(pose, np.float64).reshape(-1, 3) for pose in known]


def limbs_of(data: SourceData) -> list[tuple[int, int]]:
    """Return the pairs of points that are joined in pictures: the skeleton of the class that has one."""
    return next((c.skeleton for c in data.categories.objects if c.skeleton), [])


def mask_of(data: SourceData, index: int) -> np.ndarray | None:
    """Return the true mask of a sample, (H, W) uint8; None if it has none."""
    return data.mask(index) if isinstance(data.samples["target"].iat[index], str) else None


def mask_colors(data: SourceData) -> dict[str, tuple[int, int, int]]:
    """Return the colour of each mask class, in index order."""
    classes = data.categories.mask
    return class_colors([c.name for c in classes], [c.color for c in classes])


def object_mask_of(data: SourceData, index: int) -> np.ndarray | None:
    """Paint the objects' own masks of a sample, the largest first.

    Returns:
        (H, W) uint8: 0 where there is no object, else class index + 1; None if no object has a mask.
    """
    sample = data.samples.iloc[index]
    rows = data.annotations[data.annotations["sample_id"] == sample["sample_id"]]
    rows = rows[rows["segmentation"].notna()].sort_values("area", ascending=False, kind="stable")
    if rows.empty:
        return None
    size = (int(sample["height"]), int(sample["width"]))
    mask = np.zeros(size, np.uint8)
    for text, category in zip(rows["segmentation"], rows["category"], strict=True):
        mask[_decoded(json.loads(text), size)] = category + 1
    return mask


def _decoded(value: Any, size: tuple[int, int]) -> np.ndarray:
    """Turn COCO's polygons or RLE into (H, W) bool."""
    if isinstance(value, list):
        packed = coco_mask.merge(coco_mask.frPyObjects(value, *size))
    elif isinstance(value["counts"], list):
        packed = coco_mask.frPyObjects(value, *size)
    else:
        packed = {"size": value["size"], "counts": value["counts"].encode()}
    found: np.ndarray = coco_mask.decode(packed).astype(bool)
    return found


def object_colors(data: SourceData) -> dict[str, tuple[int, int, int]]:
    """Return the colour of what `object_mask_of` paints, in its order."""
    classes = data.categories.objects
    given = [(0, 0, 0), *(c.color for c in classes)]
    return class_colors(["no object", *(c.name for c in classes)], given)


def evenly(length: int, count: int) -> list[int]:
    """Return up to `count` indices spread evenly over 0..length - 1."""
    return [int(i) for i in np.unique(np.linspace(0, length - 1, min(length, count)).astype(int))]


def sample_gallery(data: SourceData) -> go.Figure:
    """Draw samples with labels, boxes and masks (their own, or those of their objects).

    They are of train, or of the first split that is there.
    """
    first = next((s for s in SPLITS if (data.samples["split"] == s).any()), "train")
    train = data.only(first)
    objects = not data.categories.mask and bool(train.annotations["segmentation"].notna().any())
    masked = bool(data.categories.mask) or objects
    chosen = evenly(len(train.samples), SHOWN // 2 if masked else SHOWN)
    title = "Samples and their truth"
    if data.kind == "signal":
        chosen = _some_of_each(train, SIGNALS_SHOWN)
        return windows(train, chosen, [label_of(train, i) or "" for i in chosen], [None] * 9, title)
    items = [
        GalleryItem(
            picture_of(train, i),
            title=str(train.samples["sample_id"].iat[i]),
            truth=None if data.categories.multi_label else label_of(train, i),
            truth_boxes=boxes_of(train, i),
            truth_poses=poses_of(train, i),
            limbs=limbs_of(train),
            truth_mask=object_mask_of(train, i) if objects else mask_of(train, i),
        )
        for i in chosen
    ]
    return gallery(items, object_colors(data) if objects else mask_colors(data), title=title)


def _some_of_each(data: SourceData, count: int) -> list[int]:
    """Return up to `count` samples, of as many classes as there are."""
    first = data.samples["labels"].map(lambda row: row[0] if row is not None and len(row) else -1)
    turn = first.groupby(first).cumcount()
    return sorted(turn.sort_values(kind="stable").index[:count].tolist(), key=lambda i: (first[i], i))


def windows(
    data: SourceData, chosen: Sequence[int], titles: Sequence[str], correct: Sequence[bool | None], title: str
) -> go.Figure:
    """Draw windows of signals with a title each, right or wrong."""
    items = [(data.read(i).numpy(), t, ok) for i, t, ok in zip(chosen, titles, correct, strict=False)]
    known = SIGNAL_CHANNELS if data.channels == len(SIGNAL_CHANNELS) else None
    return signal_gallery(items, known, title=title, rate=SIGNAL_RATE)
