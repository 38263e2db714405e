"""The state on the disk: copied at once, written whole or not at all, and how often."""

import errno
import threading

import pytest
import torch

from cv_pipelines.errors import CheckpointError, ConfigError
from cv_pipelines.training import state as module
from cv_pipelines.training.fit import Job, fit, fit_seed
from cv_pipelines.training.resume import KeepState
from cv_pipelines.training.state import StateWriter, snapshot
from cv_pipelines.training.validation import check_experiment


@pytest.fixture
def writer():
    writer = StateWriter()
    yield writer
    writer.teardown()


def test_what_changes_after_the_copy_is_not_written(writer, tmp_path, monkeypatch):
    free, write = threading.Event(), module.write_whole
    monkeypatch.setattr(module, "write_whole", lambda *given: (free.wait(10), write(*given)))
    state = {"weights": torch.zeros(3), "rows": [{"a": 1}], "pair": (torch.ones(1), 2)}
    writer.save_checkpoint(state, tmp_path / "x.ckpt")
    assert writer.busy
    state["weights"] += 1
    state["rows"].append({"a": 2})
    free.set()
    writer.drain()
    assert not writer.busy
    found = torch.load(tmp_path / "x.ckpt")
    assert found["weights"].tolist() == [0, 0, 0]
    assert (found["rows"], found["pair"][1]) == ([{"a": 1}], 2)


def test_a_copy_keeps_memory_formats_and_the_versions_of_a_state_dict():
    weights = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    layers = torch.nn.Sequential(torch.nn.BatchNorm2d(3)).state_dict()
    found = snapshot({"w": weights, "layers": layers})
    assert found["w"].stride() == weights.stride()
    assert found["layers"]._metadata == layers._metadata


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("pytorch")])
def test_a_full_disk_is_told_and_leaves_the_state_of_before(writer, tmp_path, monkeypatch, error):
    path = tmp_path / "x.ckpt"
    writer.save_checkpoint({"a": 1}, path)
    writer.drain()

    def full(state, file):
        file.write(b"half of it")
        raise error

    monkeypatch.setattr(module.torch, "save", full)
    writer.save_checkpoint({"a": 2}, path)
    with pytest.raises(
        CheckpointError, match=r"x\.ckpt: the state .* cannot be written: .*is intact: make room"
    ):
        writer.drain()
    assert torch.load(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["x.ckpt"]


def test_a_disk_that_fills_up_ends_the_training_which_goes_on_once_there_is_room(
    image_source, experiment, identical, tmp_path, monkeypatch
):
    config = experiment("classification", train={"checkpoint_every": 1})
    whole, _ = fit(Job("toy", config, image_source, tmp_path / "whole"))
    job, save = Job("toy", config, image_source, tmp_path / "cut"), torch.save

    def fill_up(state, file):
        position = state.get("position", {"epoch": 0, "batches": 0})
        if (position["epoch"], position["batches"]) > (1, 0):  # the second epoch no longer fits
            raise OSError(errno.ENOSPC, "No space left on device")
        save(state, file)

    with monkeypatch.context() as patch:
        patch.setattr(module.torch, "save", fill_up)
        with pytest.raises(CheckpointError, match="No space left on device"):
            fit(job)
    assert (tmp_path / "cut" / "seed_0" / "last.ckpt").exists()
    assert identical(whole, fit(job)[0])


@pytest.mark.parametrize(
    ("every", "kept"),
    [
        *((1, [1, 2, 0] * 2), (2, [2, 0] * 2), (0.34, [1, 2, 0] * 2)),
        *((None, [0] * 2), ("0s", [1, 2, 0] * 2), ("999s", [0])),
    ],
)
def test_how_often_the_state_is_kept(image_source, experiment, tmp_path, monkeypatch, every, kept):
    found, save = [], KeepState._save

    def note(self, trainer, batches):
        save(self, trainer, batches)
        self.writer.drain()
        found.append(batches)

    monkeypatch.setattr(KeepState, "_save", note)
    config = experiment("classification", train={"checkpoint_every": every})
    fit_seed(Job("toy", config, image_source, tmp_path), 0)
    assert found == kept


@pytest.mark.parametrize("every", [0, -1, 0.0, 1.5, "30", "s", True])
def test_other_intervals_are_refused(every):
    values = {
        "task": "classification",
        "source": "toy",
        "model": {"name": "residual_cnn"},
        "train": {"epochs": 1, "batch_size": 1, "optimizer": {"lr": 0.1}, "checkpoint_every": every},
    }
    with pytest.raises(ConfigError, match="checkpoint_every"):
        check_experiment("here", values, ["toy"])
