"""Packed images and masks: PNG bytes in predictions, COCO's polygons and run lengths in annotations."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask


def encode_png(image: np.ndarray) -> bytes:
    """Pack an (H, W) or (H, W, 3) uint8 array losslessly."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def decode_png(data: bytes) -> np.ndarray:
    """Unpack what `encode_png` packed, with the same shape and dtype."""
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image)


def encode_segmentation(mask: np.ndarray) -> str:
    """Pack an (H, W) mask, of which what is not 0 counts, as JSON of COCO's compressed run lengths."""
    packed = coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8))
    return json.dumps({"size": list(mask.shape), "counts": packed["counts"].decode("ascii")})


def decode_segmentation(text: str, height: int, width: int) -> np.ndarray:
    """Draw an object of `annotations.segmentation` as an (H, W) uint8 mask of 0 and 1.

    Args:
        text: polygons or run lengths (plain or compressed) as JSON, in COCO's form.
        height: of the image, in pixels.
        width: of the image, in pixels.
    """
    shape: Any = json.loads(text)
    packed = isinstance(shape, dict) and isinstance(shape["counts"], str)
    runs = shape if packed else coco_mask.frPyObjects(shape, height, width)
    return np.asarray(coco_mask.decode(coco_mask.merge(runs) if isinstance(runs, list) else runs))
