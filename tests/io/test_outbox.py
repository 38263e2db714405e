"""Curves in MLflow when it cannot be had, and when a training is cut off: one run, no gap, no duplicate."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from cv_pipelines.io import outbox as module
from cv_pipelines.io import tracking
from cv_pipelines.io.outbox import Journal
from cv_pipelines.io.tracking import Tracker, TrackingConfig
from cv_pipelines.training.callbacks import History
from cv_pipelines.training.fit import Job, fit

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


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
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


def test_an_interrupted_run_ends_though_what_sends_waits_for_ever(project, monkeypatch):
    now = tracker(project)
    now.begin("a", ["a"])
    now.start("a", PARAMETERS)
    monkeypatch.setattr(tracking, "LAST_WAIT", 0.1)
    held, over = threading.Event(), threading.Event()

    def hold():
        with now.outbox.lock:
            held.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    now.end_all("KILLED")
    over.set()
    thread.join()
    (run,) = runs(now)
    assert run.info.status == "RUNNING"
    tracker(project).begin("a", ["a"])  # the next run sends the rest
    (run,) = runs(now)
    assert run.info.status == "KILLED"


def test_a_kill_while_a_run_is_begun_leaves_no_run_too_many(project, monkeypatch):
    first = tracker(project)
    first.begin("a", ["a"], {"a": project / "work"})

    deliver = first.outbox.deliver

    def cut(insist=False):
        deliver()  # the server knows of the run, and then the kill comes
        raise InterruptedError

    monkeypatch.setattr(first.outbox, "deliver", cut)
    with pytest.raises(InterruptedError):
        first.start("a", PARAMETERS)
    second = tracker(project)
    second.begin("a", ["a"], {"a": project / "work"})
    second.start("a", PARAMETERS)
    second.end_all("FINISHED")
    (run,) = runs(second)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"task": "classification", "train.seeds": "[0]"}


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


class Server:
    """`mlflow server` on a port of its own, which can be killed and started again."""

    def __init__(self, folder, log):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri, self.log, self.process = f"http://127.0.0.1:{self.port}", log, None
        self.store = f"sqlite:///{folder}/mlflow.db"

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", self.store]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def kill(self):
        """End it and its workers as the kernel would, in the middle of a request or not."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def answers(self):
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False


@pytest.fixture
def server(project, tmp_path):
    server = Server(project, tmp_path / "server.log")
    yield server
    if server.process and server.process.poll() is None:
        server.kill()


def paced(monkeypatch, happenings):
    """Lets a training go on epoch by epoch: what is to happen in one happens when it is recorded."""
    record = History.on_train_epoch_end

    def wait(self, trainer, pl_module):
        record(self, trainer, pl_module)
        if trainer.current_epoch in happenings:
            happenings[trainer.current_epoch]()

    monkeypatch.setattr(History, "on_train_epoch_end", wait)


@pytest.mark.slow
def test_a_server_that_is_down_at_the_start_and_killed_midway_has_all_in_the_end(
    project, server, image_source, experiment, monkeypatch
):
    job = Job("a", experiment("classification", train={"epochs": 8}), image_source, project / "work")
    now = tracker(project, server.uri)

    def come():
        server.start()
        until(server.answers, 240)

    def arrive():
        until(lambda: now.outbox.deliver(insist=True) and curve(now, runs(now)[0]))

    def go():
        arrive()
        server.kill()

    paced(monkeypatch, {1: come, 3: go, 6: come})
    now.begin("a", ["a"], {"a": job.folder})
    now.start("a", PARAMETERS)
    _, history = fit(job, keep=True)
    now.log_history("a", history)
    now.end_all("FINISHED")
    (run,) = runs(now)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"task": "classification", "train.seeds": "[0]"}
    assert run.data.metrics.keys() == set(history["name"])
    for name, rows in history.groupby("name"):
        points = now.client.get_metric_history(run.info.run_id, name)
        assert sorted((p.step, p.value) for p in points) == list(
            zip(rows["epoch"], rows["value"], strict=True)
        )
    later = tracker(project, server.uri)
    later.begin("b", ["b"])
    assert list(later.outbox.folder.iterdir()) == []
    assert [r.info.run_id for r in runs(later)] == [run.info.run_id]


@pytest.mark.slow
def test_a_server_that_comes_back_after_the_training_gets_all_from_the_next_run(
    project, server, image_source, experiment, monkeypatch
):
    job = Job("a", experiment("classification", train={"epochs": 4}), image_source, project / "work")
    now = tracker(project, server.uri)
    server.start()
    until(server.answers, 240)
    now.begin("a", ["a"], {"a": job.folder})
    now.start("a", PARAMETERS)
    paced(monkeypatch, {1: lambda: (until(lambda: curve(now, runs(now)[0])), server.kill())})
    _, history = fit(job, keep=True)
    now.log_history("a", history)
    now.end_all("FINISHED")
    server.start()
    until(server.answers, 240)
    later = tracker(project, server.uri)
    assert [run.info.status for run in runs(later)] == ["RUNNING"]
    later.begin("b", ["b"])
    (run,) = runs(later)
    loss = history[history["name"] == "train_loss"]
    assert run.info.status == "FINISHED"
    assert curve(later, run) == list(zip(loss["epoch"], loss["value"], strict=True))
