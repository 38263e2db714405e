import json

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from kedro.io import DatasetError

from cv_pipelines.io.atomic import FigureDataset, JSONDataset, ParquetDataset

SAVED = {
    JSONDataset: ("scores.json", {"map": 0.5}),
    ParquetDataset: ("rows.parquet", pd.DataFrame({"a": [1, 2]})),
    FigureDataset: ("figure.json", go.Figure(go.Bar(y=[1, 2]), {"title": {"text": "bars"}})),
}
UNSAVABLE = {
    JSONDataset: {"map": 0.25, "of": object()},
    ParquetDataset: pd.DataFrame({"a": [object()]}),
    FigureDataset: "no figure",
}


@pytest.mark.parametrize("kind", SAVED)
def test_what_is_saved_is_loaded_and_nothing_else_is_left(kind, tmp_path):
    name, data = SAVED[kind]
    dataset = kind(filepath=str(tmp_path / "new" / name))
    assert not dataset.exists()
    dataset.save(data)
    dataset.save(data)
    assert dataset.exists()
    loaded = dataset.load()
    assert loaded.equals(data) if kind is ParquetDataset else loaded == data
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]


@pytest.mark.parametrize("kind", SAVED)
def test_a_save_that_fails_leaves_the_file_of_before(kind, tmp_path):
    name, data = SAVED[kind]
    dataset = kind(filepath=str(tmp_path / name))
    dataset.save(data)
    before = (tmp_path / name).read_bytes()
    with pytest.raises(DatasetError):
        dataset.save(UNSAVABLE[kind])
    assert (tmp_path / name).read_bytes() == before
    dataset.save(data)
    assert (tmp_path / name).read_bytes() == before


def test_previews_are_kept(tmp_path):
    dataset = ParquetDataset(filepath=str(tmp_path / "rows.parquet"))
    dataset.save(pd.DataFrame({"a": [1, 2]}))
    assert dataset.preview(nrows=1)["data"] == [[1]]


def test_a_preview_holds_plain_values_alone(tmp_path):
    """kedro-viz refuses the whole table for one array in it."""
    dataset = ParquetDataset(filepath=str(tmp_path / "rows.parquet"))
    rows = {
        "sample_id": ["a", "b"],
        "labels": [[1, 2], []],
        "probabilities": [np.full(20, 0.25, np.float32), np.array([1 / 3], np.float32)],
        "mask": [b"png", None],
        "share": [1 / 3, float("nan")],
    }
    dataset.save(pd.DataFrame(rows))
    shown = dataset.preview(nrows=2)
    assert shown["columns"] == list(rows)
    quarters = ", ".join(["0.25"] * 12)
    assert shown["data"][0] == ["a", "[1, 2]", f"[{quarters}, …]", "3 bytes", "0.333333"]
    assert shown["data"][1] == ["b", "[]", "[0.333333]", None, None]
    assert json.loads(json.dumps(shown)) == shown
    assert len(dataset.preview(nrows=1)["data"]) == 1
