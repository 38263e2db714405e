"""Samples of a source with their truth, as gallery items: what a person judges a data set by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.plots.gallery import GalleryItem, gallery
from cv_pipelines.plots.rasters import Box
from cv_pipelines.plots.signals import signal_gallery
from cv_pipelines.plots.theme import class_colors

SHOWN = 16
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


def mask_of(data: SourceData, index: int) -> np.ndarray | None:
    """Return the true mask of a sample, (H, W) uint8; None if it has none."""
    return data.mask(index) if isinstance(data.samples["target"].iat[index], str) else None


def mask_colors(data: SourceData) -> dict[str, tuple[int, int, int]]:
    """Return the colour of each mask class, in index order."""
    classes = data.categories.mask
    return class_colors([c.name for c in classes], [c.color for c in classes])


def evenly(length: int, count: int) -> list[int]:
    """Return up to `count` indices spread evenly over 0..length - 1."""
    return [int(i) for i in np.unique(np.linspace(0, length - 1, min(length, count)).astype(int))]


def sample_gallery(data: SourceData) -> go.Figure:
    """Draw samples of the train split with labels, boxes and masks."""
    train = data.only("train")
    chosen = evenly(len(train.samples), SHOWN if not data.categories.mask else SHOWN // 2)
    title = "Samples and their truth"
    if data.kind == "signal":
        return windows(train, chosen[:9], [label_of(train, i) or "" for i in chosen], [None] * 9, title)
    items = [
        GalleryItem(
            picture_of(train, i),
            title=str(train.samples["sample_id"].iat[i]),
            truth=None if data.categories.multi_label else label_of(train, i),
            truth_boxes=boxes_of(train, i),
            truth_mask=mask_of(train, i),
        )
        for i in chosen
    ]
    return gallery(items, mask_colors(data), title=title)


def windows(
    data: SourceData, chosen: Sequence[int], titles: Sequence[str], correct: Sequence[bool | None], title: str
) -> go.Figure:
    """Draw windows of signals with a title each, right or wrong."""
    items = [(data.read(i).numpy(), t, ok) for i, t, ok in zip(chosen, titles, correct, strict=False)]
    known = SIGNAL_CHANNELS if data.channels == len(SIGNAL_CHANNELS) else None
    return signal_gallery(items, known, title=title, rate=SIGNAL_RATE)
