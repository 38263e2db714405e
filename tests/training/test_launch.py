"""Launching: what is refused, what torchrun is told, and what it takes to end, kill and restart its ranks."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.distributed.run import get_args_parser

from cv_pipelines.errors import ConfigError, LaunchError
from cv_pipelines.training import finders
from cv_pipelines.training.fit import Job, fit
from cv_pipelines.training.job import save_job
from cv_pipelines.training.launch import await_host, join, launch, meeting_point, raise_error, torchrun
from cv_pipelines.training.placement import Layout, check_devices, check_layout, layout_of
from cv_pipelines.training.rollback import NotFiniteError
from cv_pipelines.training.validation import check_experiment

TWO = {"devices": 2}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ("MASTER_ADDR", "MASTER_PORT", "PET_NNODES", "PET_NPROC_PER_NODE", "PET_MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def toy(experiment, image_source, tmp_path):
    """Builds a job of the classification toy."""

    def build(name="work", task="classification", **train):
        return Job("toy", experiment(task, train={"epochs": 3, **train}), image_source, tmp_path / name)

    return build


REFUSED = {
    "batch": ({"batch_size": 9}, r"train\.batch_size: 9 .* 2 ranks \(1 × 2\); take a multiple of 2"),
    "memory": ({"oom_retries": 1}, r"train\.oom_retries: 1: .* 2 ranks"),
    "sharded average": ({"strategy": "fsdp", "ema": 0.9}, r"train\.ema: not with strategy fsdp"),
    "sharded compilation": ({"strategy": "fsdp", "compile": True}, r"train\.compile: not with strategy fsdp"),
    "sharded phases": ({"strategy": "fsdp", "head_first": {"epochs": 1}}, r"train\.head_first: not with"),
    "sharded muon": (
        {"strategy": "fsdp", "optimizer": {"name": "muon", "lr": 0.1}},
        r"train\.optimizer\.name: ",
    ),
    "sharded scaler": ({"strategy": "fsdp", "precision": "16-mixed"}, r"train\.precision: not with"),
}


class TestValidation:
    """What cannot be trained by several ranks is refused before anything runs."""

    @pytest.mark.parametrize("case", REFUSED)
    def test_refused(self, case, experiment):
        train, message = REFUSED[case]
        config = experiment("classification", train=TWO | train)
        with pytest.raises(ConfigError, match=message):
            check_layout(config, layout_of(config.train))
        check_layout(config, Layout(1, 1))

    def test_a_gan_is_not_sharded(self, experiment):
        config = experiment("gan", train=TWO | {"strategy": "fsdp"})
        with pytest.raises(ConfigError, match=r"train\.strategy: 'fsdp' is not for GANs"):
            check_layout(config, layout_of(config.train))

    def test_an_experiment_is_refused_with_its_file(self, experiment):
        values = experiment("classification", train=TWO | {"batch_size": 9}).model_dump()
        with pytest.raises(ConfigError, match=r"^conf/x\.yml: toy: train\.batch_size: 9"):
            check_experiment("conf/x.yml: toy", values, ["toy"])

    @pytest.mark.parametrize("value", [0, -1, "all", 1.0, True])
    def test_devices_are_a_positive_number_or_auto(self, experiment, value):
        with pytest.raises(ValueError, match="devices"):
            experiment("classification", train={"devices": value})

    def test_a_machine_needs_a_gpu_for_each_rank(self, experiment, monkeypatch):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        config = experiment("classification", train={"device": "cuda", "devices": 4})
        with pytest.raises(ConfigError, match=r"train\.devices: 4 on a machine with 2 GPUs"):
            check_devices(config.train, layout_of(config.train))

    def test_the_search_for_a_batch_size_has_one_device(self, toy):
        with pytest.raises(ConfigError, match=r"train\.devices: 2 × 1 nodes: the search fills one device"):
            finders.find_batch_size(toy(**TWO))


class TestLayout:
    """How many ranks there are."""

    def layout(self, experiment, **train):
        return layout_of(experiment("classification", train=train).train)

    def test_as_the_file_says(self, experiment):
        assert self.layout(experiment) == Layout(1, 1)
        assert self.layout(experiment, devices=2, num_nodes=3).ranks == 6

    def test_auto_takes_all_gpus_and_else_the_cpu(self, experiment, monkeypatch):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
        assert self.layout(experiment, devices="auto", device="auto") == Layout(8, 1)
        assert self.layout(experiment, devices="auto", device="cpu") == Layout(1, 1)

    def test_torchruns_variables_win(self, experiment, monkeypatch):
        monkeypatch.setenv("PET_NPROC_PER_NODE", "4")
        monkeypatch.setenv("PET_NNODES", "2")
        assert self.layout(experiment) == Layout(4, 2)
        monkeypatch.setenv("PET_NPROC_PER_NODE", "auto")
        assert self.layout(experiment, devices=2) == Layout(1, 2)

    def test_a_range_of_nodes_is_refused(self, experiment, monkeypatch):
        monkeypatch.setenv("PET_NNODES", "1:4")
        with pytest.raises(ConfigError, match=r"PET_NNODES: a positive whole number .*'1:4'"):
            self.layout(experiment)


class TestTorchrun:
    """The command, as torchrun itself understands it."""

    def parsed(self, layout, host=True):
        command = torchrun("toy", 2, Path("/shared/work"), layout, host)
        assert command[:3] == [sys.executable, "-m", "torch.distributed.run"]
        found = get_args_parser().parse_args(command[3:])
        assert (found.module, found.training_script) == (True, "cv_pipelines.training.worker")
        assert found.training_script_args == ["/shared/work"]
        assert (found.nproc_per_node, found.max_restarts) == (str(layout.devices), 2)
        return found

    def test_one_machine_needs_no_meeting_point(self):
        assert self.parsed(Layout(8, 1)).standalone

    def test_several_machines_meet_where_the_environment_says(self, monkeypatch):
        with pytest.raises(LaunchError, match="MASTER_ADDR"):
            torchrun("toy", 2, Path(), Layout(8, 2), True)
        monkeypatch.setenv("MASTER_ADDR", "node0")
        monkeypatch.setenv("MASTER_PORT", "29501")
        for host in (True, False):
            found = self.parsed(Layout(8, 2), host)
            assert (found.nnodes, found.rdzv_backend, found.rdzv_id) == ("2", "c10d", "toy")
            assert found.rdzv_endpoint == "node0:29501"
            assert f"is_host={str(host).lower()}" in found.rdzv_conf
        assert meeting_point() == ("node0", 29501)


def test_one_device_trains_in_place_to_the_same_bits(toy, identical):
    whole, history = fit(toy("fit"))
    found, rows = launch(toy("launched", strategy="fsdp"))
    assert identical(whole, found)
    pd.testing.assert_frame_equal(rows, history)
    assert [path.name for path in toy("launched").folder.iterdir()] == ["seed_0"]


def test_an_error_of_a_rank_comes_back_as_it_was(tmp_path):
    raise_error(tmp_path)
    for name, text in (("NotFiniteError", "the loss is nan"), ("SourceError", "gone")):
        (tmp_path / "error.json").write_text(json.dumps([name, text]))
        with pytest.raises(Exception, match=text) as error:
            raise_error(tmp_path)
        assert type(error.value).__name__ == name


def test_nobody_to_join(toy, tmp_path, monkeypatch):
    with pytest.raises(LaunchError, match=r"toy: train\.num_nodes: 1: there is no other machine"):
        join("toy", toy(**TWO).config.train, tmp_path, 0)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(made.getsockname()[1]))
        made.listen()
        with pytest.raises(LaunchError, match=r"no training at 127\.0\.0\.1:\d+ with .*job\.json after 0 s"):
            await_host(tmp_path / "job.json", 0)
        (tmp_path / "job.json").touch()
        await_host(tmp_path / "job.json", 0)


def ranks_of(work):
    """The processes of a job's ranks, by rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_text().split("\0")
            environment = dict(
                line.split("=", 1) for line in (folder / "environ").read_text().split("\0") if "=" in line
            )
        except OSError:
            continue
        if "cv_pipelines.training.worker" in command and str(work) in command and "RANK" in environment:
            found[int(environment["RANK"])] = int(folder.name)
    return found


