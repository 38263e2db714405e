"""What befalls a training from outside: files that rot, loader processes that are killed."""

import os
import signal

import pytest

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.errors import LoaderError, SourceError
from cv_pipelines.training.fit import Job, fit

ROTTEN = {"s03", "s07"}


@pytest.fixture
def rotten(monkeypatch):
    """Two train samples that cannot be read any more."""
    read = SourceData.read

    def fail(self, index):
        name = self.samples["sample_id"].iat[index]
        if name in ROTTEN:
            raise OSError(f"{name}: cannot identify image file")
        return read(self, index)

    monkeypatch.setattr(SourceData, "read", fail)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_samples_that_prove_unreadable_are_passed_over_the_same_each_time(
    rotten, image_source, experiment, interrupted, identical, tmp_path, caplog, workers
):
    config = experiment("classification", train={"checkpoint_every": 1})
    whole, _ = fit(Job("toy", config, image_source, tmp_path / "whole"))
    assert caplog.text.count("cannot be read, the next one stands in for it: OSError: s0") == len(ROTTEN)
    config = experiment("classification", train={"checkpoint_every": 1, "workers": workers})
    job = Job("toy", config, image_source, tmp_path / "cut")
    interrupted(job, epoch=1)
    listed = (tmp_path / "cut" / "seed_0" / "unreadable.tsv").read_text().splitlines()
    assert {line.split("\t")[0] for line in listed} == ROTTEN
    assert identical(whole, fit(job)[0])


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_more_of_them_than_allowed_end_the_training(rotten, image_source, experiment, tmp_path, workers):
    config = experiment("classification", train={"bad_samples": 1, "workers": workers})
    with pytest.raises(SourceError, match=r"s0\d cannot be read .*with it 2 .*bad_samples allows 1.*\.tsv"):
        fit(Job("toy", config, image_source, tmp_path))


def test_a_killed_loader_process_is_told_and_the_training_goes_on_later(
    image_source, experiment, identical, tmp_path, monkeypatch
):
    config = experiment("classification", train={"epochs": 3, "workers": 1, "checkpoint_every": 1})
    alone = experiment("classification", train={"epochs": 3})
    whole, _ = fit(Job("toy", alone, image_source, tmp_path / "whole"))
    job, read, parent = Job("toy", config, image_source, tmp_path / "cut"), SourceData.read, os.getpid()
    last = tmp_path / "cut" / "seed_0" / "last.ckpt"

    def die(self, index):
        if os.getpid() != parent and last.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(SourceData, "read", die)
        with pytest.raises(
            LoaderError, match=r"DataLoader worker .*lower train\.workers.*same command goes on"
        ):
            fit(job)
    assert identical(whole, fit(job)[0])
