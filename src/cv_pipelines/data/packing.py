"""A packed cache of decoded images and masks: after the first epoch no file is decoded again.

An entry is a folder named by a digest of what it holds (the content of each file, in order) and how (the side
that images are scaled to, the classes of masks). So experiments that read the same files share it, and a
change of either makes another.

    <folder>/<key>/pixels.bin    one after the other, (H, W, 3) or (H, W) uint8
    <folder>/<key>/index.npy     (N, 3) int64: where each begins in bytes, height, width

An entry appears whole or not at all, and two runs that want the same one wait for each other.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from cv_pipelines.config import Cache
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.images import read_mask, read_rgb
from cv_pipelines.data.parallel import in_parallel
from cv_pipelines.data.schema import Categories
from cv_pipelines.errors import CacheError

PIXELS, INDEX = "pixels.bin", "index.npy"
GIGABYTE = 10**9

HELD = 512
"""Decoded images that may wait for being written: half a gigabyte of VGA size."""


@dataclass(frozen=True)
class Packed:
    """Decoded images or masks in one memory-mapped file; a row is an array of its own size.

    Attributes:
        entry: folder of the files.
        channels: 3 for RGB images, None for masks.
        pixels: all bytes, one image after the other.
        index: (N, 3) int64: where each begins, height, width.
    """

    entry: Path
    channels: int | None
    pixels: np.ndarray
    index: np.ndarray

    @classmethod
    def open(cls, entry: Path, channels: int | None) -> Packed:
        """Map an entry of the cache; tensors may view it, and what is written to one reaches no file."""
        size = (entry / PIXELS).stat().st_size
        pixels = np.memmap(entry / PIXELS, np.uint8, "c") if size else np.empty(0, np.uint8)
        return cls(entry, channels, pixels, np.load(entry / INDEX))

    def __reduce__(self) -> Any:
        """Travel to a loader worker by name: pickling the arrays would copy them."""
        return Packed.open, (self.entry, self.channels)

    @property
    def ndim(self) -> int:
        """As if it were one array: 4 for images, 3 for masks."""
        return 3 if self.channels is None else 4

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int) -> np.ndarray:
        """Return (H, W, 3) or (H, W) uint8 without a copy: not to be written to."""
        start, height, width = self.index[row].tolist()
        shape = (height, width) if self.channels is None else (height, width, self.channels)
        end = start + height * width * (self.channels or 1)
        image: np.ndarray = self.pixels[start:end].reshape(shape)
        return image


def packed(data: SourceData, splits: Sequence[str], cache: Cache, folder: Path, *, masks: bool) -> SourceData:
    """Return a source whose samples of some splits are read from the cache; it is filled first if need be.

    Args:
        data: the source; one that is packed arrays already is returned as it is.
        splits: whose images are packed.
        cache: side and bound.
        folder: of the cache, shared by the experiments of the source.
        masks: whether to pack the target masks too; samples without one are then left out.

    Raises:
        CacheError: the images would take more than the cache's bound or than there is room on the disk.
    """
    if data.arrays:
        return data
    rows = data.samples["split"].isin(splits).to_numpy()
    rows = rows & data.samples["target"].notna().to_numpy() if masks else rows
    chosen = data.samples[rows]
    limit = round(cache.gigabytes * GIGABYTE)
    _check_room(_bytes_of(chosen["width"], chosen["height"], cache.side, 4 if masks else 3), limit, folder)
    root = Path(data.root or ".")
    media, hashes = chosen["media"].tolist(), chosen["content_hash"].tolist()
    arrays: dict[str, Any] = {"images": pack(folder, root, media, hashes, side=cache.side, limit=limit)}
    if masks:
        targets = chosen["target"].tolist()
        stamps = [_stamp(root / target) for target in targets]
        arrays["masks"] = pack(folder, root, targets, stamps, categories=data.categories, limit=limit)
    row = np.full(len(data.samples), -1)
    row[rows] = np.arange(len(chosen))
    return replace(data, samples=data.samples.assign(row=row), arrays=arrays)


def pack(
    folder: Path,
    root: Path,
    files: Sequence[str],
    contents: Sequence[str],
    *,
    limit: int,
    side: int | None = None,
    categories: Categories | None = None,
) -> Packed:
    """Open the entry of some images or masks; decode and write them if it is not there.

    Args:
        folder: of the cache.
        root: folder of the source.
        files: relative to `root`.
        contents: what stands for the content of each, in the same order.
        limit: bytes that the cache may take; entries that were not used for longest go first.
        side: the shorter side in pixels that larger images are scaled down to; None keeps them.
        categories: how masks are read; None for images.
    """
    lookup = None if categories is None else categories.mask_lookup
    key = _key({"side": side, "lookup": lookup, "form": 2}, contents)
    draw = partial(_image, root, side) if categories is None else partial(_mask, root, categories)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{key}.lock"):
        entry = folder / key
        if not entry.is_dir():
            _write(entry, in_parallel(draw, files, "Packing images", held=HELD), len(files))
        os.utime(entry)
        _evict(folder, key, limit)
        return Packed.open(entry, 3 if categories is None else None)


def _bytes_of(width: Any, height: Any, side: int | None, channels: int) -> int:
    """Return what images will take: the sum over their sizes in pixels, scaled down to `side`."""
    area = width.to_numpy(np.float64) * height.to_numpy(np.float64)
    if side is not None:
        area = area * np.minimum(side / np.minimum(width, height).to_numpy(np.float64), 1) ** 2
    return int(area.sum()) * channels


def _check_room(needed: int, limit: int, folder: Path) -> None:
    takes = f"the images take {needed / GIGABYTE:.3g} GB decoded"
    if needed > limit:
        raise CacheError(
            f"{takes}; cache.gigabytes allows {limit / GIGABYTE:g}: raise it, "
            "set a smaller cache.side, or do without the cache"
        )
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(there).free + sum(_size(entry) for entry in _entries(folder))
    if needed > free:
        raise CacheError(f"{takes}; there is room for {free / GIGABYTE:.3g} GB in {there}")


def _stamp(path: Path) -> str:
    """Return what stands for the content of a mask: its path, size and time of change."""
    status = path.stat()
    return f"{path}\0{status.st_size}\0{status.st_mtime_ns}"


def _key(form: dict[str, Any], contents: Iterable[str]) -> str:
    digest = hashlib.blake2b(json.dumps(form, sort_keys=True).encode(), digest_size=16)
    for content in contents:
        digest.update(content.encode() + b"\0")
    return digest.hexdigest()


def _write(entry: Path, images: Iterable[np.ndarray], count: int) -> None:
    fresh = entry.with_name(entry.name + ".writing")
    shutil.rmtree(fresh, ignore_errors=True)  # what a kill left behind; the lock says that nobody writes it
    fresh.mkdir()
    index, start = np.empty((count, 3), np.int64), 0
    with (fresh / PIXELS).open("wb") as file:
        for row, image in enumerate(images):
            index[row] = start, *image.shape[:2]
            start += file.write(image.tobytes())
        file.flush()
        os.fsync(file.fileno())
    np.save(fresh / INDEX, index)
    fresh.rename(entry)


def _image(root: Path, side: int | None, file: str) -> np.ndarray:
    """Decode one image, scaled so that its shorter side is at most `side`."""
    pixels = read_rgb(root / file)
    if side is None or min(pixels.shape[:2]) <= side:
        return pixels
    image = Image.fromarray(pixels)
    factor = side / min(image.size)
    size = (max(round(image.width * factor), 1), max(round(image.height * factor), 1))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def _mask(root: Path, categories: Categories, file: str) -> np.ndarray:
    return read_mask(root / file, categories)


def _evict(folder: Path, kept: str, limit: int) -> None:
    """Remove entries, longest unused first, until the cache fits; readers keep what they have mapped."""
    sizes = {entry: _size(entry) for entry in _entries(folder)}
    total = sum(sizes.values())
    for entry, size in sizes.items():
        if total <= limit:
            return
        if entry.name != kept and not entry.name.endswith(".writing"):
            shutil.rmtree(entry, ignore_errors=True)
            total -= size


def _entries(folder: Path) -> list[Path]:
    """Return the entries of a cache, the one that was used least lately first."""
    found = [path for path in folder.glob("*") if path.is_dir()]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _size(entry: Path) -> int:
    return sum(file.stat().st_size for file in entry.glob("*"))
