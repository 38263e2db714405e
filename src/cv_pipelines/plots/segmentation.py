"""Figures of semantic segmentation."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from cv_pipelines.plots.bars import ranked_bars
from cv_pipelines.plots.theme import RGB, css, finite


def iou_bars(
    names: Sequence[str], ious: Sequence[float | None], colors: Sequence[RGB | None] | None = None
) -> go.Figure:
    """Draw the intersection over union of every class and their mean (mIoU).

    Args:
        names: class names.
        ious: 0..1, of one data-set-level confusion matrix; None or NaN for a class that never occurs.
        colors: the source's class colours (RGB, 0..255), as in the mask overlays; one colour if not given.
    """
    known = finite(ious)
    mean = sum(known) / len(known) if known else None
    absent = len(names) - len(known)
    subtitle = f"{absent} of {len(names)} classes neither occur nor are predicted" if absent else ""
    shades = [css(c) if c else "#6B7280" for c in colors] if colors else None
    return ranked_bars(names, ious, "IoU per class", "IoU", subtitle, mean, colors=shades)