def once_kept(work, act):
    """Do something to a job once it has kept a state in a later epoch."""

    def watch():
        state = work / "seed_0" / "live.jsonl"
        while not state.exists() or '"epoch": 1' not in state.read_text():
            time.sleep(0.05)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def wait_until(holds, seconds=60):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.1)


LONG = {"devices": 2, "epochs": 16, "checkpoint_every": 1, "batch_size": 4}


@pytest.fixture(scope="module")
def undisturbed(experiment, image_source, tmp_path_factory):
    """What the long training gives where nothing happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return launch(Job("toy", experiment("classification", train=LONG), image_source, folder))


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_is_restarted_and_nothing_shows(toy, undisturbed, identical, victim):
    job = toy("cut", **LONG)
    pids = []

    def kill():
        pids.append(ranks_of(job.folder))
        os.kill(pids[0][victim], signal.SIGKILL)

    thread = once_kept(job.folder, kill)
    found, rows = launch(job)
    thread.join(1)
    assert sorted(pids[0]) == [0, 1]
    assert identical(undisturbed[0], found)
    pd.testing.assert_frame_equal(rows, undisturbed[1])
    assert ranks_of(job.folder) == {}


@pytest.mark.slow
def test_an_error_is_told_once_and_not_tried_again(toy):
    job = toy(devices=2, optimizer={"name": "sgd", "lr": 1e30})
    with pytest.raises(NotFiniteError, match=r"the loss is .*_rank_[01]\.pt"):
        launch(job)
    assert len(list((job.folder / "seed_0").glob("not_finite_*_rank_*.pt"))) in {1, 2}
    with pytest.raises(NotFiniteError):  # the note of before does not keep it from being tried
        launch(job)


def launched(job):
    launch(job)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ranks_end_with_their_parent_and_the_training_goes_on(toy, undisturbed, identical, number):
    job = toy("cut", **LONG)
    parent = multiprocessing.get_context("fork").Process(target=launched, args=(job,))
    thread = once_kept(job.folder, lambda: os.kill(parent.pid, number))
    parent.start()
    thread.join(120)
    wait_until(lambda: not ranks_of(job.folder))
    parent.join(70)
    assert parent.exitcode not in {0, None}
    kept = torch.load(job.folder / "seed_0" / "last.ckpt", weights_only=False)["position"]
    assert 0 < kept["epoch"] < 15
    assert identical(undisturbed[0], launch(job)[0])


@pytest.mark.slow
def test_two_machines_train_together(toy, identical, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # a rank alone on a machine takes more, and sums otherwise
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(made.getsockname()[1]))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    job = toy("shared", num_nodes=2)
    other = multiprocessing.get_context("fork").Process(
        target=join, args=("toy", job.config.train, job.folder, 120.0)
    )
    other.start()
    found, rows = launch(job)
    other.join(60)
    assert other.exitcode == 0
    monkeypatch.delenv("MASTER_ADDR")
    whole, history = launch(toy("one machine", devices=2))
    assert identical(whole, found)
    pd.testing.assert_frame_equal(rows, history)


@pytest.mark.slow
def test_ranks_may_be_started_by_hand(toy, identical):
    job = toy("by hand")
    save_job(job, job.folder / "job")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*command, "-m", "cv_pipelines.training.worker", str(job.folder)], check=True, timeout=300)
    history = pd.read_parquet(job.folder / "result" / "history.parquet")
    pd.testing.assert_frame_equal(history, launch(toy("launched", **TWO))[1])


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_gpus_give_the_curve_of_one(toy, strategy):
    one, two = (
        launch(toy(f"{devices}", device="cuda", devices=devices, strategy=strategy))[1] for devices in (1, 2)
    )
    one, two = (rows[rows["name"] == "train_loss"]["value"].to_numpy() for rows in (one, two))
    assert abs(one - two).max() < 0.05  # draws of dropout differ
