"""The augmentation gallery: each augmentation that fits a source, on a sample of that source."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
import yaml
from PIL import Image

from cv_pipelines.config import Named
from cv_pipelines.data.augment import AUGMENTS, Chain
from cv_pipelines.data.augment.catalogue import REQUIRED, Description, describe
from cv_pipelines.data.augment.objects import Item
from cv_pipelines.data.datasets import SampleDataset, SourceData, Target
from cv_pipelines.errors import SourceError
from cv_pipelines.plots.document import Block, document, figure_html, paragraphs, table
from cv_pipelines.plots.rasters import (
    SMALL_SIDE,
    Box,
    data_uri,
    display_scale,
    draw_boxes,
    overlay,
    picture,
    resized,
    tile,
)
from cv_pipelines.plots.samples import SIGNAL_CHANNELS, SIGNAL_RATE, evenly, mask_colors
from cv_pipelines.plots.signals import signal_gallery
from cv_pipelines.plots.theme import spread_color

DRAWS = {"image": 3, "signal": 2}
CELL_PIXELS = 400
EVENLY = 64
"""Samples that one to show is chosen from."""

FAMILIES = ("geometry", "color", "mixing", "pasting", "signals", "presets")

EXAMPLES: dict[str, dict[str, Any]] = {
    "amplitude": {"deviation": 0.3},
    "boxes": {"zoom_out": 1.5},
    "dropout": {"share": 0.3},
    "jitter": {"deviation": 0.2},
    "mixup": {"alpha": 4.0},
    "noise": {"most": 40.0},
    "pca_color": {"deviation": 0.5},
    "small_image": {"rotation": 10.0, "erase": 0.5},
    "time_warp": {"deviation": 0.4},
    "turn": {"deviation": 0.5},
}
"""Options to draw where what the defaults do can hardly be seen."""

INTRODUCTION = """\
An experiment lists augmentations under the key augment; they are applied in that order, to training samples
only. Each part of this page shows one of them alone: the line that asks for what is drawn, the sample as it
is, what becomes of it in the first epochs, and all options. Options have their defaults, except that nothing
is left to chance (p is 1) and that effects too weak to be seen are drawn stronger; the line says so.

