"""Looking at image files before anything trusts them: size, mode, true format, content hash, defects."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeGuard

import numpy as np
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from cv_pipelines.data.jpeg import decode_jpeg, jpeg_size
from cv_pipelines.data.parallel import in_parallel
from cv_pipelines.data.schema import Quarantine
from cv_pipelines.errors import BadSampleError

SUFFIX_FORMATS = {
    **{".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".gif": "GIF", ".webp": "WEBP"},
    **{".pgm": "PPM", ".ppm": "PPM", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"},
}

ODD_MODES = {"L": "grey-scale image", "CMYK": "CMYK image"}

DEEP_MODES = {"I", "I;16", "I;16L", "I;16B", "I;16N"}
"""Modes of grey images of 16 bits; "I" may hold more, which `inspect_image` refuses."""

ORIENTATION = 0x0112
"""The EXIF tag that says how a viewer is to turn the picture: 1 not at all, 2 to 8 turned or mirrored."""


class ImageInfo(NamedTuple):
    """A decodable image file: stored size in pixels, PIL mode, true format, hex digest of its bytes.

    `deep` says that a channel has 16 bits; `orientation` is EXIF's, 1 to 8.
    """

    path: str
    width: int
    height: int
    mode: str
    format: str
    content_hash: str
    deep: bool = False
    orientation: int = 1


def content_hash(data: bytes) -> str:
    """Return the 128-bit BLAKE2b digest of `data` as 32 hex characters."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def inspect_image(root: Path, path: str) -> ImageInfo:
    """Decode one file wholly and say what it is.

    Args:
        root: folder of the source.
        path: the file, relative to `root`.

    Raises:
        BadSampleError: "missing file", "unreadable file" (a folder, a pipe, no permission), "empty file",
            "not an image", "truncated image", "too many pixels" or "unknown range of values" (an image of
            floats, or of integers beyond 16 bits).
    """
    return examine(path, read_file(root, path))[0]


def examine(path: str, data: bytes) -> tuple[ImageInfo, Image.Image | np.ndarray]:
    """Decode the bytes of an image file wholly; say what it is, and give what was decoded.

    Args:
        path: what the file is called.
        data: its bytes.

    Returns:
        What it is, and its pixels: (H, W, 3) uint8 of most JPEGs, Pillow's image of any mode of all others.

    Raises:
        BadSampleError: as `inspect_image`.
    """
    decoded: Image.Image | np.ndarray | None
    try:
        with Image.open(BytesIO(data)) as image:
            kind = image.format or ""
            deep = image.mode in DEEP_MODES or _is_deep_png(kind, data)
            decoded = decode_jpeg(data)
            if decoded is None:  # Pillow is slower, and forgives more
                image.load()
                decoded = image
            width, height, mode = image.width, image.height, image.mode
            turned = orientation(image)
            if mode in {"I", "F"}:
                _check_range(image)
    except UnidentifiedImageError:
        raise BadSampleError("not an image", f"first bytes {data[:8].hex()}") from None
    except Image.DecompressionBombError as error:
        raise BadSampleError("too many pixels", str(error)) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise BadSampleError("truncated image", str(error)) from None
    # Phones write several pictures into one JPEG file, of which the first counts; Pillow calls that MPO.
    kind = "JPEG" if kind == "MPO" else kind
    return ImageInfo(path, width, height, mode, kind, content_hash(data), deep, turned), decoded


def _is_deep_png(kind: str, data: bytes) -> bool:
    """Whether a PNG has channels of 16 bits, which Pillow gives as 8 where there is more than one."""
    return kind == "PNG" and data[24:25] == b"\x10"


def _check_range(image: Image.Image) -> None:
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode == "F" or low < 0 or high > 65535:
        detail = f"mode {image.mode}, values {low} to {high}; expected integers of at most 16 bits"
        raise BadSampleError("unknown range of values", detail)


def orientation(image: Image.Image) -> int:
    """Return EXIF's orientation, 1 (upright) to 8; 1 where there is none, or none that can be read."""
    if "exif" not in image.info:
        return 1
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error):  # EXIF may be garbage
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


@contextmanager
def checking(check: Literal["decode", "headers"]) -> Iterator[None]:
    """Inspect images within this context wholly, or by their headers alone."""
    token = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(token)


_CHECK: ContextVar[str] = ContextVar("check", default="decode")


def look_at_header(root: Path, path: str) -> ImageInfo:
    """Say what one file is without decoding it: JPEGs by their headers, all else by `inspect_image`.

    Colour mode, orientation and defects behind the header stay unknown, and what stands for the content is
    the path, the size in bytes and the time of change.
    """
    try:
        size, status = jpeg_size(f"{root}/{path}"), os.stat(f"{root}/{path}")
    except (OSError, ValueError):
        size = None
    if size is None or 0 in size:
        return inspect_image(root, path)
    stamp = f"{path}\0{status.st_size}\0{status.st_mtime_ns}"
    return ImageInfo(path, *size, "RGB", "JPEG", content_hash(stamp.encode()))


