"""The packed cache: what comes out is what was decoded, whoever asks and whatever was killed."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from PIL import Image

from cv_pipelines.data.images import read_rgb
from cv_pipelines.data.packing import pack

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
