"""Sensor tables as inputs: CSV files of windows, or of recordings that are cut into windows.

The first line names the columns; all that follow hold numbers. A column `window` says which rows are one
window; without it a file is one recording. A column `time` is passed over. Every other column is a channel:
those of UCI HAR by their names in any order, others in the model's order. Instead of nine channels, a
recording may hold what a phone measures (`acc_x` … `gyro_z`, 50 times a second); it is then pre-processed as
UCI HAR's authors did.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import torch

from cv_pipelines.errors import BadSampleError, InputError
from cv_pipelines.inference.samples import Pending, Reading
from cv_pipelines.sources.lists import check_file
from cv_pipelines.sources.signals import CHANNELS, BadRow, cut_windows, fill_rows, nine_channels, parse_rows

RAW = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
ASIDE = {"window", "time"}
SEPARATORS = (",", ";", "\t")
BLOCK = 4096
"""Lines that are parsed at a time."""


@dataclass(frozen=True)
class Layout:
    """What the columns of a table are.

    Attributes:
        separator: between two numbers.
        width: number of columns.
        channels: columns of the model's channels, or of `RAW`, in their order.
        window: the column that tells windows apart; None for a recording.
        raw: whether the channels have to be pre-processed.
    """

    separator: str
    width: int
    channels: list[int]
    window: int | None
    raw: bool


@dataclass(frozen=True)
class Block:
    """Lines of a table: where they begin (0-based, without the header), their numbers, those that are bad."""

    start: int
    values: np.ndarray
    bad: list[BadRow]


@dataclass(frozen=True)
class Window:
    """One window: what tells it apart, its rows, the first bad row in it."""

    key: str
    rows: np.ndarray
    defect: tuple[str, str] | None


@dataclass(frozen=True)
class SensorTable:
    """The windows of one CSV file, for a model that reads `shape`, (C, T).

    Attributes:
        path: of the file.
        shape: channels and time steps of a window.
        step: time steps from one window of a recording to the next; half a window if None.
        kind: what it is, in words.
    """

    path: Path
    shape: tuple[int, int]
    step: int | None = None
    kind: str = "sensor table"

    @property
    def place(self) -> str:
        """The absolute path."""
        return str(self.path.resolve())

    def count(self) -> None:
        """Return None: the file would have to be read."""

    def pending(self, done: Container[str]) -> Iterator[Pending]:
        """Yield the windows that are not done, named by their id, or by their first row (0-based).

        Raises:
            InputError: the file cannot be read, or has not the columns that the model needs.
        """
        check_file(self.path)
        layout = layout_of(self.path, self.shape[0])
        for window in self._windows(layout):
            name = f"{self.path.name}#{window.key}"
            if name not in done:
                yield Pending(name, partial(_read, window, self.shape[1]))

    def _windows(self, layout: Layout) -> Iterator[Window]:
        blocks = _blocks(self.path, layout)
        if layout.window is not None:
            return _by_key(blocks, layout)
        if layout.raw:
            blocks = iter([_preprocessed(list(blocks), layout)])
        return _by_time(blocks, layout, self.shape[1], self.step or max(self.shape[1] // 2, 1))


def layout_of(path: Path, channels: int) -> Layout:
    """Find out what the columns of a table are.

    Args:
        path: of the file.
        channels: of the model.

    Raises:
        InputError: there is no line of names, or they are not what the model needs.
    """
    with path.open("rb") as file:
        head = file.readline(2**16).decode("utf8", "replace").removeprefix("\ufeff").strip()
    separator = max(SEPARATORS, key=head.count)
    names = [name.strip().strip("\"'") for name in head.split(separator)]
    if not head or any(_is_number(name) for name in names):
        raise InputError(f"{path}: expected names of columns in the first line, found {head[:80]!r}")
    kept = [name for name in names if name.lower() not in ASIDE]
    window = next((place for place, name in enumerate(names) if name.lower() == "window"), None)
    raw = channels == len(CHANNELS) and set(kept) == set(RAW) and window is None
    named = set(kept) in (set(CHANNELS), set(RAW)) and len(kept) in (channels, len(RAW))
    if len(set(names)) != len(names) or not (raw or len(kept) == channels):
        also = f", or {', '.join(RAW)} of a whole recording" if channels == len(CHANNELS) else ""
        raise InputError(
            f"{path}: columns {', '.join(names)[:200]}; the model reads {channels} channels{also}, beside "
            "`window` and `time`"
        )
    order: tuple[str, ...] | list[str] = RAW if raw else CHANNELS if named and len(kept) == 9 else kept
    return Layout(separator, len(names), [names.index(name) for name in order], window, raw)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _blocks(path: Path, layout: Layout) -> Iterator[Block]:
    with path.open("rb") as file:
        file.readline()
        start, lines = 0, list(islice(file, BLOCK))
        while lines:
            following = list(islice(file, BLOCK))
            values, bad = parse_rows(b"".join(lines), layout.width, separator=layout.separator)
            # empty lines at the very end are no rows
            empty = range(len(values), len(lines) if following else len(values))
            bad += [BadRow(index, "short row", "an empty line") for index in empty]
            yield Block(start, np.pad(values, ((0, len(empty)), (0, 0)), constant_values=np.nan), bad)
            start, lines = start + len(lines), following


def _preprocessed(blocks: list[Block], layout: Layout) -> Block:
    """Make UCI HAR's nine channels of a recording; its bad rows are bridged, and stay marked as bad."""
    values = np.concatenate([block.values for block in blocks]) if blocks else np.empty((0, layout.width))
    measured = values[:, layout.channels]
    finite = np.isfinite(measured).all(axis=1)
    bad = [BadRow(row.index + block.start, row.reason, row.detail) for block in blocks for row in block.bad]
    if finite.sum() < 16:
        return Block(0, np.empty((0, len(CHANNELS))), bad)
    filled = fill_rows(measured)
    made = nine_channels(filled[:, :3], filled[:, 3:])
    made[~finite] = np.nan
    return Block(0, made, bad)


