"""Kedro's file datasets, saved whole or not at all: beside the target first, then renamed."""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from kedro_datasets import json, pandas, plotly
from kedro_datasets._typing import TablePreview

SHOWN = 12
"""Entries of a list that a preview shows."""


class AtomicSave:
    """Put before a dataset class of one local file: a kill while saving leaves the file of before."""

    _filepath: PurePosixPath
    _fs: Any

    def save(self, data: Any) -> None:
        """Save to `<file>.writing`, then rename."""
        target = self._filepath
        self._filepath = target.with_name(target.name + ".writing")
        fresh = self._filepath
        try:
            super().save(data)  # type: ignore[misc]
        finally:
            self._filepath = target
        self._fs.mv(str(fresh), str(target))


class JSONDataset(AtomicSave, json.JSONDataset):
    """A JSON file; see `kedro_datasets.json.JSONDataset`."""


class ParquetDataset(AtomicSave, pandas.ParquetDataset):
    """A table; see `kedro_datasets.pandas.ParquetDataset`."""

    def preview(self, nrows: int = 5) -> TablePreview:
        """Return the first rows for kedro-viz, which takes plain numbers, texts and nothing else."""
        split: dict[str, Any] = super().preview(nrows)
        split["data"] = [[_plain(cell) for cell in row] for row in split["data"]]
        return TablePreview(split)


def _plain(cell: Any) -> Any:
    """Return a cell that can be shown: an image's bytes become their number, a long list its beginning."""
    if isinstance(cell, bytes):
        return f"{len(cell)} bytes"
    if isinstance(cell, np.ndarray | list):
        shown = ", ".join(str(_plain(one)) for one in cell[:SHOWN])
        return f"[{shown}{', …' if len(cell) > SHOWN else ''}]"
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, float):
        return None if math.isnan(cell) else f"{cell:.6g}"
    return cell


class FigureDataset(AtomicSave, plotly.JSONDataset):
    """A Plotly figure; see `kedro_datasets.plotly.JSONDataset`."""
