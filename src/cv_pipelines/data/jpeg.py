"""JPEG by libjpeg-turbo: pixels faster than Pillow reads them, and sizes without decoding."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import simplejpeg

FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Second bytes of the markers that begin a frame and tell its size (ITU-T T.81, table B.1)."""

COLORS = {"Gray", "RGB", "YCbCr"}
"""What is turned into RGB as by Pillow; of CMYK libjpeg-turbo makes other colours."""

CHUNK = 2048
"""Bytes read at a time by `jpeg_size`: the size mostly lies in the first ones, else behind a preview."""


def decode_jpeg(data: bytes) -> np.ndarray | None:
    """Decode the bytes of a JPEG as (H, W, 3) uint8 RGB, the same pixels as Pillow's.

    Returns:
        None where the bytes are no JPEG, or one that asks for more leniency or another conversion: CMYK,
        damaged, followed by something else. Pillow is then to judge it.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        _, _, colors, _ = simplejpeg.decode_jpeg_header(data)
        pixels: np.ndarray | None = simplejpeg.decode_jpeg(data, "RGB") if colors in COLORS else None
    except ValueError:
        return None
    return pixels


def jpeg_size(path: Path | str) -> tuple[int, int] | None:
    """Read (width, height) in pixels from the header of a JPEG file; None if there is none to be found.

    Pillow's Image.open parses the metadata too; here only the lengths of the segments before the frame are
    followed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe might wait for ever
    try:
        data, start, at = os.read(descriptor, CHUNK), 0, 2
        if not data.startswith(b"\xff\xd8\xff"):
            return None
        while True:
            if at + 9 > start + len(data):
                data, start = os.pread(descriptor, CHUNK, at), at
            segment = data[at - start : at - start + 9]
            if len(segment) < 9 or segment[0] != 0xFF:
                return None
            if segment[1] in FRAMES:
                return int.from_bytes(segment[7:9], "big"), int.from_bytes(segment[5:7], "big")
            length = int.from_bytes(segment[2:4], "big")
            if length < 2:
                return None
            at += 2 + length
    finally:
        os.close(descriptor)
