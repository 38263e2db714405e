"""A packed cache of decoded images: after the first epoch no JPEG is decoded again.

An entry is a folder named by a digest of what it holds (the content of each image, in order) and how (the
side they are scaled to). So experiments that read the same images share it, and a change of either makes
another.

    <folder>/<key>/pixels.bin    the images one after the other, (H, W, 3) uint8 RGB
    <folder>/<key>/index.npy     (N, 3) int64: where each begins in bytes, height, width

An entry appears whole or not at all, and two runs that want the same one wait for each other.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image

from cv_pipelines.data.images import read_rgb
from cv_pipelines.data.parallel import in_parallel

PIXELS, INDEX = "pixels.bin", "index.npy"


@dataclass(frozen=True)
class Packed:
    """Decoded images in one memory-mapped file.

    Attributes:
        pixels: all bytes, one image after the other.
        index: (N, 3) int64: where each begins, height, width.
    """

    pixels: np.ndarray
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int) -> np.ndarray:
        """Return an image as (H, W, 3) uint8, without a copy."""
        start, height, width = self.index[row].tolist()
        image: np.ndarray = self.pixels[start : start + height * width * 3].reshape(height, width, 3)
        return image


def pack(
    folder: Path, root: Path, media: Sequence[str], hashes: Sequence[str], *, side: int, limit: int
) -> Packed:
    """Open the entry of some images; decode and write them if it is not there.

    Args:
        folder: of the cache.
        root: folder of the source.
        media: the images, relative to `root`.
        hashes: their content hashes, in the same order.
        side: the shorter side in pixels that larger images are scaled down to.
        limit: bytes that the cache may take; entries that were not used for longest go first.
    """
    key = _key(hashes, side)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{key}.lock"):
        entry = folder / key
        if not entry.is_dir():
            _write(entry, root, media, side)
        os.utime(entry)
        _evict(folder, key, limit)
        return _open(entry)


def _key(hashes: Sequence[str], side: int) -> str:
    digest = hashlib.blake2b(json.dumps({"side": side, "form": 1}).encode(), digest_size=16)
    for content in hashes:
        digest.update(content.encode())
    return digest.hexdigest()


def _write(entry: Path, root: Path, media: Sequence[str], side: int) -> None:
    fresh = entry.with_name(entry.name + ".writing")
    shutil.rmtree(fresh, ignore_errors=True)  # what a kill left behind; the lock says that nobody writes it
    fresh.mkdir()
    index, start = np.empty((len(media), 3), np.int64), 0
    with (fresh / PIXELS).open("wb") as file:
        images = in_parallel(partial(_scaled, root, side), media, "Packing images")
        for row, image in enumerate(images):
            index[row] = start, *image.shape[:2]
            start += file.write(image.tobytes())
        file.flush()
        os.fsync(file.fileno())
    np.save(fresh / INDEX, index)
    fresh.rename(entry)


def _scaled(root: Path, side: int, path: str) -> np.ndarray:
    """Decode one image, scaled so that its shorter side is at most `side`."""
    image = Image.fromarray(read_rgb(root / path))
    factor = side / min(image.size)
    if factor < 1:
        size = (max(round(image.width * factor), 1), max(round(image.height * factor), 1))
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=None)
    return np.asarray(image)


def _open(entry: Path) -> Packed:
    index = np.load(entry / INDEX)
    size = (entry / PIXELS).stat().st_size
    pixels = np.memmap(entry / PIXELS, np.uint8, "r") if size else np.empty(0, np.uint8)
    return Packed(pixels, index)


def _evict(folder: Path, kept: str, limit: int) -> None:
    """Remove entries, longest unused first, until the cache fits; readers keep what they have mapped."""
    entries = sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda path: path.stat().st_mtime)
    sizes = {entry: sum(file.stat().st_size for file in entry.iterdir()) for entry in entries}
    total = sum(sizes.values())
    for entry in entries:
        if total <= limit:
            return
        if entry.name != kept and not entry.name.endswith(".writing"):
            shutil.rmtree(entry, ignore_errors=True)
            total -= sizes[entry]
