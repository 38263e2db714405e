"""Reading image and mask files as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from cv_pipelines.data.inspection import DEEP_MODES, ImageInfo, examine, inspect_image
from cv_pipelines.data.jpeg import decode_jpeg
from cv_pipelines.data.parallel import in_parallel
from cv_pipelines.data.schema import Categories
from cv_pipelines.errors import BadSampleError


def read_rgb(path: Path) -> np.ndarray:
    """Read an image file as (H, W, 3) uint8 RGB, whatever its mode; EXIF does not turn it."""
    data = path.read_bytes()
    pixels = decode_jpeg(data)
    if pixels is not None:
        return pixels
    with Image.open(BytesIO(data)) as image:
        return np.asarray(as_rgb(image))


def decode_rgb(path: str, data: bytes) -> tuple[ImageInfo, np.ndarray]:
    """Decode the bytes of an image file once, to judge and to use it.

    Args:
        path: what the file is called.
        data: its bytes.

    Returns:
        What it is, and its pixels as `read_rgb` gives them.

    Raises:
        BadSampleError: as `inspect_image`.
    """
    info, decoded = examine(path, data)
    return info, decoded if isinstance(decoded, np.ndarray) else np.asarray(as_rgb(decoded))


def as_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode that `inspect_image` lets pass to RGB of 8 bits.

    Pillow cuts 16-bit grey off at 255 instead of scaling 0..65535 to 0..255.
    """
    if image.mode in DEEP_MODES:
        values = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    return image.convert("RGB")


def read_mask(path: Path, categories: Categories) -> np.ndarray:
    """Read a mask file as (H, W) uint8 class indices through `categories.mask_lookup`.

    Grey and palette files are looked up by value, RGB files by colour.

    Raises:
        BadSampleError: "unknown mask value", naming the values that are no key of the lookup, or that the
            file has 16 bits.
    """
    with Image.open(path) as image:
        if image.mode in DEEP_MODES:
            raise BadSampleError("unknown mask value", f"a 16-bit image, mode {image.mode}; expected 8 bits")
        raw = np.asarray(image if image.mode in {"L", "P"} else image.convert("RGB"))
    colored = any("," in key for key in categories.mask_lookup)
    if colored:
        raw = raw if raw.ndim == 3 else np.repeat(raw[..., None], 3, axis=2)
        codes = (raw[..., 0].astype(np.uint32) << 16) | (raw[..., 1].astype(np.uint32) << 8) | raw[..., 2]
    elif raw.ndim == 3:
        raise BadSampleError("unknown mask value", "a colour image; expected class indices")
    else:
        codes = raw
    known, values = _mask_table(tuple(categories.mask_lookup.items()))
    slots = codes % np.uint32(len(known))
    missing = known[slots] != codes
    if missing.any():
        unknown = np.unique(codes[missing])[:5].tolist()
        shown = [f"{v >> 16},{v >> 8 & 255},{v & 255}" if colored else str(v) for v in unknown]
        among = f"not among {len(categories.mask_lookup)} known values"
        raise BadSampleError("unknown mask value", f"{' | '.join(shown)} {among}")
    return values[slots]


@lru_cache(maxsize=4)
def _mask_table(lookup: tuple[tuple[str, int], ...]) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate a lookup by pixel code modulo the smallest size that keeps all its codes apart.

    A table by the code itself would take 32 MB for colours.

    Returns:
        The code that each slot stands for, uint32 (2^32 − 1, which no pixel has, where for none), and its
        class, uint8.
    """
    codes = np.array([_code(key) for key, _ in lookup], dtype=np.uint32)
    distinct = len(np.unique(codes))
    size = next(size for size in count(max(distinct, 1)) if len(np.unique(codes % size)) == distinct)
    known, values = np.full(size, np.iinfo(np.uint32).max, dtype=np.uint32), np.zeros(size, dtype=np.uint8)
    known[codes % size] = codes
    values[codes % size] = [value for _, value in lookup]
    return known, values


def _code(key: str) -> int:
    parts = [int(part) for part in key.split(",")]
    return parts[0] if len(parts) == 1 else parts[0] << 16 | parts[1] << 8 | parts[2]


MaskFile: TypeAlias = tuple[str, tuple[int, int]]
"""A mask file, relative to the source's root, and the (width, height) of its image."""


def scan_masks(
    root: Path, masks: Sequence[MaskFile], categories: Categories
) -> Iterator[BadSampleError | None]:
    """Check many masks, in parallel; yields what is wrong with each, or None; see `check_mask`."""
    return in_parallel(partial(_mask_defect, root, categories), masks, "Inspecting masks")


def _mask_defect(root: Path, categories: Categories, mask: MaskFile) -> BadSampleError | None:
    try:
        check_mask(root, *mask, categories)
    except BadSampleError as error:
        return error
    return None


def check_mask(root: Path, path: str, size: tuple[int, int], categories: Categories) -> None:
    """Check that a mask file is readable, of its image's size and of known values only.

    Args:
        root: folder of the source.
        path: the mask file, relative to `root`.
        size: (width, height) of the image.
        categories: whose `mask_lookup` holds the known values.

    Raises:
        BadSampleError: as `inspect_image`, "mask of another size", or "unknown mask value".
    """
    info = inspect_image(root, path)
    if (info.width, info.height) != size:
        raise BadSampleError(
            "mask of another size", f"{info.width}×{info.height}; expected {size[0]}×{size[1]}"
        )
    read_mask(root / path, categories)
