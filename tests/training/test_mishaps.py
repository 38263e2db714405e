"""What befalls a training from outside: files that rot, loader processes that are killed."""

import os
import shutil
import signal
from dataclasses import replace

import pytest
from PIL import Image

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.statistics import train_statistics
from cv_pipelines.errors import LoaderError, SampleError, SourceError
from cv_pipelines.training.fit import Job, fit
from cv_pipelines.training.predict import predict
from cv_pipelines.training.score import score

ROTTEN = {"s03", "s07"}


@pytest.fixture
def rotten(monkeypatch):
    """Two train samples that cannot be read any more."""
    read = SourceData.read

    def fail(self, index, **options):
        name = self.samples["sample_id"].iat[index]
        if name in ROTTEN:
            raise OSError(f"{name}: cannot identify image file")
        return read(self, index, **options)

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

    def die(self, index, **options):
        if os.getpid() != parent and last.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, index, **options)

    with monkeypatch.context() as patch:
        patch.setattr(SourceData, "read", die)
        with pytest.raises(
            LoaderError, match=r"DataLoader worker .*lower train\.workers.*same command goes on"
        ):
            fit(job)
    assert identical(whole, fit(job)[0])


@pytest.fixture
def filed(image_source, tmp_path):
    """The toy images as files, which can rot."""
    root = tmp_path / "files"
    root.mkdir()
    names = [f"{name}.png" for name in image_source.samples["sample_id"]]
    for name, pixels in zip(names, image_source.arrays["images"], strict=True):
        Image.fromarray(pixels).save(root / name)
    samples = image_source.samples.assign(row=-1, media=names)
    data = replace(image_source, samples=samples, arrays={}, root=root)
    return replace(data, statistics=train_statistics(data))


def rot(data, split):
    """Cut the file of the second sample of a split off; return what is to be told."""
    name, media = data.only(split).samples[["sample_id", "media"]].iloc[1]
    (data.root / media).write_bytes((data.root / media).read_bytes()[:60])
    return rf"sample {name} of the {split} split cannot be read any more: .*{media}: \w+Error: .*quarantine"


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_validation_sample_that_proves_unreadable_ends_the_training(filed, experiment, tmp_path, workers):
    config = experiment("classification", train={"workers": workers})
    told = rot(filed, "val")
    with pytest.raises(SampleError, match=told):
        fit(Job("toy", config, filed, tmp_path / "fit"))


@pytest.mark.parametrize("task", ["classification", "autoencoder", "gan"])
def test_no_sample_stands_in_for_another_one_in_a_prediction(filed, experiment, trained, tmp_path, task):
    config = experiment(task)
    classifier = trained("classification")[0][0] if task == "gan" else None
    checkpoints, _ = fit(Job("toy", config, filed, tmp_path / "fit"))
    told = rot(filed, "test")
    with pytest.raises(SampleError, match=told):
        predict(config, filed, checkpoints, classifier)


def test_no_mask_stands_in_for_another_one_in_a_score(mask_source, experiment, trained, tmp_path):
    config, checkpoints = experiment("segmentation"), trained("segmentation")[0]
    shutil.copytree(mask_source.root, tmp_path / "masks")
    data = replace(mask_source, root=tmp_path / "masks")
    predictions = predict(config, data, checkpoints)
    name, target = data.only("test").samples[["sample_id", "target"]].iloc[1]
    (data.root / target).unlink()
    with pytest.raises(SampleError, match=rf"sample {name} of the test split .*{target}: FileNotFoundError"):
        score("toy", config, predictions, data, checkpoints, {})
