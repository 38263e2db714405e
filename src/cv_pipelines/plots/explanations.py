"""Figures of where a classifier looks: class activation maps and feature maps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.encoding import decode_png
from cv_pipelines.plots.grid import Cell, picture_grid
from cv_pipelines.plots.rasters import display_scale, heated, picture, resized, tile
from cv_pipelines.plots.samples import label_of, picture_of
from cv_pipelines.plots.theme import INK, SOFT_INK, no_data
from cv_pipelines.plots.waves import wave_picture

SIDE = 260
CHANNEL_SIDE = 150
WAVES = (420, 240)


def cam_figure(explanations: pd.DataFrame, data: SourceData) -> go.Figure:
    """Draw samples, what speaks for the class that was said, and what for the true one.

    Args:
        explanations: what `error_analysis.explain` gave.
        data: the scored split.
    """
    title = "Where it looks"
    rows = explanations[explanations["what"] != "features"]
    if rows.empty:
        return no_data(title, "the model has no layer that gives maps")
    order = {sample: index for index, sample in enumerate(data.samples["sample_id"])}
    cells = []
    for (why, sample), maps in rows.groupby(["why", "sample_id"], sort=False):
        base = _base(data, order[sample], SIDE)
        pictures = [base] + [_heated(data, order[sample], base, png) for png in maps["map"]]
        named = " · ".join(f"{what}: {name}" for what, name in zip(maps["what"], maps["name"], strict=True))
        caption = ((f"true: {label_of(data, order[sample])} · {why} · {sample}", SOFT_INK), (named, INK))
        cells.append(Cell(tile(pictures + [_blank(base)] * (3 - len(pictures)), 3), caption))
    note = "the sample, then what speaks for the class that was said, and for the true one if it is another"
    return picture_grid(cells, 2, title, note)


def features_figure(explanations: pd.DataFrame, data: SourceData) -> go.Figure:
    """Draw what layers make of samples: the channels that vary most, bright where they are high.

    Args:
        explanations: what `error_analysis.explain` gave.
        data: the scored split.
    """
    title = "What its layers see"
    rows = explanations[explanations["what"] == "features"]
    if rows.empty:
        return no_data(title, "the model has no layer that gives maps")
    order = {sample: index for index, sample in enumerate(data.samples["sample_id"])}
    cells = []
    for (sample, layer), maps in rows.groupby(["sample_id", "name"], sort=False):
        grids = [decode_png(png) for png in maps["map"]]
        base = _base(data, order[sample], CHANNEL_SIDE)
        if data.kind == "signal":
            stack = Image.fromarray(np.concatenate(grids)).convert("RGB")
            pictures = [base, stack.resize((2 * WAVES[0], WAVES[1]), Image.Resampling.NEAREST)]
        else:
            pictures = [
                base,
                *(resized(picture(g), display_scale(g.shape[::-1], CHANNEL_SIDE)) for g in grids),
            ]
        shape = " × ".join(str(n) for n in grids[0].shape if n > 1)
        label = label_of(data, order[sample])
        cells.append(Cell(tile(pictures, len(pictures)), ((f"{label} · {layer}, {shape} · {sample}", INK),)))
    return picture_grid(cells, 1, title, "the sample, then the channels of a layer that vary most over it")


def _base(data: SourceData, index: int, side: int) -> Image.Image:
    if data.kind == "signal":
        return wave_picture(data.read(index).numpy(), WAVES)
    flat = picture(picture_of(data, index))
    return resized(flat, display_scale(flat.size, side))


def _heated(data: SourceData, index: int, base: Image.Image, png: bytes) -> Image.Image:
    heat = decode_png(png)
    if data.kind == "signal":
        return wave_picture(data.read(index).numpy(), WAVES, heat[0])
    return heated(base, heat)


def _blank(like: Image.Image) -> Image.Image:
    return Image.new("RGB", like.size, "white")
