"""Asking MLflow: earlier trainings, nothing made, nobody waited for."""

import json
import socket
import time

import pytest
from mlflow import MlflowClient

from cv_pipelines.errors import ReproductionError
from cv_pipelines.io.history import connect, on_disk, tracked, waiting
from cv_pipelines.io.patience import within
from cv_pipelines.io.runs import fetch_run
from cv_pipelines.io.tracking import Tracker, TrackingConfig
from cv_pipelines.planning.costs import Past

CONFIG = TrackingConfig(tracking_uri="sqlite:///tracked.db", experiment="toys")
METRICS = {"values": {"accuracy": 0.5}, "contract": {}, "fingerprint": "f", "device": "cpu", "seconds": 12.5}


@pytest.fixture(autouse=True)
def no_address(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("TIMEOUT", "MAX_RETRIES"):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", "1")


def test_nothing_is_made_where_there_is_no_database(tmp_path):
    assert connect(CONFIG, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_earlier_trainings_are_found_with_seconds_device_and_epochs(tmp_path):
    tracker = Tracker(CONFIG, tmp_path)
    tracker.begin("toys", ["toy"])
    tracker.start("toy", {"train": {"epochs": 3, "seeds": [0, 1]}})
    tracker.log_scores("toy", METRICS, "key")
    tracker.end_all("FINISHED")
    client, experiment = connect(CONFIG, tmp_path)
    assert tracked(client, experiment, "toy") == [Past(12.5, "cpu", 6)]
    assert tracked(client, experiment, "other") == []
    run = client.search_runs([experiment])[0].info.run_id
    with pytest.raises(ReproductionError, match=r"no metrics.json and no record.json: an earlier version"):
        fetch_run(client, run, tmp_path)
    with pytest.raises(ReproductionError, match="nowhere"):
        fetch_run(client, "nowhere", tmp_path)


def test_only_runs_of_experiments_are_run_again(tmp_path):
    client = MlflowClient(f"sqlite:///{tmp_path}/other.db")
    run = client.create_run("0", tags={"cv_pipelines.kind": "study"}).info.run_id
    with pytest.raises(ReproductionError, match="of kind 'study'"):
        fetch_run(client, run, tmp_path)


def test_the_results_on_disk_tell_of_the_last_training(tmp_path):
    (tmp_path / "toy").mkdir()
    given = METRICS | {"seeds": {"0": {}, "1": {}}, "provenance": {"parameters": {"train.epochs": 4}}}
    (tmp_path / "toy/metrics.json").write_text(json.dumps(given))
    assert on_disk(tmp_path, "toy") == [Past(12.5, "cpu", 8)]
    (tmp_path / "toy/metrics.json").write_text("{")
    assert on_disk(tmp_path, "toy") == on_disk(tmp_path, "none") == []


def test_a_server_that_never_answers_is_not_waited_for(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = CONFIG.model_copy(update={"tracking_uri": f"http://127.0.0.1:{server.getsockname()[1]}"})
        began = time.monotonic()
        with pytest.raises(Exception, match=r"(?i)time|connect"):
            connect(config, tmp_path, patience=1)
        assert time.monotonic() - began < 8


def test_entries_that_wait_are_counted(tmp_path):
    config = CONFIG.model_copy(update={"tracking_uri": "http://127.0.0.1:9"})
    assert waiting(config, tmp_path) == 0
    Tracker(config, tmp_path).outbox.new("toy").add("end", {})
    assert waiting(config, tmp_path) == 1


def test_patience():
    assert within(5, lambda: 3) == 3
    with pytest.raises(TimeoutError, match=r"no answer within 0.05 s"):
        within(0.05, lambda: time.sleep(2))
    with pytest.raises(KeyError):
        within(5, lambda: {}["x"])
