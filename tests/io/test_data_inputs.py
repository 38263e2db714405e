"""Runs say what data they were made of: source, split, digest of the contents, DVC's hash."""

import json

import pandas as pd
import pytest

from cv_pipelines.data.digests import samples_digest
from cv_pipelines.io.data_inputs import data_entries
from cv_pipelines.io.tracking import Tracker, TrackingConfig

LOCK = """
schema: '2.0'
stages:
  data_toy:
    outs:
    - {path: data/02_intermediate/toy, md5: aaa.dir}
    - {path: data/05_model_input/toy, md5: bbb.dir, size: 3}
"""


@pytest.fixture
def manifest():
    columns = {"sample_id": ["a", "b", "c"], "split": ["train", "train", "test"]}
    return pd.DataFrame(columns | {"content_hash": ["1", "2", "3"], "group": ["x", "x", "y"]})


def test_each_split_that_has_samples_is_described(tmp_path, manifest):
    (tmp_path / "dvc.lock").write_text(LOCK)
    train, test = data_entries(tmp_path, "toy", "data/01_raw/toy", manifest)
    assert (train["name"], train["context"], test["context"]) == ("toy", "train", "test")
    assert json.loads(train["profile"]) == {"num_rows": 2, "num_groups": 1}
    said = {"source": "toy", "root": "data/01_raw/toy", "dvc": "bbb.dir", "split": "train"}
    assert json.loads(train["source"]) == said
    assert json.loads(data_entries(tmp_path, "other", None, manifest)[0]["source"])["dvc"] is None


def test_a_digest_is_of_names_and_contents(manifest):
    digest = samples_digest(manifest)
    assert len(digest) == 32
    assert samples_digest(manifest.assign(group="z")) == digest
    assert samples_digest(manifest.assign(content_hash=["1", "2", "4"])) != digest
    assert samples_digest(manifest.assign(sample_id=["a", "b", "d"])) != digest


def test_a_run_in_mlflow_has_them_once(tmp_path, monkeypatch, manifest):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker = Tracker(TrackingConfig(tracking_uri="sqlite:///m.db", experiment="x"), tmp_path)
    tracker.begin("toy", ["one"])
    tracker.start("one", {"source": "toy", "task": "classification"})
    run = tracker.run_id("one")
    for _ in range(2):  # sent again after a kill, it is still one
        tracker.log_data("one", "toy", None, manifest)
    tracker.end_all("FINISHED")
    inputs = tracker.client.get_run(run).inputs.dataset_inputs
    found = {one.tags[0].value: one.dataset for one in inputs}
    assert {split: data.digest for split, data in found.items()} == {
        split: samples_digest(manifest[manifest["split"] == split]) for split in ("train", "test")
    }
    assert {tag.key for one in inputs for tag in one.tags} == {"mlflow.data.context"}
    assert len(inputs) == 2
