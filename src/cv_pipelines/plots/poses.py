"""Points of objects drawn on pictures, and the error of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from PIL import Image, ImageDraw

from cv_pipelines.plots.bars import ranked_bars
from cv_pipelines.plots.theme import PREDICTION_RGB, RGB, TRUTH_RGB

Limbs = Sequence[tuple[int, int]]


def draw_poses(
    image: Image.Image,
    truth: Sequence[np.ndarray],
    predicted: Sequence[np.ndarray],
    limbs: Limbs,
    scale: float,
) -> Image.Image:
    """Return a copy with true points as green rings, predicted ones as orange discs, limbs as lines.

    Args:
        image: the picture, already scaled.
        truth: a (P, 3) array an object: x, y in pixels before scaling; not drawn where the third is 0.
        predicted: the same of what was predicted.
        limbs: pairs of points that are joined by a line.
        scale: what `image` was scaled by.
    """
    canvas = image.copy()
    pen = ImageDraw.Draw(canvas)
    for poses, color, solid in ((truth, TRUTH_RGB, False), (predicted, PREDICTION_RGB, True)):
        for pose in poses:
            _draw(pen, np.asarray(pose, np.float64), limbs, scale, color, solid)
    return canvas


def _draw(
    pen: ImageDraw.ImageDraw, pose: np.ndarray, limbs: Limbs, scale: float, color: RGB, solid: bool
) -> None:
    places, shown = (pose[:, :2] + 0.5) * scale, pose[:, 2] > 0
    for one, other in limbs:
        if shown[one] and shown[other]:
            pen.line([tuple(places[one]), tuple(places[other])], fill=color, width=2)
    for x, y in places[shown]:
        r = 3 if solid else 5
        pen.ellipse(
            (x - r, y - r, x + r, y + r), fill=color if solid else None, outline=(15, 15, 15), width=1
        )
        if not solid:
            pen.ellipse((x - r + 1, y - r + 1, x + r - 1, y + r - 1), outline=color, width=2)


def point_errors(details: Mapping[str, Any]) -> go.Figure:
    """Draw the mean error of each point.

    Args:
        details: what the scoring of landmarks gives: `per_point` with `name`, `n`, `mean_error` in %.
    """
    rows = details["per_point"]
    known = [row["mean_error"] for row in rows if row["mean_error"] is not None]
    names = [f"{row['name']} ({row['n']:,})" for row in rows]
    mean = sum(known) / len(known) if known else None
    values = [row["mean_error"] for row in rows]
    return ranked_bars(
        names,
        values,
        "Error per point",
        "mean error, % of the image's side",
        "in brackets: known points",
        mean,
    )
