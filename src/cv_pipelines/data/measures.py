"""What the samples of a source look like in numbers: for its report, its near-duplicates and its drift."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import imagehash
import numpy as np
import pandas as pd
from PIL import Image

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.images import as_rgb
from cv_pipelines.data.parallel import in_parallel

SMALLEST_HASHED = 48
"""Images with a shorter side have no perceptual hash: pictures of that size all look alike to it."""

LEAST_CONTRAST = 4.0
"""Nor have images whose luma deviates less than this: they are blank."""

THUMBNAIL = 64


class Look(NamedTuple):
    """What one image looks like: mean and deviation of its luma (0..255), and its hash or None."""

    brightness: float
    contrast: float
    phash: str | None


def measure(data: SourceData) -> pd.DataFrame:
    """Measure every sample.

    Returns:
        A row a sample, in the order of `data.samples`, with `sample_id`. Images have `brightness` and
        `contrast` (mean and deviation of the luma, 0..255) and `phash`, 16 hex digits: the signs of 64
        low frequencies of a cosine transform, alike for pictures that look alike (Zauner, Implementation
        and Benchmarking of Perceptual Image Hash Functions, 2010, §3.2.1); null for blank and tiny
        images. Signals have `mean_<k>` and `deviation_<k>` of each channel, in its own unit.
    """
    ids = data.samples["sample_id"].reset_index(drop=True)
    if data.kind == "signal":
        return pd.concat([ids, _signal_columns(data)], axis=1)
    if "images" in data.arrays:
        rows = data.samples["row"].tolist()
        looks = in_parallel(partial(_look_of_row, data.arrays["images"]), rows, "Measuring images")
    else:
        media = data.samples["media"].tolist()
        looks = in_parallel(partial(_look_of_file, Path(data.root or ".")), media, "Measuring images")
    return pd.concat([ids, pd.DataFrame(looks, columns=Look._fields)], axis=1)


def _signal_columns(data: SourceData) -> pd.DataFrame:
    windows = data.arrays["signals"]
    rows = data.samples["row"].to_numpy()
    means = np.empty((len(rows), data.channels), np.float32)
    deviations = np.empty_like(means)
    for start in range(0, len(rows), 1024):  # so that a memory-mapped array stays on the disk
        some = np.asarray(windows[rows[start : start + 1024]])
        means[start : start + 1024] = some.mean(axis=2)
        deviations[start : start + 1024] = some.std(axis=2)
    columns = {f"mean_{k}": means[:, k] for k in range(data.channels)}
    return pd.DataFrame(columns | {f"deviation_{k}": deviations[:, k] for k in range(data.channels)})


def _look_of_row(images: np.ndarray, row: int) -> Look:
    return look(Image.fromarray(np.asarray(images[row])))


def _look_of_file(root: Path, media: str) -> Look:
    with Image.open(root / media) as image:
        image.draft("L", (THUMBNAIL, THUMBNAIL))  # JPEGs are decoded at an eighth of their size
        return look(image)


def look(image: Image.Image) -> Look:
    """Measure one image."""
    small = as_rgb(image).convert("L") if image.mode not in {"L", "RGB"} else image.convert("L")
    pixels = np.asarray(small, np.float32)
    brightness, contrast = float(pixels.mean()), float(pixels.std())
    if min(small.size) < SMALLEST_HASHED or contrast < LEAST_CONTRAST:
        return Look(brightness, contrast, None)
    bits = imagehash.phash(small).hash
    return Look(brightness, contrast, np.packbits(bits).tobytes().hex())