The draws depend on the seed, the epoch and the sample alone. Augmentations that change nothing but colours
are drawn without boxes and masks."""


def augmentation_page(source: str, data: SourceData, sample: str | None = None, seed: int = 0) -> str:
    """Return the gallery as one HTML page that needs no network.

    Args:
        source: its name.
        data: the prepared source.
        sample: id of the sample to show; None chooses one with objects, a mask or movement.
        seed: of the draws.

    Raises:
        SourceError: the source has no such sample, or none at all.
    """
    part, index = _chosen(data, sample)
    found = [describe(name) for name in AUGMENTS]
    tasks = fitting_tasks(part)
    shown = sorted(
        (entry for entry in found if set(entry.tasks) & set(tasks)), key=lambda e: FAMILIES.index(e.family)
    )
    label = str(part.samples["sample_id"].iat[index])
    blocks = [Block("About this page", paragraphs(INTRODUCTION))]
    for place, entry in enumerate(shown):
        task = next(task for task in tasks if task in entry.tasks)
        blocks.append(Block(entry.name, _section(entry, part, index, task, seed, f"plot_{place}")))
    return document(f"Augmentations: {source}", f"sample {label}, seed {seed}", blocks)


def fitting_tasks(data: SourceData) -> list[str]:
    """Return the tasks that a source has targets for; those whose targets can be drawn come first."""
    if data.kind == "signal":
        return ["activity"]
    masks = bool(data.categories.mask) and bool(data.samples["target"].notna().any())
    has = {
        "detection": bool(data.categories.objects) and not data.annotations.empty,
        "landmarks": any(c.keypoints for c in data.categories.objects),
        "segmentation": masks,
        "classification": bool(data.categories.labels),
    }
    return [*(task for task, there in has.items() if there), "autoencoder", "gan"]


def _chosen(data: SourceData, sample: str | None) -> tuple[SourceData, int]:
    """Return the split that a sample is in, and its index there."""
    ids = data.samples["sample_id"]
    if sample is not None and not (ids == sample).any():
        raise SourceError(f"no sample {sample!r}; there are {', '.join(map(repr, ids[:3]))}, …")
    split = "train" if sample is None else data.samples["split"][ids == sample].iat[0]
    part = data.only(split)
    if part.samples.empty:
        raise SourceError("no sample in the train split")
    if sample is not None:
        return part, int(np.flatnonzero(part.samples["sample_id"] == sample)[0])
    return part, max(evenly(len(part.samples), EVENLY), key=lambda i: _worth(part, i))


def _worth(data: SourceData, index: int) -> float:
    """Say how much there is to see: movement or contrast, a few large objects, a mask."""
    if data.kind == "signal":
        return float(data.read(index).std(dim=1).mean())
    contrast = float(data.read(index).float().std()) / 128
    row = data.samples.iloc[index]
    objects = data.annotations[data.annotations["sample_id"] == row["sample_id"]]
    share = float(objects["area"].sum()) / max(row["width"] * row["height"], 1)
    return (2 <= len(objects) <= 5) - abs(share - 0.3) + contrast + isinstance(row["target"], str)


def _section(entry: Description, data: SourceData, index: int, task: str, seed: int, plot: str) -> str:
    target = "none" if entry.family == "color" else _target(data, task)
    plain = SampleDataset(data, target)
    named = {"name": entry.name, **_example(entry, plain[index])}
    line = yaml.safe_dump(named, default_flow_style=True, sort_keys=False, width=1000).strip()
    chain = Chain([Named.model_validate(named)])
    drawn = SampleDataset(data, target, augment=chain, seed=seed)
    items = [plain[index], *(drawn[epoch, index] for epoch in range(DRAWS[data.kind]))]
    shown = figure_html(_windows(items), plot) if data.kind == "signal" else _pictures(items, data)
    return (
        paragraphs(f"{entry.summary}\n\n{entry.remark}\n\nTasks: {', '.join(entry.tasks)}.")
        + f"<pre>augment:\n  - {html.escape(line)}</pre>{shown}"
        + (table(["option", "default", "meaning"], _rows(entry)) if entry.options else "")
    )


def _rows(entry: Description) -> list[list[Any]]:
    return [[option.name, _text(option.default), option.meaning] for option in entry.options]


def _text(default: Any) -> str:
    if isinstance(default, list | tuple):
        return f"[{', '.join(map(_text, default))}]"
    return (
        default
        if isinstance(default, str)
        else f"{default:.4g}"
        if isinstance(default, float)
        else str(default).lower()
    )


def _target(data: SourceData, task: str) -> Target:
    if task == "landmarks":
        return "points"
    if task == "detection":
        return "masks" if data.annotations["segmentation"].notna().any() else "boxes"
    labels: Target = "labels" if data.categories.multi_label else "label"
    targets: dict[str, Target] = {"segmentation": "mask", "classification": labels, "activity": labels}
    return targets.get(task, "none")


def _example(entry: Description, item: Item) -> dict[str, Any]:
    """Choose options; those without a default are sizes of the result."""
    share = 1.0 if entry.family == "mixing" else 0.75
    size = [max(round(share * side), 1) for side in item["image"].shape[-2:]] if "image" in item else []
    needed = {option.name: size for option in entry.options if option.default == REQUIRED}
    certain = {option.name: 1.0 for option in entry.options if option.name == "p" and option.default != 1.0}
    return needed | EXAMPLES.get(entry.name, {}) | certain


def _windows(items: Sequence[Item]) -> go.Figure:
    signals = [item["signal"].numpy() for item in items]
    names = SIGNAL_CHANNELS if len(signals[0]) == len(SIGNAL_CHANNELS) else None
    windows = [(signal, title, None) for signal, title in zip(signals, _titles(items), strict=True)]
    return signal_gallery(windows, names, title="", rate=SIGNAL_RATE).update_layout(margin_t=60)


def _titles(items: Sequence[Item]) -> list[str]:
    return ["as it is", *(f"epoch {epoch}" for epoch in range(len(items) - 1))]


def _pictures(items: Sequence[Item], data: SourceData) -> str:
    tall, wide = (max(item["image"].shape[side] for item in items) for side in (-2, -1))
    # One scale for the row, so that a resized picture looks resized.
    scale = display_scale((wide, tall), CELL_PIXELS)
    drawn = [_drawn(item, data, scale) for item in items]
    frame = max(image.width for image in drawn), max(image.height for image in drawn)
    small = max(tall, wide) <= SMALL_SIDE
    figures = [
        f"<figure><figcaption><b>{title}</b><br>{html.escape(_note(item, data))}</figcaption>"
        f'<img alt="{title}" src="{data_uri(_framed(image, frame), small)}"></figure>'
        for title, item, image in zip(_titles(items), items, drawn, strict=True)
    ]
    return f'<div class="pictures">{"".join(figures)}</div>'


def _drawn(item: Item, data: SourceData, scale: float) -> Image.Image:
    pixels = np.ascontiguousarray(item["image"].as_subclass(torch.Tensor).permute(1, 2, 0).numpy())
    flat = picture(pixels)
    if "masks" in item:
        flat = _tinted(flat, item)
    image = resized(flat, scale)
    if "boxes" in item:
        names = data.categories.names("objects")
        rows = zip(item["boxes"].tolist(), item["labels"].tolist(), strict=True)
        boxes = [Box(x1, y1, x2 - x1, y2 - y1, names[label]) for (x1, y1, x2, y2), label in rows]
        image = draw_boxes(image, boxes, [], scale)
    if "mask" in item:
        image = tile([image, overlay(image, item["mask"].numpy(), mask_colors(data))], 1)
    return image


def _tinted(image: Image.Image, item: Item) -> Image.Image:
    """Colour the objects of an item by their class."""
    pixels = np.asarray(image, dtype=np.float32).copy()
    for mask, label in zip(item["masks"].numpy(), item["labels"].tolist(), strict=True):
        pixels[mask == 1] = 0.65 * pixels[mask == 1] + 0.35 * np.array(spread_color(label), np.float32)
    return Image.fromarray(pixels.round().astype(np.uint8))


def _framed(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    frame = Image.new("RGB", size, "white")
    frame.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return frame


def _note(item: Item, data: SourceData) -> str:
    """Say what cannot be seen: the size, lost boxes, the shares of a mixed label."""
    height, width = item["image"].shape[-2:]
    parts = [f"{height} × {width} pixels"]
    if item.get("dropped"):
        parts.append(f"objects dropped: {item['dropped']}")
    if "label" in item:
        parts.append(_shares(item, data.categories.names("labels")))
    return ", ".join(parts)


def _shares(item: Item, names: list[str]) -> str:
    label = item["label"]
    if isinstance(label, torch.Tensor):
        present = label.nonzero().flatten().tolist()
        if bool((label[present] == 1).all()):
            return ", ".join(names[i] for i in present)
        return " + ".join(f"{label[i]:.2f} {names[i]}" for i in present)
    if item.get("label_weight", 1.0) == 1.0:
        return names[label]
    weight = item["label_weight"]
    return f"{weight:.2f} {names[label]} + {1 - weight:.2f} {names[item['other_label']]}"
