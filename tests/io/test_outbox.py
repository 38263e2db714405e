"""Curves in MLflow when it cannot be had, and when a training is cut off: one run, no gap, no duplicate."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time

import pytest

from cv_pipelines.io import outbox as module
from cv_pipelines.io.outbox import Journal
from cv_pipelines.io.tracking import Tracker, TrackingConfig

PARAMETERS = {"task": "classification", "train": {"seeds": [0]}}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """An MLflow database, made once."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        _ = Tracker(TrackingConfig(tracking_uri="sqlite:///mlflow.db", experiment="x"), folder).experiment_id
    return folder / "mlflow.db"


@pytest.fixture
def project(tmp_path, template, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    shutil.copy(template, tmp_path / "mlflow.db")
    return tmp_path


def tracker(project, uri="sqlite:///mlflow.db"):
    return Tracker(TrackingConfig(tracking_uri=uri, experiment="x"), project, pause=0.05)


def leave(work, *epochs, offset=0.0):
    """What a training leaves while it goes on."""
    (work / "seed_0").mkdir(parents=True, exist_ok=True)
    with (work / "seed_0" / "live.jsonl").open("a") as file:
        for epoch in epochs:
            row = {"seed": 0, "epoch": epoch, "name": "train_loss", "value": 1 / (epoch + 1) + offset}
            file.write(json.dumps(row) + "\n")


def curve(tracker, run):
    return [(m.step, m.value) for m in tracker.client.get_metric_history(run.info.run_id, "train_loss")]


def runs(tracker):
    return tracker.client.search_runs([tracker.experiment_id], order_by=["attributes.start_time ASC"])


def until(condition):
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def test_points_arrive_while_the_training_goes_on(project):
    work, now = project / "work", tracker(project)
    now.begin("a", ["a"], {"a": work})
    now.start("a", PARAMETERS)
    leave(work, 0, 1)
    until(lambda: len(curve(now, runs(now)[0])) == 2)
    leave(work, 2)
    until(lambda: len(curve(now, runs(now)[0])) == 3)
    now.end_all("FINISHED")


def test_an_interrupted_training_goes_on_in_its_run(project):
    work = project / "work"
    first = tracker(project)
    first.begin("a", ["a"], {"a": work})
    first.start("a", PARAMETERS)
    leave(work, 0, 1)
    until(lambda: len(curve(first, runs(first)[0])) == 2)
    first.end_all("KILLED")
    second = tracker(project)
    second.begin("a", ["a", "b"], {"a": work})
    second.start("a", PARAMETERS)
    assert [run.info.status for run in runs(second)] == ["RUNNING", "RUNNING"]
    leave(work, 1, 2)  # the epoch that was cut off is done again
    until(lambda: len(curve(second, runs(second)[0])) == 3)
    second.end_all("FINISHED")
    one, parent = runs(second)
    assert (one.info.status, parent.info.status) == ("FINISHED", "FINISHED")
    assert one.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert curve(second, one) == [(0, 1.0), (1, 0.5), (2, 1 / 3)]


@pytest.mark.parametrize("change", ["parameters", "data"])
def test_another_training_has_a_run_of_its_own(project, change):
    work = project / "work"
    for turn in range(2):
        now = tracker(project)
        now.begin("a", ["a"], {"a": work})
        now.start("a", PARAMETERS | ({"task": f"t{turn}"} if change == "parameters" else {}))
        leave(work, 0, offset=turn if change == "data" else 0.0)
        until(lambda now=now, turn=turn: len(runs(now)) == turn + 1 and curve(now, runs(now)[turn]))
        now.end_all("KILLED")
    assert [curve(now, run) for run in runs(now)] == [[(0, 1.0)], [(0, 2.0 if change == "data" else 1.0)]]


@pytest.mark.slow  # waits for a lock to be given up
def test_a_locked_database_holds_up_nothing_and_gets_all_later(project, caplog):
    lock = sqlite3.connect(project / "mlflow.db", isolation_level=None)
    now = tracker(project)
    now.begin("a", ["a"])
    lock.execute("BEGIN EXCLUSIVE")
    try:
        now.start("a", PARAMETERS)
        assert "MLflow cannot be reached, so its entries wait in" in caplog.text
    finally:
        lock.execute("ROLLBACK")
    now.record("a", [(0, 0, "train_loss", 1.0), (0, 1, "train_loss", 0.5)])
    now.end_all("FINISHED")
    (run,) = runs(now)
    assert (run.info.status, curve(now, run)) == ("FINISHED", [(0, 1.0), (1, 0.5)])
    assert run.data.params == {"task": "classification", "train.seeds": "[0]"}


@pytest.mark.slow
def test_an_unreachable_server_gets_all_from_the_next_run(project):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    now = tracker(project, uri)
    began = time.monotonic()
    now.begin("a", ["a"])
    now.start("a", PARAMETERS)
    now.record("a", [(0, epoch, "train_loss", 1.0) for epoch in range(1500)])
    now.end_all("FINISHED")
    assert time.monotonic() - began < 60
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    store = ["--backend-store-uri", f"sqlite:///{project}/mlflow.db"]
    server = subprocess.Popen(
        [*command, *store], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        later = tracker(project, uri)
        until_up = time.monotonic() + 120
        while not later.outbox.deliver(insist=True) and time.monotonic() < until_up:
            time.sleep(1)
        later.begin("b", ["b"])
        (run,) = runs(later)
        assert run.info.status == "FINISHED"
        assert len(later.client.get_metric_history(run.info.run_id, "train_loss")) == 1500
        assert list(later.outbox.folder.iterdir()) == []
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def test_a_kill_between_sending_and_noting_changes_nothing(project):
    now = tracker(project)
    now.begin("a", ["a"])
    now.start("a", PARAMETERS)
    now.record("a", [(0, 0, "train_loss", 1.0)])
    now.outbox.deliver()
    journal = now.open["a"]
    journal.note.unlink()  # as if nothing had been noted
    now.end_all("FINISHED")
    (run,) = runs(now)
    assert (run.info.status, curve(now, run)) == ("FINISHED", [(0, 1.0)])


def test_a_torn_line_is_cut_off(tmp_path):
    journal = Journal(tmp_path / "x.jsonl")
    journal.add("metrics", [["loss", 1.0, 5, 0]])
    with journal.path.open("a") as file:
        file.write('["metrics", [["lo')
    again = Journal(journal.path)
    again.add("metrics", [["loss", 2.0, 6, 1]])
    assert again.points() == {("loss", 0): 1.0, ("loss", 1): 2.0}


def test_what_mlflow_refuses_is_told_and_does_not_block_the_rest(project, caplog):
    now = tracker(project)
    now.begin("a", ["a"])
    now.start("a", PARAMETERS)
    now.open["a"].add("metrics", [["no:such:name?*", 1.0, 5, 0]])
    now.record("a", [(0, 0, "train_loss", 1.0)])
    now.end_all("FINISHED")
    assert "MLflow refuses an entry" in caplog.text
    assert curve(now, runs(now)[0]) == [(0, 1.0)]