def read_file(root: Path, path: str) -> bytes:
    """Read a regular file that is not empty.

    Raises:
        BadSampleError: "missing file", "unreadable file" or "empty file".
    """
    try:
        path.encode()  # a name that is no text can stand in no table
        descriptor = os.open(f"{root}/{path}", os.O_RDONLY | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):  # reading a pipe might wait for ever
                raise BadSampleError("unreadable file", "not a regular file")
            data = _read_all(descriptor, status.st_size)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise BadSampleError("missing file", f"expected a file at {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name, as in lists that a crash left
        raise BadSampleError("unreadable file", getattr(error, "strerror", None) or str(error)) from None
    if not data:
        raise BadSampleError("empty file", "0 bytes")
    return data


def _read_all(descriptor: int, size: int) -> bytes:
    data = os.read(descriptor, size)
    while len(data) < size:  # beyond two gigabytes, and where a signal interrupts
        more = os.read(descriptor, size - len(data))
        if not more:
            break
        data += more
    return data


class Inspected(NamedTuple):
    """The usable ones among many files, packed: a value a file in each column.

    Attributes:
        row: (N,) int64: which of the files asked for, in order.
        width: (N,) int64, in pixels.
        height: (N,) int64, in pixels.
        content_hash: N hex digests.
    """

    row: np.ndarray
    width: np.ndarray
    height: np.ndarray
    content_hash: pa.Array


def is_text(value: Any) -> TypeGuard[str]:
    """Whether a value is text that can be saved: names on disk and in JSON may hold halves of characters."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def scan_images(root: Path, paths: Iterable[str], quarantine: Quarantine) -> dict[str, ImageInfo]:
    """Inspect many files, in parallel.

    Unusable files get a `dropped` row and are missing from the result. Files in another colour mode (CMYK,
    grey), of 16 bits or with a suffix that belies their format stay, with a `repaired` row: they are read by
    content as RGB of 8 bits. Files that EXIF says to turn stay as they are stored, for that is what boxes
    and masks refer to, with a `noted` row.
    """
    return {info.path: info for info in _inspect_all(root, list(paths), quarantine) if info}


def scan_columns(root: Path, paths: pa.ChunkedArray, quarantine: Quarantine) -> Inspected:
    """Inspect many files as `scan_images` does, without an object a file in what is returned."""
    numbers, hashes = array("q"), []
    for row, info in enumerate(_inspect_all(root, paths.to_pylist(), quarantine)):
        if info:
            numbers.extend((row, info.width, info.height))
            hashes.append(info.content_hash)
    rows, widths, heights = np.frombuffer(numbers, np.int64).reshape(-1, 3).T
    return Inspected(rows, widths, heights, pa.array(hashes, pa.large_string()))


def _inspect_all(root: Path, paths: list[str], quarantine: Quarantine) -> Iterator[ImageInfo | None]:
    """Inspect files in parallel and record their defects; None for those that cannot be used."""
    inspect = look_at_header if _CHECK.get() == "headers" else inspect_image
    results = in_parallel(partial(_attempt, inspect, root), paths, "Inspecting images")
    for path, result in zip(paths, results, strict=True):
        if isinstance(result, BadSampleError):
            quarantine.drop(path, result.reason, result.detail)
            yield None
        else:
            note_oddities(result, quarantine)
            yield result


def _attempt(inspect: Callable[[Path, str], ImageInfo], root: Path, path: str) -> ImageInfo | BadSampleError:
    try:
        return inspect(root, path)
    except BadSampleError as error:
        return error


def note_oddities(info: ImageInfo, quarantine: Quarantine) -> None:
    """Record what is unusual about an image that is used: format, colours, depth, orientation."""
    expected = SUFFIX_FORMATS.get(os.path.splitext(info.path)[1].lower())
    if expected and info.format != expected:
        quarantine.repair(
            info.path, "mislabelled format", f"{info.format} data, read by content; expected {expected}"
        )
    if info.deep:
        quarantine.repair(info.path, "16-bit image", f"mode {info.mode}, scaled to 8 bits when read")
    elif info.mode not in {"RGB", "RGBA", "P"} and expected != "PPM":
        name = ODD_MODES.get(info.mode, "unusual colour mode")
        quarantine.repair(info.path, name, f"mode {info.mode}, converted to RGB when read")
    if info.orientation != 1:
        detail = f"orientation {info.orientation}; read as stored, {info.width}×{info.height}, not turned"
        quarantine.note(info.path, "EXIF-rotated image", detail)


def image_columns(infos: Iterable[ImageInfo]) -> dict[str, list[Any]]:
    """Return the columns of `samples` that the files themselves give: media, width, height, content_hash."""
    listed = list(infos)
    return {
        "media": [info.path for info in listed],
        "width": [info.width for info in listed],
        "height": [info.height for info in listed],
        "content_hash": [info.content_hash for info in listed],
    }
