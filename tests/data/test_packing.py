"""The packed cache: what comes out is what was decoded, whoever asks and whatever was killed."""

import multiprocessing
import os
import pickle
import signal
import time

import numpy as np
import pytest
from PIL import Image

from cv_pipelines.config import Cache
from cv_pipelines.data.datasets import SampleDataset, SourceData
from cv_pipelines.data.images import read_rgb
from cv_pipelines.data.packing import pack
from cv_pipelines.data.packing import packed as packed_source
from cv_pipelines.data.schema import Categories, annotations_table, categories_of, samples_table
from cv_pipelines.errors import CacheError, SampleError

LARGE = 1 << 30


@pytest.fixture
def source(tmp_path):
    rng = np.random.default_rng(0)
    names = []
    for k, size in enumerate([(40, 30), (30, 40), (64, 64), (8, 5), (1, 1)]):
        pixels = rng.integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
        names.append(f"{k}.png")
    return tmp_path, names, [f"hash {name}" for name in names]


def packed(source, tmp_path, **options):
    root, names, hashes = source
    return pack(tmp_path / "cache", root, names, hashes, **{"side": 100, "limit": LARGE} | options)


def test_small_images_come_back_as_they_were(source, tmp_path):
    found = packed(source, tmp_path)
    root, names, _ = source
    assert len(found) == len(names)
    for row, name in enumerate(names):
        np.testing.assert_array_equal(found[row], read_rgb(root / name))


def test_large_images_are_scaled_to_the_side(source, tmp_path):
    found = packed(source, tmp_path, side=20)
    assert [found[row].shape[:2] for row in range(5)] == [(20, 27), (27, 20), (20, 20), (5, 8), (1, 1)]


def test_a_second_call_decodes_nothing(source, tmp_path):
    packed(source, tmp_path)
    for path in source[0].glob("*.png"):
        path.unlink()
    assert packed(source, tmp_path)[2].shape == (64, 64, 3)


def test_content_and_side_are_the_key(source, tmp_path):
    packed(source, tmp_path)
    packed(source, tmp_path, side=20)
    root, names, hashes = source
    pack(tmp_path / "cache", root, names, ["other", *hashes[1:]], side=100, limit=LARGE)
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 3


def test_the_longest_unused_entries_go_when_the_cache_is_full(source, tmp_path):
    first = packed(source, tmp_path, side=30)
    for side in (29, 28):
        time.sleep(0.01)
        packed(source, tmp_path, side=side)
    time.sleep(0.01)
    packed(source, tmp_path, side=30)
    packed(source, tmp_path, side=27, limit=2 * first.pixels.size)
    left = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert len(left) == 2
    assert first[0].shape == (30, 40, 3)  # what is mapped can still be read


def _pack_slowly(root, names, hashes, folder, started):
    import cv_pipelines.data.packing as module

    true = module.read_rgb

    def slow(path):
        started.set()
        time.sleep(0.05)
        return true(path)

    module.read_rgb = slow
    module.pack(folder, root, names * 20, hashes * 20, side=100, limit=LARGE)


def test_a_killed_writer_leaves_nothing_half_written(source, tmp_path):
    root, names, hashes = source
    context = multiprocessing.get_context("fork")
    started = context.Event()
    arguments = (root, names, hashes, tmp_path / "cache", started)
    writer = context.Process(target=_pack_slowly, args=arguments)
    writer.start()
    started.wait(10)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    found = pack(tmp_path / "cache", root, names * 20, hashes * 20, side=100, limit=LARGE)
    np.testing.assert_array_equal(found[99], read_rgb(root / names[4]))


def test_two_writers_at_once_give_one_entry(source, tmp_path):
    root, names, hashes = source
    context = multiprocessing.get_context("fork")
    started = context.Event()
    writers = [
        context.Process(target=_pack_slowly, args=(root, names, hashes, tmp_path / "cache", started))
        for _ in range(2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1


@pytest.fixture
def files(tmp_path):
    """Six images of three splits, four of them with a mask."""
    rng = np.random.default_rng(1)
    rows = []
    for k in range(6):
        height, width = 20 + k, 30 - k
        Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(tmp_path / f"{k}.png")
        Image.fromarray(rng.integers(0, 3, (height, width), np.uint8)).save(tmp_path / f"{k}_mask.png")
        rows.append(
            {
                "sample_id": f"s{k}",
                "media": f"{k}.png",
                "target": f"{k}_mask.png" if k < 4 else None,
                "split": ["train", "val", "test"][k % 3],
                "group": f"s{k}",
                "width": width,
                "height": height,
                "labels": [k % 2],
                "content_hash": f"content {k}",
            }
        )
    categories = Categories(
        labels=categories_of(["even", "odd"]),
        mask=categories_of(["low", "high"]),
        mask_lookup={"0": 255, "1": 0, "2": 1},
    )
    return SourceData(samples_table(rows), annotations_table([]), categories, root=tmp_path)


def test_a_cached_source_gives_the_same_samples(files, tmp_path):
    cached = packed_source(files, ["train", "val"], Cache(), tmp_path / "cache", masks=True)
    for split in ("train", "val", "test"):
        for target in ("mask", "label"):
            keep = files.samples["target"].notna().to_numpy()
            one = SampleDataset(files.where(keep).only(split), target)
            two = SampleDataset(cached.where(keep).only(split), target)
            assert len(one) == len(two) > 0
            for index in range(len(one)):
                for key, value in one[index].items():
                    np.testing.assert_array_equal(value, two[index][key])


def test_cached_splits_need_their_files_no_more(files, tmp_path):
    cached = packed_source(files, ["train"], Cache(side=10), tmp_path / "cache", masks=False)
    (tmp_path / "0.png").unlink()
    (tmp_path / "2.png").unlink()
    assert cached.only("train").read(0).shape == (3, 10, 15)
    with pytest.raises(SampleError, match=r"2\.png"):
        cached.only("test").read(0)


def test_packed_arrays_are_no_business_of_the_cache(image_source, tmp_path):
    assert packed_source(image_source, ["train"], Cache(), tmp_path / "cache", masks=False) is image_source
    assert not (tmp_path / "cache").exists()


def test_images_that_do_not_fit_are_refused_before_any_is_decoded(files, tmp_path):
    with pytest.raises(CacheError, match=r"take 7.*e-06 GB.*cache.gigabytes allows 1e-06"):
        packed_source(files, ["train", "val"], Cache(gigabytes=1e-6), tmp_path / "cache", masks=False)
    assert not (tmp_path / "cache").exists()


def test_a_changed_mask_makes_another_entry(files, tmp_path):
    def first():
        cached = packed_source(files, ["train"], Cache(), tmp_path / "cache", masks=True)
        return cached.only("train").mask(0)

    assert set(np.unique(first())) == {0, 1, 255}
    Image.new("L", (30, 20), 2).save(tmp_path / "0_mask.png")
    assert set(np.unique(first())) == {1}


def test_workers_are_given_the_name_of_an_entry_not_its_pixels(source, tmp_path):
    found = packed(source, tmp_path)
    sent = pickle.dumps(found)
    assert len(sent) < 500
    np.testing.assert_array_equal(pickle.loads(sent)[2], found[2])
