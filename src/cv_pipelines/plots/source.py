"""Figures of the data report: how much there is of what, how large images and objects are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cv_pipelines.plots.bars import LIMIT, ROW
from cv_pipelines.plots.theme import (
    COLORS,
    MUTED,
    SPLIT_COLORS,
    name_ticks,
    no_data,
    plain,
    styled,
)

DOTS = 4000
"""Boxes drawn as dots at most; the histograms count all."""


def split_bars(counts: Mapping[str, int]) -> go.Figure:
    """Draw the number of samples of every split.

    Args:
        counts: split to number of samples.
    """
    total = sum(counts.values())
    if not total:
        return no_data("Samples per split", "the source gave no sample")
    names, values = list(counts), list(counts.values())
    figure = go.Figure(
        go.Bar(
            x=values,
            y=list(range(len(names))),
            orientation="h",
            marker_color=[SPLIT_COLORS.get(name, MUTED) for name in names],
            text=[f"{value:,} ({value / total:.0%})" for value in values],
            textposition="outside",
            cliponaxis=False,
            hoverinfo="skip",
        )
    )
    figure.update_xaxes(title_text="samples", range=[0, max(values) * 1.15], tickformat=",")
    figure.update_yaxes(**name_ticks(names), autorange="reversed", showgrid=False)
    return styled(figure, "Samples per split", 130 + 46 * len(names), f"{total:,} samples")


def class_bars(names: Sequence[str], counts: Mapping[str, Sequence[int]], unit: str = "samples") -> go.Figure:
    """Draw how often every class occurs in every split, most frequent on top.

    Above 40 classes only the 20 most and the 20 least frequent are shown; the subtitle says so.

    Args:
        names: K class names in index order.
        counts: split to K counts.
        unit: what is counted.

    Raises:
        ValueError: a split has not K counts.
    """
    title = f"{unit.capitalize()} per class"
    for split, row in counts.items():
        if len(row) != len(names):
            raise ValueError(f"{len(row)} counts in {split} for {len(names)} classes")
    table = np.array([list(row) for row in counts.values()], dtype=np.int64)
    if table.sum() == 0:
        return no_data(title, f"the source gave no {unit}")
    totals = table.sum(axis=0)
    order = np.argsort(-totals, kind="stable")
    subtitle = f"{len(names)} classes, {totals.sum():,} {unit}"
    if len(order) > LIMIT:
        subtitle += f" · the {LIMIT // 2} most and the {LIMIT // 2} least frequent shown"
        order = np.concatenate([order[: LIMIT // 2], order[-(LIMIT // 2) :]])
    figure = go.Figure(
        [
            _split_trace(split, row[order], [names[i] for i in order])
            for split, row in zip(counts, table, strict=True)
        ]
    )
    figure.update_xaxes(title_text=unit, tickformat=",")
    figure.update_yaxes(**name_ticks([names[i] for i in order]), autorange="reversed", showgrid=False)
    figure.update_layout(barmode="stack", legend_traceorder="normal")
    return styled(figure, title, max(len(order) * ROW + 150, 220), subtitle)


def _split_trace(split: str, values: np.ndarray, names: Sequence[str]) -> go.Bar:
    return go.Bar(
        x=values.tolist(),
        y=list(range(len(values))),
        orientation="h",
        name=plain(split),
        marker_color=SPLIT_COLORS.get(split, MUTED),
        customdata=[plain(name) for name in names],
        hovertemplate="%{customdata}: %{x:,}",
    )


def pixel_bars(shares: Mapping[str, float]) -> go.Figure:
    """Draw how much of the train split's pixels each class has, largest on top.

    Args:
        shares: class name to its share, 0 to 1; void left out.
    """
    title = "Pixels per class"
    if not any(shares.values()):
        return no_data(title, "the source gave no mask")
    order = sorted(shares, key=lambda name: -shares[name])
    note = f"{len(order)} classes, train split, void left out"
    if len(order) > LIMIT:
        note += f" · the {LIMIT // 2} largest and the {LIMIT // 2} smallest shown"
        order = order[: LIMIT // 2] + order[-(LIMIT // 2) :]
    values = [shares[name] for name in order]
    figure = go.Figure(
        go.Bar(
            x=values,
            y=list(range(len(order))),
            orientation="h",
            marker_color=COLORS[0],
            text=[f"{value:.1%}" if value >= 0.001 else f"{value:.3%}" for value in values],
            textposition="outside",
            cliponaxis=False,
            hoverinfo="skip",
        )
    )
    figure.update_xaxes(title_text="share of the pixels", tickformat=".0%", range=[0, max(values) * 1.12])
    figure.update_yaxes(**name_ticks(order), autorange="reversed", showgrid=False)
    return styled(figure, title, max(len(order) * ROW + 150, 220), note)


def image_sizes(samples: pd.DataFrame) -> go.Figure:
    """Draw width against height of the images, a dot an image.

    Args:
        samples: the `samples` table (`split`, `width`, `height` in pixels).
    """
    title = "Image sizes"
    some = samples[(samples["width"] > 0) & (samples["height"] > 0)]
    if some.empty:
        return no_data(title, "no image has a size")
    # Equal sizes are one dot, larger where there are many: most sources have few different ones.
    counts = some.groupby(["width", "height"]).size().sort_values(ascending=False).head(DOTS)
    width, height = (counts.index.get_level_values(side).to_numpy() for side in ("width", "height"))
    sizes = 5 + 20 * np.sqrt(counts.to_numpy() / counts.max())
    figure = go.Figure(
        go.Scatter(
            x=width.tolist(),
            y=height.tolist(),
            mode="markers",
            marker={
                "size": sizes.round(1).tolist(),
                "color": COLORS[0],
                "opacity": 0.5,
                "line": {"width": 0},
            },
            customdata=counts.tolist(),
            hovertemplate="%{x} × %{y}: %{customdata:,} images<extra></extra>",
        )
    )
    figure.update_xaxes(title_text="width in pixels", rangemode="tozero", tickformat=",")
    figure.update_yaxes(title_text="height in pixels", rangemode="tozero", tickformat=",")
    note = f"{len(some):,} images of {len(some.groupby(['width', 'height'])):,} sizes"
    return styled(figure, title, 420, note)


def box_sizes(annotations: pd.DataFrame, samples: pd.DataFrame) -> go.Figure:
    """Draw how large objects are: relative width against height, relative size, and aspect.

    Args:
        annotations: the `annotations` table (`sample_id`, `w`, `h` in pixels).
        samples: the `samples` table (`sample_id`, `width`, `height` in pixels).
    """
    title = "Object sizes"
    if annotations.empty or samples.empty:
        return no_data(title, "the source has no objects")
    joined = annotations[["sample_id", "w", "h"]].merge(
        samples[["sample_id", "width", "height"]], on="sample_id"
    )
    joined = joined[(joined["width"] > 0) & (joined["height"] > 0) & (joined["w"] > 0) & (joined["h"] > 0)]
    if joined.empty:
        return no_data(title, "no object has a size and an image with a size")
    width = (joined["w"] / joined["width"]).to_numpy(dtype=np.float64)
    height = (joined["h"] / joined["height"]).to_numpy(dtype=np.float64)
    aspect = (joined["w"] / joined["h"]).to_numpy(dtype=np.float64)
    figure = make_subplots(
        1,
        3,
        column_widths=[0.4, 0.3, 0.3],
        horizontal_spacing=0.08,
        subplot_titles=["width and height", "size", "aspect"],
    )
    figure.add_trace(_dots(width, height), row=1, col=1)
    figure.add_trace(_histogram(np.sqrt(width * height), np.linspace(0, 1, 26), COLORS[0]), row=1, col=2)
    figure.add_trace(_histogram(np.log2(aspect).clip(-4, 4), np.linspace(-4, 4, 33), COLORS[1]), row=1, col=3)
    figure.update_xaxes(title_text="width / image width", range=[0, 1.02], row=1, col=1)
    figure.update_yaxes(title_text="height / image height", range=[0, 1.02], row=1, col=1)
    figure.update_xaxes(title_text="√(area / image area)", range=[0, 1], row=1, col=2)
    figure.update_yaxes(title_text="objects", col=2)
    ratios = ["1:16", "1:4", "1:1", "4:1", "16:1"]
    figure.update_xaxes(
        title_text="width : height", tickvals=[-4, -2, 0, 2, 4], ticktext=ratios, row=1, col=3
    )
    note = f"{len(joined):,} objects"
    if len(joined) > DOTS:
        note += f", {DOTS:,} of them drawn as dots"
    return styled(figure, title, 420, note).update_layout(margin_t=100, bargap=0.05)


def _dots(width: np.ndarray, height: np.ndarray) -> go.Scatter:
    # Evenly spaced rows instead of a random draw: the same data give the same figure.
    chosen = np.unique(np.linspace(0, len(width) - 1, min(len(width), DOTS)).astype(int))
    return go.Scatter(
        x=width[chosen].round(4).tolist(),
        y=height[chosen].round(4).tolist(),
        mode="markers",
        marker={"size": 5, "color": COLORS[0], "opacity": 0.35 if len(chosen) > 300 else 0.7},
        showlegend=False,
        hovertemplate="%{x:.0%} × %{y:.0%}<extra></extra>",
    )


def _histogram(values: np.ndarray, edges: np.ndarray, color: str) -> go.Bar:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), bins=edges)
    return go.Bar(
        x=((edges[:-1] + edges[1:]) / 2).round(4).tolist(),
        y=counts.tolist(),
        marker_color=color,
        showlegend=False,
        hovertemplate="%{y:,} objects<extra></extra>",
    )