def _defects(block: Block) -> dict[int, tuple[str, str]]:
    """Map rows of the file to what is wrong with them; the header is line 1."""
    return {
        row.index + block.start: (row.reason, f"line {row.index + block.start + 2}: {row.detail}")
        for row in block.bad
    }


def _by_time(blocks: Iterator[Block], layout: Layout, length: int, step: int) -> Iterator[Window]:
    """Cut a recording into windows, holding no more of it than one block and one window."""
    held, start = np.empty((0, len(layout.channels))), 0
    defects: dict[int, tuple[str, str]] = {}
    for block in blocks:
        values = block.values if layout.raw else block.values[:, layout.channels]
        held = np.concatenate([held, values]) if len(held) else values
        defects |= _defects(block)
        count = max((len(held) - length) // step + 1, 0)
        if count == 0:
            continue
        for place in range(0, count * step, step):
            inside = range(start + place, start + place + length)
            defect = next((defects[row] for row in defects if row in inside), None)
            yield Window(str(start + place), held[place : place + length], defect)
        held, start = held[count * step :], start + count * step
        defects = {row: defect for row, defect in defects.items() if row >= start}


def _by_key(blocks: Iterator[Block], layout: Layout) -> Iterator[Window]:
    """Gather the rows that have one key in the `window` column, one after another."""
    assert layout.window is not None
    parts: list[np.ndarray] = []
    seen: set[str] = set()
    key, defect = np.nan, None
    for block in blocks:
        defects = _defects(block)
        keys = block.values[:, layout.window]
        known = np.where(np.isnan(keys), -1, np.arange(len(keys)))
        last = np.maximum.accumulate(known)
        keys = np.where(last < 0, key, keys[last])  # a bad row belongs to the window before it
        edges = [0, *(np.flatnonzero(keys[1:] != keys[:-1]) + 1), len(keys)]
        for first, stop in pairwise(edges):
            if parts and keys[first] != key and not np.isnan(key):
                yield _keyed(key, parts, defect, seen)
                parts, defect = [], None
            key = keys[first]
            parts.append(block.values[first:stop][:, layout.channels])
            rows = range(block.start + first, block.start + stop)
            defect = defect or next((defects[row] for row in defects if row in rows), None)
    if parts:
        yield _keyed(key, parts, defect, seen)


def _keyed(key: float, parts: list[np.ndarray], defect: tuple[str, str] | None, seen: set[str]) -> Window:
    plain = f"{key:g}" if abs(key) < 1e5 else f"{key:.0f}"
    name, count = plain, 1
    while name in seen:
        count += 1
        name = f"{plain}~{count}"
        defect = ("repeated window", f"its rows do not follow each other: part {count} of window {plain}")
    seen.add(name)
    return Window(name, np.concatenate(parts), defect)


def _read(window: Window, length: int) -> Reading:
    if window.defect is not None:
        raise BadSampleError(*window.defect)
    if len(window.rows) != length:
        raise BadSampleError("wrong length", f"{len(window.rows)} rows; the model reads {length}")
    values = cut_windows(window.rows, np.zeros(1, dtype=np.int64), length)[0]
    return Reading(torch.from_numpy(values.astype(np.float32)))
