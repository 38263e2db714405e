"""A job as files: what other processes read is what was meant."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cv_pipelines.config import Cache
from cv_pipelines.data.packing import packed
from cv_pipelines.tasks import TASKS
from cv_pipelines.training.job import Job, fingerprint, load_job, save_job


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_job_comes_back_as_it_was(task, experiment, sources, tmp_path):
    job = Job("toy", experiment(task), sources[task], tmp_path / "work")
    save_job(job, tmp_path / "job")
    found = load_job(tmp_path / "job")
    assert (found.experiment, found.config, found.folder) == (job.experiment, job.config, job.folder)
    assert fingerprint(found) == fingerprint(job)
    assert found.data.categories == job.data.categories
    assert found.data.root == job.data.root
    for name, array in job.data.arrays.items():
        np.testing.assert_array_equal(found.data.arrays[name], array)
    for index in range(3):
        assert found.data.labels(index) == job.data.labels(index)
    objects = ["sample_id", "category", "x", "segmentation"]
    pd.testing.assert_frame_equal(found.data.annotations[objects], job.data.annotations[objects])


def test_first_weights_travel(trained, experiment, image_source, tmp_path, same):
    init = trained("autoencoder")[0][0]
    save_job(Job("toy", experiment("classification"), image_source, tmp_path, init), tmp_path / "job")
    found = load_job(tmp_path / "job").init
    assert found.meta == init.meta
    assert same(found.states, init.states)


def test_arrays_on_the_disk_are_not_copied(image_source, experiment, tmp_path):
    np.save(tmp_path / "images.npy", image_source.arrays["images"])
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    data = replace(image_source, arrays={"images": mapped})
    save_job(Job("toy", experiment("classification"), data, tmp_path / "work"), tmp_path / "job")
    assert not list((tmp_path / "job").glob("*.npy"))
    np.testing.assert_array_equal(load_job(tmp_path / "job").data.arrays["images"], mapped)


def test_the_packed_cache_is_opened_where_it_lies(mask_source, experiment, tmp_path):
    for index in range(20):
        Image.fromarray(np.full((6, 5, 3), index, np.uint8)).save(mask_source.root / f"image_{index}.png")
    samples = mask_source.samples.assign(row=-1, media=[f"image_{k}.png" for k in range(20)])
    data = replace(mask_source, samples=samples, arrays={})
    data = packed(data, ("train",), Cache(), tmp_path / "cache", masks=True)
    save_job(Job("toy", experiment("segmentation"), data, tmp_path / "work"), tmp_path / "job")
    found = load_job(tmp_path / "job").data
    np.testing.assert_array_equal(found.read(3), data.read(3))
    np.testing.assert_array_equal(found.mask(3), data.mask(3))


def test_a_job_replaces_the_one_before_as_a_whole(image_source, experiment, tmp_path):
    for name in ("one", "two"):
        save_job(Job(name, experiment("classification"), image_source, tmp_path), tmp_path / "job")
    assert load_job(tmp_path / "job").experiment == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["job"]


def test_the_number_of_devices_is_no_part_of_the_fingerprint(image_source, experiment, tmp_path):
    prints = [
        fingerprint(Job("toy", experiment("classification", train=train), image_source, tmp_path))
        for train in (
            {},
            {"devices": 2, "num_nodes": 2, "strategy": "fsdp", "max_restarts": 0},
            {"epochs": 3},
        )
    ]
    assert prints[0] == prints[1] != prints[2]
