"""Figures of generative models: sheets of samples, originals against reconstructions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from cv_pipelines.plots.grid import Cell, picture_grid
from cv_pipelines.plots.rasters import SMALL_SIDE, display_scale, picture, resized, tile
from cv_pipelines.plots.theme import no_data

SHOWN = 100
"""Images that one sheet shows at most."""


def sample_grid(images: Sequence[np.ndarray], columns: int = 10, title: str = "Samples") -> go.Figure:
    """Draw images as one sheet; beyond `SHOWN` the first ones, and the subtitle says so.

    Args:
        images: (H, W) or (H, W, 3) uint8 each.
        columns: images a row.
        title: plain text.
    """
    if not len(images):
        return no_data(title, "no image was given")
    shown = [_enlarged(images[i], columns) for i in range(min(len(images), SHOWN))]
    note = f"{len(shown)} of {len(images):,}" if len(images) > len(shown) else ""
    return picture_grid([Cell(tile(shown, columns), lossless=_small(images[0]))], 1, title, note)


def reconstruction_pairs(
    originals: Sequence[np.ndarray],
    reconstructions: Sequence[np.ndarray],
    columns: int = 10,
    title: str = "Originals and reconstructions",
) -> go.Figure:
    """Draw every original above its reconstruction.

    Args:
        originals: (H, W) or (H, W, 3) uint8 each.
        reconstructions: as many, in the same order.
        columns: pairs a row.
        title: plain text.

    Raises:
        ValueError: there are not as many reconstructions as originals.
    """
    if len(originals) != len(reconstructions):
        raise ValueError(f"{len(originals)} originals but {len(reconstructions)} reconstructions")
    if not len(originals):
        return no_data(title, "no image was given")
    count = min(len(originals), SHOWN // 2)
    pairs = [
        tile([_enlarged(originals[i], columns), _enlarged(reconstructions[i], columns)], columns=1, gap=2)
        for i in range(count)
    ]
    note = "above the original, below what the model made of it"
    if count < len(originals):
        note += f" · {count} of {len(originals):,}"
    return picture_grid([Cell(tile(pairs, columns, gap=10), lossless=_small(originals[0]))], 1, title, note)


def _enlarged(image: np.ndarray, columns: int) -> Image.Image:
    flat = picture(image)
    return resized(flat, display_scale(flat.size, max(1400 // max(columns, 1), SMALL_SIDE)))


def _small(image: np.ndarray) -> bool:
    return max(image.shape[:2], default=0) <= SMALL_SIDE
