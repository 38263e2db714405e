"""Galleries: images with the truth against what the model said (signals: `signal_gallery`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import plotly.graph_objects as go

from cv_pipelines.plots.grid import TALLEST, Cell, picture_grid
from cv_pipelines.plots.poses import draw_poses
from cv_pipelines.plots.rasters import (
    IGNORED_RGB,
    SMALL_SIDE,
    Box,
    display_scale,
    draw_boxes,
    marked,
    overlay,
    picture,
    resized,
    tile,
)
from cv_pipelines.plots.signals import signal_gallery
from cv_pipelines.plots.theme import (
    INK,
    PREDICTION_RGB,
    RGB,
    RIGHT,
    SOFT_INK,
    TRUTH_RGB,
    WIDTH,
    WRONG,
    css,
    no_data,
    plain,
)

__all__ = ["Box", "GalleryItem", "gallery", "signal_gallery"]

OVERSAMPLING = 1.5
"""Pixels embedded for one shown, so that pictures stay sharp on fine screens."""

LEGEND_CLASSES = 32


@dataclass(frozen=True)
class GalleryItem:
    """One sample to show.

    Attributes:
        image: (H, W) or (H, W, 3) uint8; None or empty shows a grey field.
        title: what the sample is called.
        truth_boxes: true boxes, in the image's pixels.
        predicted_boxes: predicted boxes, in the image's pixels.
        truth_mask: (H, W) class indices, 255 is void.
        predicted_mask: (H, W) class indices.
        truth: the true label in words.
        prediction: the predicted label in words.
        correct: colours the label line; None leaves it neutral.
        error_map: (H, W) numbers of kinds of error, 0 for none.
        truth_poses: true points, (P, 3) an object: x, y in the image's pixels, 0 where unknown.
        predicted_poses: the same of what was predicted.
        limbs: pairs of points that a line joins.
    """

    image: np.ndarray | None
    title: str = ""
    truth_boxes: Sequence[Box] = field(default_factory=list)
    predicted_boxes: Sequence[Box] = field(default_factory=list)
    truth_mask: np.ndarray | None = None
    predicted_mask: np.ndarray | None = None
    truth: str | None = None
    prediction: str | None = None
    correct: bool | None = None
    error_map: np.ndarray | None = None
    truth_poses: Sequence[np.ndarray] = field(default_factory=list)
    predicted_poses: Sequence[np.ndarray] = field(default_factory=list)
    limbs: Sequence[tuple[int, int]] = field(default_factory=list)


def gallery(
    items: Sequence[GalleryItem],
    class_colors: Mapping[str, RGB],
    columns: int = 4,
    title: str = "Truth and prediction",
    kind_colors: Mapping[str, RGB] | None = None,
) -> go.Figure:
    """Draw samples with what is true and what the model said.

    Boxes: truth solid green, predictions dashed orange with class and score. Masks: image, truth and, where
    there are any, predictions side by side, so fewer columns. Labels: a coloured line, right or wrong.

    Args:
        items: the samples, in the order they are shown.
        class_colors: mask class name to RGB, in index order (`theme.class_colors` makes it).
        columns: samples a row.
        title: plain text.
        kind_colors: kind of error to RGB, in the order of the numbers of error maps; explained in the legend.
    """
    if not items:
        return no_data(title, "there is no sample to show")
    panels = _panels(items)
    columns = max(min(columns // len(panels), len(items)), 1)
    side = round(OVERSAMPLING * min(WIDTH / columns / len(panels), TALLEST))
    cells = picture_cells(items, class_colors, side, kind_colors)
    figure = picture_grid(cells, columns, title, " · ".join(panels) if len(panels) > 1 else "")
    if any(item.truth_boxes or item.truth_poses for item in items):
        _explain(figure, [("truth", css(TRUTH_RGB), "solid")])
    if any(item.predicted_boxes or item.predicted_poses for item in items):
        shown = kind_colors or {"prediction": PREDICTION_RGB}
        _explain(figure, [(name, css(color), "dash") for name, color in shown.items()])
    elif kind_colors:
        _explain(figure, [(name, css(color), "") for name, color in kind_colors.items()])
    if len(panels) > 1:
        _explain(figure, _mask_legend(items, class_colors))
    return figure


def picture_cells(
    items: Sequence[GalleryItem],
    class_colors: Mapping[str, RGB],
    side: int,
    kind_colors: Mapping[str, RGB] | None = None,
) -> list[Cell]:
    """Draw each sample by itself: what `gallery` lays out, with its caption.

    Args:
        items: the samples.
        class_colors: mask class name to RGB, in index order.
        side: pixels of the longer side of each picture; a sample with masks has several.
        kind_colors: kind of error to RGB, in the order of the numbers of error maps.
    """
    panels = _panels(items)
    return [_cell(item, class_colors, side, panels, kind_colors or {}) for item in items]


def _panels(items: Iterable[GalleryItem]) -> list[str]:
    """Name the pictures of a cell: the image, and the kinds of masks that any sample has."""
    listed = list(items)
    truth = any(item.truth_mask is not None for item in listed)
    predicted = any(item.predicted_mask is not None for item in listed)
    errors = any(item.error_map is not None for item in listed)
    shown = {"truth": truth, "prediction": predicted, "errors": errors}
    return ["image", *(name for name, there in shown.items() if there)]


def _cell(
    item: GalleryItem,
    class_colors: Mapping[str, RGB],
    side: int,
    panels: Sequence[str],
    kind_colors: Mapping[str, RGB],
) -> Cell:
    flat = picture(item.image)
    small = max(flat.size) <= SMALL_SIDE
    scale = display_scale(flat.size, side)
    image = resized(flat, scale)
    posed = draw_poses(image, item.truth_poses, item.predicted_poses, item.limbs, scale)
    pictures = [draw_boxes(posed, item.truth_boxes, item.predicted_boxes, scale)]
    blank = picture(None).resize(image.size)
    for kind, mask in (("truth", item.truth_mask), ("prediction", item.predicted_mask)):
        if kind in panels:
            pictures.append(overlay(image, mask, class_colors) if mask is not None and mask.size else blank)
    if "errors" in panels:
        pictures.append(blank if item.error_map is None else marked(image, item.error_map, kind_colors))
    return Cell(tile(pictures, len(pictures)), _caption(item), small)


def _caption(item: GalleryItem) -> tuple[tuple[str, str], ...]:
    lines = [(item.title, SOFT_INK)] if item.title else []
    color = INK if item.correct is None else RIGHT if item.correct else WRONG
    sign = "" if item.correct is None else "✓ " if item.correct else "✗ "
    if item.prediction is not None and item.truth is not None and item.correct is not True:
        lines.append((f"{sign}{item.prediction} (true: {item.truth})", color))
    elif item.prediction is not None or item.truth is not None:
        lines.append((f"{sign}{item.prediction if item.prediction is not None else item.truth}", color))
    return tuple(lines)


def _mask_legend(items: Iterable[GalleryItem], class_colors: Mapping[str, RGB]) -> list[tuple[str, str, str]]:
    masks = [m for item in items for m in (item.truth_mask, item.predicted_mask) if m is not None and m.size]
    present = {int(index) for mask in masks for index in np.unique(mask)}
    entries = [
        (name, css(color), "") for index, (name, color) in enumerate(class_colors.items()) if index in present
    ]
    if any(index >= len(class_colors) for index in present):
        entries.insert(0, ("void", css(IGNORED_RGB), ""))
    if len(entries) > LEGEND_CLASSES:
        rest = len(entries) - LEGEND_CLASSES
        entries = [*entries[:LEGEND_CLASSES], (f"and {rest} more", "rgba(0,0,0,0)", "")]
    return entries


def _explain(figure: go.Figure, entries: Iterable[tuple[str, str, str]]) -> None:
    """Add legend entries for what is drawn inside the pictures (name, colour, dash or "" for a square)."""
    for name, color, dash in entries:
        look = (
            {"mode": "lines", "line": {"color": color, "dash": dash, "width": 3}}
            if dash
            else {"mode": "markers", "marker": {"color": color, "symbol": "square", "size": 13}}
        )
        figure.add_scatter(x=[None], y=[None], name=plain(name, 24), hoverinfo="skip", **look)
    figure.update_layout(
        legend={
            "itemclick": False,
            "itemdoubleclick": False,
            "y": 0,
            "yanchor": "top",
            "x": 0,
            "xanchor": "left",
        }
    )
