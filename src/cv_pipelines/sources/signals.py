"""Phone motion signals: number files, the UCI HAR pre-processing, windows.

The pre-processing is that of D. Anguita, A. Ghio, L. Oneto, X. Parra, J. L. Reyes-Ortiz, "A Public Domain
Dataset for Human Activity Recognition Using Smartphones", ESANN 2013, section 2, and of HAPT 2.1's README:
median filter and low-pass against noise, gravity as what is left of the acceleration below 0.3 Hz, windows of
2.56 s that overlap by half.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pandas as pd
from scipy.ndimage import median_filter
from scipy.signal import butter, sosfiltfilt

RATE = 50.0
"""Samples a second of both sensors."""

ACTIVITIES = ("WALKING", "WALKING_UPSTAIRS", "WALKING_DOWNSTAIRS", "SITTING", "STANDING", "LAYING")
"""The six base activities, ids 1 to 6 on disk, classes 0 to 5 here."""

TRANSITIONS = (
    "STAND_TO_SIT",
    "SIT_TO_STAND",
    "SIT_TO_LIE",
    "LIE_TO_SIT",
    "STAND_TO_LIE",
    "LIE_TO_STAND",
)
"""The postural transitions of HAPT, ids 7 to 12 on disk, classes 6 to 11 here."""

CHANNELS = tuple(f"{kind}_{axis}" for kind in ("body_acc", "body_gyro", "total_acc") for axis in "xyz")
"""The order of the nine channels of a window; accelerations in g, angular velocities in rad/s."""

LARGEST = 1e15
"""No sensor measures as much, and no count is as high; far beyond, float32 and int64 would overflow."""

_NOISE = butter(3, 20.0, fs=RATE, output="sos")
_GRAVITY = butter(3, 0.3, fs=RATE, output="sos")


@dataclass(frozen=True)
class BadRow:
    """A line of a number file that cannot be used: its 0-based index, why, and what was seen."""

    index: int
    reason: str
    detail: str


def parse_rows(
    data: bytes, width: int, *, whole: bool = False, separator: str | None = None
) -> tuple[np.ndarray, list[BadRow]]:
    """Read lines of numbers.

    Args:
        data: the file's bytes; white space after the last number is ignored.
        width: how many numbers a line must hold.
        whole: whether they must be whole numbers.
        separator: one character between two numbers; None for any white space.

    Returns:
        (N, width) float64, a row a line, with NaN in all of a bad line; and the bad lines: "short row", "long
        row", "not a number", "not finite", "number too large" or "not a whole number".
    """
    data = data.rstrip()
    if not data:
        return np.empty((0, width)), []
    try:
        # The extra column shows lines that are too long; csv quoting would let a stray " swallow lines.
        frame = pd.read_csv(
            BytesIO(data),
            sep=separator or r"\s+",
            header=None,
            names=range(width + 1),
            index_col=False,
            dtype=np.float64,
            skip_blank_lines=False,
            quoting=csv.QUOTE_NONE,
        )
    except ValueError:
        return _parse_lines(data, width, whole, separator)
    values = frame.to_numpy()
    clean = len(values) == data.count(b"\n") + 1 and np.isnan(values[:, width]).all()
    if clean and _defect(values[:, :width], whole) is None:
        return np.ascontiguousarray(values[:, :width]), []
    return _parse_lines(data, width, whole, separator)


def _defect(values: np.ndarray, whole: bool) -> str | None:
    if (np.abs(values) < LARGEST).all():
        return "not a whole number" if whole and (values != np.rint(values)).any() else None
    return "number too large" if np.isfinite(values).all() else "not finite"


def _parse_lines(
    data: bytes, width: int, whole: bool, separator: str | None
) -> tuple[np.ndarray, list[BadRow]]:
    lines = data.decode("ascii", "replace").split("\n")
    values, bad = np.full((len(lines), width), np.nan), []
    for index, line in enumerate(lines):
        words = line.split(separator)
        if len(words) != width:
            reason = "short row" if len(words) < width else "long row"
            bad.append(BadRow(index, reason, f"{len(words)} values; expected {width}"))
            continue
        try:
            row = np.array([float(word.replace("_", "x")) for word in words])  # Python takes 1_0 for ten
        except ValueError as error:
            bad.append(BadRow(index, "not a number", str(error)))
            continue
        defect = _defect(row, whole)
        if defect is None:
            values[index] = row
        else:
            bad.append(BadRow(index, defect, f"{line.strip()[:80]!r}"))
    return values, bad


def nine_channels(acc: np.ndarray, gyro: np.ndarray) -> np.ndarray:
    """Pre-process one recording as UCI HAR's authors did.

    Args:
        acc: (T, 3) raw acceleration in g, finite.
        gyro: (T, 3) raw angular velocity in rad/s, finite.

    Returns:
        (T, 9) float32 in the order of `CHANNELS`.

    Raises:
        ValueError: fewer than 16 samples, too few for the filters.
    """
    total = _denoise(acc)
    gravity = sosfiltfilt(_GRAVITY, total, axis=0)
    return np.concatenate([total - gravity, _denoise(gyro), total], axis=1).astype(np.float32)


def _denoise(raw: np.ndarray) -> np.ndarray:
    return sosfiltfilt(_NOISE, median_filter(raw, size=(3, 1), mode="nearest"), axis=0)


def fill_rows(values: np.ndarray) -> np.ndarray:
    """Replace rows with NaN by the line between their neighbours, so that a filter does not spread them.

    Args:
        values: (T, C); at least one row is finite.
    """
    good = np.isfinite(values).all(axis=1)
    if good.all():
        return values
    at = np.arange(len(values))
    return np.stack([np.interp(at, at[good], column[good]) for column in values.T], axis=1)


def window_starts(start: int, stop: int, window: int, step: int) -> np.ndarray:
    """Return the first samples of the windows that lie wholly in [start, stop), 0-based, int64."""
    return np.arange(start, stop - window + 1, step, dtype=np.int64)


def cut_windows(signal: np.ndarray, starts: np.ndarray, window: int) -> np.ndarray:
    """Cut (T, C) at `starts` into (N, C, window), contiguous."""
    return np.ascontiguousarray(signal[starts[:, None] + np.arange(window)].transpose(0, 2, 1))
