"""One function over many rows: in order, on every engine, also when a worker of a cluster dies."""

import os
import signal
import sys
import threading
import time
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cv_pipelines.config import Cache, Engine, SourceConfig
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.inspection import scan_images
from cv_pipelines.data.measures import measure
from cv_pipelines.data.packing import packed
from cv_pipelines.data.parallel import in_parallel, running_on
from cv_pipelines.data.schema import Quarantine
from cv_pipelines.errors import ConfigError
from cv_pipelines.plots.data_report import draw
from cv_pipelines.sources.ingest import read_tables

ENGINES = [Engine(), Engine(workers=1), Engine(backend="processes", workers=2)]


def doubled(number):
    return 2 * number


@given(st.lists(st.integers(), max_size=200), st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_every_row_comes_back_in_its_place(rows, workers):
    with running_on(Engine(workers=workers)):
        assert list(in_parallel(doubled, rows, "Doubling")) == [2 * row for row in rows]


@pytest.mark.parametrize("engine", ENGINES, ids=str)
def test_defects_travel_back_from_every_engine(tmp_path, engine):
    Image.new("RGB", (8, 6)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    names = ["good.png", "bad.png", "none.png"] * 40
    quarantine = Quarantine()
    with running_on(engine):
        found = scan_images(tmp_path, names, quarantine)
    assert list(found) == ["good.png"]
    rows = [(row["file"], row["reason"]) for row in quarantine.rows]
    assert rows == [("bad.png", "not an image"), ("none.png", "missing file")] * 40


def test_an_error_of_the_function_reaches_the_caller():
    with running_on(Engine(workers=2)), pytest.raises(ZeroDivisionError):
        list(in_parallel(partial(divmod, 1), [1, 0], "Dividing"))


def test_a_cluster_needs_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"cv_pipelines\[dask\]"), running_on(Engine(backend="dask")):
        pass


def test_an_address_without_a_scheduler_is_named():
    engine = Engine(backend="dask", address="nothing://here")
    with pytest.raises(ConfigError, match="nothing://here"), running_on(engine):
        pass


@pytest.fixture
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as running:
        yield running


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two folders of 60 noisy pictures, and one file that is none."""
    root = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    for label in ("a", "b"):
        folder = root / "train" / label
        folder.mkdir(parents=True)
        for k in range(60):
            Image.fromarray(np.roll(noise, 7 * k, axis=1)).save(folder / f"{k}.jpg", quality=95)
    (root / "train" / "a" / "50.jpg").write_bytes(b"cut")
    return root


def job(root, engine, cache):
    """Inspect, measure, report and pack; returns all that comes out."""
    tables = read_tables(SourceConfig(reader="image_folder", engine=engine), root)
    data = SourceData(tables.samples, tables.annotations, tables.categories, tables.arrays, root)
    with running_on(engine):
        measures = measure(data)
        kept = packed(data, ["train"], Cache(side=64), cache, masks=False)
    _, summary, *_ = draw("pictures", data, tables.quarantine, tables.facts, measures)
    pixels = np.array(kept.arrays["images"].pixels)
    return tables.samples, tables.quarantine, measures, summary, pixels


@pytest.mark.slow
def test_a_cluster_whose_worker_is_killed_gives_the_same_tables_report_and_cache(pictures, cluster, tmp_path):
    wanted = job(pictures, Engine(), tmp_path / "here")
    victim = next(iter(cluster.workers.values())).pid
    ended = threading.Event()
    killed_midway = []

    def kill():
        time.sleep(0.5)
        killed_midway.append(not ended.is_set())
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    engine = Engine(backend="dask", address=cluster.scheduler_address)
    found = job(pictures, engine, tmp_path / "there")
    ended.set()
    killer.join()
    assert killed_midway == [True]
    for one, other in zip(found[:3], wanted[:3], strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert found[3] == wanted[3]
    np.testing.assert_array_equal(found[4], wanted[4])


def test_few_large_results_wait_at_a_time():
    done = []

    def note(row):
        done.append(row)
        return row

    with running_on(Engine(workers=1)):
        results = in_parallel(note, list(range(1000)), "Counting", held=100)
        assert [next(results) for _ in range(150)] == list(range(150))
        assert len(done) <= 200
        assert list(results) == list(range(150, 1000))
