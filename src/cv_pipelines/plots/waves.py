"""Windows of signals as small pictures, for pages that show many of them."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from cv_pipelines.plots.theme import COLORS

SIZE = (480, 300)
GROUND, HEAT = np.array([255, 255, 255]), np.array([250, 190, 60])


def wave_picture(
    signal: np.ndarray, size: tuple[int, int] = SIZE, heat: np.ndarray | None = None
) -> Image.Image:
    """Draw a window: channels that come in threes share a lane; each lane fills its height.

    Args:
        signal: (C, T) float; what is not finite is left out.
        size: width and height in pixels.
        heat: (T',) uint8, how strongly the ground is coloured along the time; None for not at all.
    """
    width, height = size
    ground = np.broadcast_to(GROUND, (height, width, 3)).astype(np.float32)
    if heat is not None:
        along = np.interp(np.linspace(0, 1, width), np.linspace(0, 1, len(heat)), heat / 255.0)
        ground = ground + along[None, :, None] * (HEAT - GROUND)
    image = Image.fromarray(ground.round().astype(np.uint8))
    pen = ImageDraw.Draw(image)
    channels = signal.shape[0]
    lane = 3 if channels % 3 == 0 else 1
    tall = height / (channels / lane)
    times = np.linspace(2, width - 3, signal.shape[1])
    for first in range(0, channels, lane):
        rows = np.asarray(signal[first : first + lane], dtype=np.float64)
        known = rows[np.isfinite(rows)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
        middle = tall * (first // lane + 0.5)
        for order, row in enumerate(rows):
            heights = middle - (row - (low + high) / 2) / ((high - low) or 1.0) * tall * 0.84
            points = [(x, y) for x, y in zip(times, heights, strict=True) if np.isfinite(y)]
            pen.line(points, fill=COLORS[order], width=2)
        pen.line([(0, middle + tall / 2), (width, middle + tall / 2)], fill="#E6EAF0")
    return image
