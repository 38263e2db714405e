"""Small images as PNG bytes, the form in which masks and pictures lie in a predictions table."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image


def encode_png(image: np.ndarray) -> bytes:
    """Pack an (H, W) or (H, W, 3) uint8 array losslessly."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def decode_png(data: bytes) -> np.ndarray:
    """Unpack what `encode_png` packed, with the same shape and dtype."""
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image)
