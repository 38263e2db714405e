"""Looking at image files before anything trusts them: size, mode, true format, content hash, defects."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from rich.console import Console
from rich.progress import track

from cv_pipelines.data.schema import Categories, Quarantine
from cv_pipelines.errors import BadSampleError

SUFFIX_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".pgm": "PPM", ".bmp": "BMP"}
WORKERS = 4


@dataclass(frozen=True)
class ImageInfo:
    """A decodable image file: size in pixels, PIL mode, true format, hex digest of its bytes."""

    path: str
    width: int
    height: int
    mode: str
    format: str
    content_hash: str


def content_hash(data: bytes) -> str:
    """Return the 128-bit BLAKE2b digest of `data` as 32 hex characters."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def inspect_image(root: Path, path: str) -> ImageInfo:
    """Decode one file wholly and say what it is.

    Args:
        root: folder of the source.
        path: the file, relative to `root`.

    Raises:
        BadSampleError: "missing file", "unreadable file" (a folder, no permission), "empty file", "not an
            image" or "truncated image".
    """
    try:
        data = (root / path).read_bytes()
    except FileNotFoundError:
        raise BadSampleError("missing file", f"expected an image at {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name, as in lists that a crash left
        raise BadSampleError("unreadable file", getattr(error, "strerror", None) or str(error)) from None
    if not data:
        raise BadSampleError("empty file", "0 bytes")
    try:
        with Image.open(BytesIO(data)) as image:
            kind = image.format or ""
            image.load()
            width, height, mode = image.width, image.height, image.mode
    except UnidentifiedImageError:
        raise BadSampleError("not an image", f"first bytes {data[:8].hex()}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadSampleError("truncated image", str(error)) from None
    return ImageInfo(path, width, height, mode, kind, content_hash(data))


def scan_images(root: Path, paths: Iterable[str], quarantine: Quarantine) -> dict[str, ImageInfo]:
    """Inspect many files in threads (decoding releases the GIL).

    Unusable files get a `dropped` row and are missing from the result. Files in another colour mode (CMYK,
    grey) or with a suffix that belies their format stay, with a `repaired` row: they are read as RGB by
    content.
    """
    wanted = list(paths)
    found: dict[str, ImageInfo] = {}
    with ThreadPoolExecutor(WORKERS) as pool:
        results = pool.map(lambda path: _attempt(root, path), wanted)
        shown = track(
            zip(wanted, results, strict=True),
            "Inspecting images",
            total=len(wanted),
            transient=True,
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        for path, result in shown:
            if isinstance(result, BadSampleError):
                quarantine.drop(path, result.reason, result.detail)
                continue
            found[path] = result
            _note_oddities(result, quarantine)
    return found


def _attempt(root: Path, path: str) -> ImageInfo | BadSampleError:
    try:
        return inspect_image(root, path)
    except BadSampleError as error:
        return error


def _note_oddities(info: ImageInfo, quarantine: Quarantine) -> None:
    expected = SUFFIX_FORMATS.get(Path(info.path).suffix.lower())
    if expected and info.format != expected:
        quarantine.repair(
            info.path, "mislabelled format", f"{info.format} data, read by content; expected {expected}"
        )
    if info.mode not in {"RGB", "RGBA", "P"} and expected != "PPM":
        name = {"L": "grey-scale image", "CMYK": "CMYK image"}.get(info.mode, "unusual colour mode")
        quarantine.repair(info.path, name, f"mode {info.mode}, converted to RGB when read")


def read_rgb(path: Path) -> np.ndarray:
    """Read an image file as (H, W, 3) uint8 RGB, whatever its mode."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def read_mask(path: Path, categories: Categories) -> np.ndarray:
    """Read a mask file as (H, W) uint8 class indices through `categories.mask_lookup`.

    Grey and palette files are looked up by value, RGB files by colour.

    Raises:
        BadSampleError: "unknown mask value", naming the values that are no key of the lookup.
    """
    with Image.open(path) as image:
        raw = np.asarray(image if image.mode in {"L", "P"} else image.convert("RGB"))
    colored = any("," in key for key in categories.mask_lookup)
    if colored:
        raw = raw if raw.ndim == 3 else np.repeat(raw[..., None], 3, axis=2)
        codes = (raw[..., 0].astype(np.uint32) << 16) | (raw[..., 1].astype(np.uint32) << 8) | raw[..., 2]
    elif raw.ndim == 3:
        raise BadSampleError("unknown mask value", "a colour image; expected class indices")
    else:
        codes = raw
    table = _mask_table(tuple(categories.mask_lookup.items()))
    classes = table[codes]
    if (classes < 0).any():
        unknown = np.unique(codes[classes < 0])[:5].tolist()
        shown = [f"{v >> 16},{v >> 8 & 255},{v & 255}" if colored else str(v) for v in unknown]
        known = len(categories.mask_lookup)
        raise BadSampleError("unknown mask value", f"{' | '.join(shown)} not among {known} known values")
    return classes.astype(np.uint8)


@lru_cache(maxsize=4)
def _mask_table(lookup: tuple[tuple[str, int], ...]) -> np.ndarray:
    """Tabulate a lookup by pixel code: (256,) or, for colours, (2^24,) int16, -1 where unknown."""
    codes = {_code(key): value for key, value in lookup}
    table = np.full(1 << 24 if max(codes, default=0) > 255 else 256, -1, dtype=np.int16)
    for code, value in codes.items():
        table[code] = value
    return table


def _code(key: str) -> int:
    parts = [int(part) for part in key.split(",")]
    return parts[0] if len(parts) == 1 else parts[0] << 16 | parts[1] << 8 | parts[2]


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
