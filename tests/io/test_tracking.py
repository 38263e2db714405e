"""Runs in MLflow: what is logged, in what batches, and how a run ends, however its process does."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.entities import RunTag
from mlflow.utils.validation import _validate_metric_name
from pydantic import ValidationError

from cv_pipelines.io import tracking as module
from cv_pipelines.io.tracking import Tracker, TrackingConfig, flat

SCORES = {
    "values": {"accuracy": 0.5, "iou/traffic light": 0.25, "map_large": None},
    "contract": {"source": "digits", "split": "test", "n": 3},
    "fingerprint": "f" * 32,
    "device": "cpu",
}
PARAMETERS = {
    "task": "classification",
    "train": {"optimizer": {"lr": 0.1}, "seeds": [3, 5]},
    "init_from": None,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose tracking database is made once."""
    project = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        _ = Tracker(config("first"), project).experiment_id
    return project


@pytest.fixture
def tracker(project, request, monkeypatch):
    """A tracker with an MLflow experiment of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Tracker(config(request.node.name), project)


def config(name):
    return TrackingConfig(tracking_uri="sqlite:///mlflow.db", experiment=name)


def runs(tracker):
    return {run.info.run_name: run for run in tracker.client.search_runs([tracker.experiment_id])}


def history(rows):
    return pd.DataFrame(rows, columns=["seed", "epoch", "name", "value"])


def test_a_relative_database_lies_in_the_project(tracker, project):
    _ = tracker.experiment_id
    assert tracker.uri == f"sqlite:///{project}/mlflow.db"
    assert (project / "mlflow.db").is_file()
    artifacts = tracker.client.get_experiment(tracker.experiment_id).artifact_location
    assert artifacts == (project / "mlartifacts").as_uri()


def test_the_ui_opens_on_training_runs(tracker):
    tags = tracker.client.get_experiment(tracker.experiment_id).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"


def test_the_environment_names_another_server(project, tmp_path, monkeypatch):
    for uri in ("http://tracking.example", f"sqlite:///{tmp_path}/other.db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert Tracker(config("x"), project).uri == uri


@pytest.mark.parametrize(
    "values", [{"tracking_uri": "x"}, {"tracking_uri": "x", "experiment": "y", "server": "z"}]
)
def test_the_tracking_file_is_checked(values):
    with pytest.raises(ValidationError):
        TrackingConfig.model_validate(values)


def test_one_experiment_needs_no_parent(tracker):
    tracker.begin("classification_digits", ["classification_digits"])
    tracker.start("classification_digits", PARAMETERS)
    tracker.end_all("FINISHED")
    (run,) = runs(tracker).values()
    assert run.info.status == "FINISHED"
    assert "mlflow.parentRunId" not in run.data.tags


def test_several_experiments_are_children_of_one_run(tracker):
    tracker.begin("tour", ["a", "b"])
    tracker.start("a", PARAMETERS)
    tracker.start("b", PARAMETERS)
    tracker.start("a", PARAMETERS)  # its second node
    tracker.end("a", "FAILED")
    tracker.end_all("KILLED")
    tracker.end_all("FINISHED")  # nothing is open any more
    found = runs(tracker)
    assert {name: run.info.status for name, run in found.items()} == {
        "tour": "KILLED",
        "a": "FAILED",
        "b": "KILLED",
    }
    parent = found["tour"].info.run_id
    assert {found[name].data.tags["mlflow.parentRunId"] for name in "ab"} == {parent}
    assert len(tracker.client.search_runs([tracker.experiment_id])) == 3


def test_parameters_scores_curves_and_files_are_logged(tracker, tmp_path):
    tracker.begin("a", ["a"])
    tracker.start("a", PARAMETERS)
    rows = [(3, 0, "val_loss", 2.0), (3, 1, "val_loss", 1.0), (5, 0, "val_loss", 4.0), (3, 1, "lr", np.nan)]
    tracker.log_history("a", history(rows))
    tracker.log_history("a", history(rows))  # nothing of it is new
    tracker.log_scores("a", SCORES, "key")
    (tmp_path / "report.html").write_text("page")
    tracker.log_files("a", [tmp_path / "report.html", tmp_path / "missing.json"])
    tracker.end_all("FINISHED")
    run, client = runs(tracker)["a"], tracker.client
    assert run.data.params == {
        "task": "classification",
        "train.optimizer.lr": "0.1",
        "train.seeds": "[3, 5]",
        "init_from": "None",
    }
    curve = client.get_metric_history(run.info.run_id, "val_loss")
    assert [(entry.step, entry.value) for entry in curve] == [(0, 2.0), (1, 1.0)]
    assert run.data.metrics["seed_5/val_loss"] == 4.0
    assert np.isnan(run.data.metrics["lr"])
    assert (run.data.metrics["accuracy"], run.data.metrics["iou/traffic light"]) == (0.5, 0.25)
    assert "map_large" not in run.data.metrics
    tags = run.data.tags
    assert json.loads(tags["contract"]) == SCORES["contract"]
    assert (tags["contract_key"], tags["fingerprint"], tags["device"]) == ("key", "f" * 32, "cpu")
    assert tags["task"] == "classification"
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", tags["mlflow.source.git.commit"])
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["report.html"]


def test_an_empty_history_logs_nothing(tracker):
    tracker.begin("a", ["a"])
    tracker.start("a", PARAMETERS)
    tracker.log_history("a", history([]))
    tracker.end_all("FINISHED")
    assert runs(tracker)["a"].data.metrics == {}


@pytest.mark.parametrize("kind", ["curves", "scores"])
def test_more_metrics_than_mlflow_takes_at_once_are_all_logged(tracker, kind):
    count = 2 * module.BATCH + 1
    tracker.begin("a", ["a"])
    tracker.start("a", PARAMETERS)
    if kind == "curves":
        tracker.log_history("a", history([(3, epoch, "loss", float(epoch)) for epoch in range(count)]))
        logged = tracker.client.get_metric_history(tracker.run_id("a"), "loss")
    else:
        tracker.log_scores("a", SCORES | {"values": {f"iou/{i}": i / count for i in range(count)}}, "key")
        logged = tracker.client.get_run(tracker.run_id("a")).data.metrics
    tracker.end_all("FINISHED")
    assert len(logged) == count


def test_more_parameters_than_mlflow_takes_at_once_are_all_logged(tracker):
    tracker.begin("a", ["a"])
    tracker.start("a", {"model": {f"option_{i}": i for i in range(250)}})
    tracker.end_all("FINISHED")
    assert runs(tracker)["a"].data.params == {f"model.option_{i}": str(i) for i in range(250)}


@given(st.text(min_size=1, max_size=60))
def test_any_class_name_makes_a_metric_name_that_mlflow_takes(name):
    _validate_metric_name(module._key(f"iou/{name}"))


def test_plain_score_names_stay_as_they_are():
    for name in ("map_50", "iou/traffic light", "fid_classification_digits", "iou/t-shirt", "v1.0"):
        assert module._key(name) == name
    assert module._key("iou/a:b(c)") == "iou/a_b_c_"


leaves = st.one_of(st.integers(), st.text(), st.none(), st.lists(st.integers()))
keys = st.text("abc_", min_size=1)


@given(
    st.recursive(st.dictionaries(keys, leaves), lambda inner: st.dictionaries(keys, st.one_of(leaves, inner)))
)
def test_flat_keeps_every_leaf_under_its_path(values):
    def leaf(path):
        found = values
        for key in path.split("."):
            found = found[key]
        return found

    def count(value):
        return sum(count(v) for v in value.values()) if isinstance(value, dict) else 1

    assert all(leaf(path) == value for path, value in flat(values).items())
    assert len(flat(values)) == count(values)


PROGRAM = """
import signal, sys, time
from pathlib import Path
from cv_pipelines.hooks import ExperimentHooks
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
hooks = ExperimentHooks()
hooks.project = Path(sys.argv[1])
hooks.tracking = {"tracking_uri": "sqlite:///mlflow.db", "experiment": sys.argv[2]}
hooks.experiments = ["a", "b"]
hooks.open_tracking("tour")
hooks.tracker.start("a", {"task": "classification"})
(hooks.project / sys.argv[2]).touch()
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
def test_a_run_whose_process_is_stopped_ends_as_killed(tracker, project, request, number):
    name = request.node.name
    arguments = [sys.executable, "-c", PROGRAM, str(project), name]
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (project / name).exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert {run.info.status for run in runs(tracker).values()} == {"RUNNING"}
        tracker.close_orphans()  # its process lives
        assert {run.info.status for run in runs(tracker).values()} == {"RUNNING"}
        process.send_signal(number)
        assert process.wait(timeout=60) != 0
    finally:
        process.kill()
    tracker.close_orphans()
    assert {key: run.info.status for key, run in runs(tracker).items()} == {"tour": "KILLED", "a": "KILLED"}


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        ({"cv_pipelines.host": socket.gethostname(), "cv_pipelines.pid": "dead"}, "KILLED"),
        ({"cv_pipelines.host": socket.gethostname(), "cv_pipelines.pid": str(os.getpid())}, "RUNNING"),
        ({"cv_pipelines.host": "another-machine", "cv_pipelines.pid": "dead"}, "RUNNING"),
        ({}, "RUNNING"),  # not ours
    ],
)
def test_only_orphans_of_this_machine_are_closed(tracker, tags, status):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    tags = {key: str(gone.pid) if value == "dead" else value for key, value in tags.items()}
    run = tracker.client.create_run(tracker.experiment_id, run_name="x")
    tracker.client.log_batch(run.info.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    tracker.begin("next", ["one"])
    assert runs(tracker)["x"].info.status == status
