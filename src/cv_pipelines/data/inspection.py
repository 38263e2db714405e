"""Looking at image files before anything trusts them: size, mode, true format, content hash, defects."""

from __future__ import annotations

import hashlib
import os
import stat
from array import array
from collections.abc import Iterable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from cv_pipelines.data.parallel import in_parallel
from cv_pipelines.data.schema import Quarantine
from cv_pipelines.errors import BadSampleError

SUFFIX_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".pgm": "PPM", ".bmp": "BMP"}

ODD_MODES = {"L": "grey-scale image", "CMYK": "CMYK image"}


class ImageInfo(NamedTuple):
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
        BadSampleError: "missing file", "unreadable file" (a folder, a pipe, no permission), "empty file",
            "not an image", "truncated image" or "too many pixels".
    """
    data = read_file(root, path)
    try:
        with Image.open(BytesIO(data)) as image:
            kind = image.format or ""
            image.load()
            width, height, mode = image.width, image.height, image.mode
    except UnidentifiedImageError:
        raise BadSampleError("not an image", f"first bytes {data[:8].hex()}") from None
    except Image.DecompressionBombError as error:
        raise BadSampleError("too many pixels", str(error)) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise BadSampleError("truncated image", str(error)) from None
    return ImageInfo(path, width, height, mode, kind, content_hash(data))


def read_file(root: Path, path: str) -> bytes:
    """Read a regular file that is not empty.

    Raises:
        BadSampleError: "missing file", "unreadable file" or "empty file".
    """
    try:
        path.encode()  # a name that is no text can stand in no table
        descriptor = os.open(os.path.join(root, path), os.O_RDONLY | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # reading a pipe might wait for ever
                raise BadSampleError("unreadable file", "not a regular file")
            with open(descriptor, "rb", buffering=0, closefd=False) as file:
                data = file.readall()
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise BadSampleError("missing file", f"expected a file at {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name, as in lists that a crash left
        raise BadSampleError("unreadable file", getattr(error, "strerror", None) or str(error)) from None
    if not data:
        raise BadSampleError("empty file", "0 bytes")
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
    grey) or with a suffix that belies their format stay, with a `repaired` row: they are read as RGB by
    content.
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
    results = in_parallel(partial(_attempt, root), paths, "Inspecting images")
    for path, result in zip(paths, results, strict=True):
        if isinstance(result, BadSampleError):
            quarantine.drop(path, result.reason, result.detail)
            yield None
        else:
            _note_oddities(result, quarantine)
            yield result


def _attempt(root: Path, path: str) -> ImageInfo | BadSampleError:
    try:
        return inspect_image(root, path)
    except BadSampleError as error:
        return error


def _note_oddities(info: ImageInfo, quarantine: Quarantine) -> None:
    expected = SUFFIX_FORMATS.get(os.path.splitext(info.path)[1].lower())
    if expected and info.format != expected:
        quarantine.repair(
            info.path, "mislabelled format", f"{info.format} data, read by content; expected {expected}"
        )
    if info.mode not in {"RGB", "RGBA", "P"} and expected != "PPM":
        name = ODD_MODES.get(info.mode, "unusual colour mode")
        quarantine.repair(info.path, name, f"mode {info.mode}, converted to RGB when read")


def image_columns(infos: Iterable[ImageInfo]) -> dict[str, list[Any]]:
    """Return the columns of `samples` that the files themselves give: media, width, height, content_hash."""
    listed = list(infos)
    return {
        "media": [info.path for info in listed],
        "width": [info.width for info in listed],
        "height": [info.height for info in listed],
        "content_hash": [info.content_hash for info in listed],
    }
