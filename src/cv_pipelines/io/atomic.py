"""Kedro's file datasets, saved whole or not at all: beside the target first, then renamed."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from kedro_datasets import json, pandas, plotly


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


class FigureDataset(AtomicSave, plotly.JSONDataset):
    """A Plotly figure; see `kedro_datasets.plotly.JSONDataset`."""
