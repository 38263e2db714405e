"""Ingest: samples are drawn once, sources are read once, and nothing stale or damaged is trusted."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cv_pipelines.config import SourceConfig, parse
from cv_pipelines.data.schema import (
    Categories,
    Quarantine,
    Tables,
    annotations_table,
    categories_of,
    samples_table,
)
from cv_pipelines.errors import SourceError
from cv_pipelines.sources import ingest as module
from cv_pipelines.sources.ingest import STAMP, digest_of_files, draw_sample, ingest, load_tables, read_stamp


class Reader:
    """A reader of a folder of `<label>.txt` files that counts how often it is used."""

    def __init__(self):
        self.reads = self.drawings = 0

    def read(self, root, *, scale=1):
        self.reads += 1
        names = sorted(path.stem for path in root.glob("*.txt"))
        rows = [
            {
                "sample_id": name,
                "row": i,
                "split": "train",
                "group": name,
                "labels": [0],
                "content_hash": name,
            }
            for i, name in enumerate(names)
        ]
        return Tables(
            samples=samples_table([row | {"width": 1, "height": 1} for row in rows]),
            annotations=annotations_table([]),
            categories=Categories(labels=categories_of(["thing"])),
            quarantine=Quarantine().table(),
            arrays={"images": np.full((len(names), 1, 1), scale, np.uint8)},
            facts={"reader": "toy"},
        )

    def write_sample(self, root, *, n=3, size=(1, 1), seed=0):
        self.drawings += 1
        assert isinstance(size, tuple)
        for i in range(n):
            (root / f"{i}.txt").write_text(f"{seed}{size}", encoding="utf8")


@pytest.fixture
def toy(monkeypatch):
    reader = Reader()
    monkeypatch.setattr(module, "reader", lambda name: reader)
    return reader


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "raw"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("one")
    (root / "b.txt").write_text("two")
    return root


def config(root, **values):
    return SourceConfig.model_validate({"reader": "toy", "root": str(root), **values})


def store(folder, tables, stamp):
    """Lay tables down as the catalog does."""
    folder.mkdir(exist_ok=True)
    for name in ("samples", "annotations", "quarantine"):
        getattr(tables, name).to_parquet(folder / f"{name}.parquet")
    (folder / "categories.json").write_text(tables.categories.model_dump_json())
    (folder / "facts.json").write_text(json.dumps(tables.facts))
    (folder / "arrays").mkdir(exist_ok=True)
    for name, array in tables.arrays.items():
        np.save(folder / "arrays" / f"{name}.npy", array)
    (folder / STAMP).write_text(json.dumps(stamp))


@pytest.fixture
def stored(toy, root, tmp_path):
    """A folder with the tables of a first ingest."""
    folder = tmp_path / "store"
    store(folder, *ingest(config(root), folder))
    assert toy.reads == 1
    return folder


def test_an_unchanged_source_is_loaded_and_not_read(toy, root, stored):
    tables, stamp = ingest(config(root), stored)
    assert toy.reads == 1
    pd.testing.assert_frame_equal(tables.samples, toy.read(root).samples)
    assert isinstance(tables.arrays["images"], np.memmap)
    assert tables.arrays["images"].tolist() == [[[1]], [[1]]]
    assert (tables.facts, read_stamp(stored)) == ({"reader": "toy"}, stamp)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "a.txt").write_text("longer"),
        lambda root: os.utime(root / "a.txt", ns=(1, 1)),
        lambda root: (root / "c.txt").write_text("new"),
        lambda root: (root / "a.txt").unlink(),
        lambda root: (root / "a.txt").rename(root / "z.txt"),
        lambda root: (root / "sub" / "deep.txt").write_text("new"),
    ],
    ids=["size", "time", "added", "removed", "renamed", "nested"],
)
def test_a_changed_source_is_read_again(toy, root, stored, change):
    before = digest_of_files(root)
    change(root)
    assert digest_of_files(root) != before
    ingest(config(root), stored)
    assert toy.reads == 2


def test_other_options_of_the_reader_read_again(toy, root, stored):
    tables, _ = ingest(config(root, scale=7), stored)
    assert toy.reads == 2
    assert tables.arrays["images"].max() == 7


class TestHeadersOnly:
    """`check: headers`: sizes without decoding."""

    @pytest.fixture
    def photos(self, tmp_path):
        folder = tmp_path / "photos" / "train" / "a"
        folder.mkdir(parents=True)
        noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
        for name in ("whole.jpg", "copy.jpg", "cut.jpg", "wrong.jpg"):
            Image.fromarray(noise).save(folder / name)
        Image.fromarray(noise).save(folder / "other.png")
        cut = (folder / "cut.jpg").read_bytes()
        (folder / "cut.jpg").write_bytes(cut[: len(cut) // 2])
        (folder / "wrong.jpg").write_bytes(b"no image")
        return tmp_path / "photos"

    def test_sizes_are_the_same_and_broken_pixels_are_not_found(self, photos, tmp_path):
        wholly, _ = ingest(SourceConfig(reader="image_folder", root=str(photos)), tmp_path / "one")
        config = SourceConfig(reader="image_folder", root=str(photos), check="headers")
        quickly, _ = ingest(config, tmp_path / "two")
        by_file = quickly.samples.set_index("media")
        assert len(quickly.samples) == len(wholly.samples) + 1
        assert set(quickly.quarantine["reason"]) == {"not an image"}
        for media, row in wholly.samples.set_index("media").iterrows():
            assert (row["width"], row["height"]) == tuple(by_file.loc[media, ["width", "height"]])
        assert by_file["content_hash"].is_unique
        assert (wholly.facts.get("check"), quickly.facts["check"]) == (None, "headers")

    def test_what_was_read_quickly_is_not_taken_for_checked(self, photos, tmp_path):
        values = {"reader": "image_folder", "root": str(photos)}
        stamps = []
        for check in ("headers", "decode"):
            _, stamp = ingest(parse("source", SourceConfig, values | {"check": check}), tmp_path / "store")
            stamps.append(stamp)
        assert stamps[0] != stamps[1]


def test_another_split_does_not_read_again(toy, root, stored):
    ingest(config(root, validation={"share": 0.5}, seed=3), stored)
    assert toy.reads == 1


@pytest.mark.parametrize(
    "file",
    ["samples.parquet", "annotations.parquet", "quarantine.parquet", "categories.json", "facts.json", STAMP],
)
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "other"])
def test_a_damaged_table_is_not_trusted(toy, root, stored, file, damage):
    path = stored / file
    whole = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "other": b"not what it was"}[damage])
    tables, _ = ingest(config(root), stored)
    assert toy.reads == 2
    assert len(tables.samples) == 2


@pytest.mark.parametrize("damage", ["gone", "cut", "folder"])
def test_damaged_arrays_are_not_trusted(toy, root, stored, damage):
    path = stored / "arrays" / "images.npy"
    whole = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(whole[:-1])
    if damage == "folder":
        path.parent.rmdir()
    tables, _ = ingest(config(root), stored)
    assert toy.reads == 2
    assert tables.arrays["images"].shape == (2, 1, 1)


def test_a_store_that_is_not_there_has_nothing(tmp_path):
    assert read_stamp(tmp_path / "none") is None
    assert load_tables(tmp_path / "none") is None


def test_the_digest_is_of_the_tree_and_not_of_its_place(root, tmp_path):
    moved = tmp_path / "elsewhere"
    before = digest_of_files(root)
    root.rename(moved)
    assert digest_of_files(moved) == before
    assert digest_of_files(None) == digest_of_files(tmp_path / "nowhere")


def test_a_sample_is_drawn_once(toy, tmp_path):
    root = tmp_path / "drawn"
    drawn = config(root, sample={"n": 4, "size": [8, 6]})
    _, first = ingest(drawn, tmp_path / "store")
    _, second = ingest(drawn, tmp_path / "store")
    assert toy.drawings == 1
    assert first | {"seconds": 0} == second | {"seconds": 0}  # read twice, for nothing was stored
    assert sorted(path.name for path in root.glob("*.txt")) == [f"{i}.txt" for i in range(4)]


def test_a_sample_is_drawn_again_when_its_description_changes(toy, tmp_path):
    root = tmp_path / "drawn"
    draw_sample(config(root, sample={"n": 4}), root)
    draw_sample(config(root, sample={"n": 2}), root)
    assert toy.drawings == 2
    assert sorted(path.name for path in root.iterdir()) == ["0.txt", "1.txt", "sample.json"]
    draw_sample(config(root, sample={"n": 2, "seed": 1}), root)
    assert (root / "0.txt").read_text() == "1(1, 1)"


def test_an_interrupted_drawing_leaves_no_half_sample(toy, tmp_path, monkeypatch):
    root = tmp_path / "drawn"
    wanted = config(root, sample={"n": 2})

    def interrupted(folder, **options):
        (folder / "0.txt").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(toy, "write_sample", interrupted)
        with pytest.raises(KeyboardInterrupt):
            draw_sample(wanted, root)
    assert not root.exists()
    draw_sample(wanted, root)
    assert sorted(path.name for path in root.iterdir()) == ["0.txt", "1.txt", "sample.json"]


@pytest.mark.parametrize("note", ["", "{", "[]", '{"n": 9}'])
def test_a_note_that_does_not_fit_is_no_proof_of_the_sample(toy, tmp_path, note):
    root = tmp_path / "drawn"
    root.mkdir()
    (root / "sample.json").write_text(note)
    draw_sample(config(root, sample={"n": 2}), root)
    assert toy.drawings == 1
    assert (root / "1.txt").exists()


def test_files_that_were_not_drawn_are_never_replaced(toy, root):
    with pytest.raises(SourceError, match="holds files, but no drawn sample"):
        ingest(config(root, sample={"n": 2}), root / "store")
    assert (root / "a.txt").read_text() == "one"
    assert toy.drawings == 0


def test_a_sample_drawn_before_objects_could_be_named_is_not_drawn_again(tmp_path):
    """What is noted of it does not name them, and neither does what is asked for."""
    plain = {"reader": "coco", "root": str(tmp_path / "raw"), "sample": {"n": 8, "size": [48, 48]}}
    config_of = SourceConfig.model_validate
    draw_sample(config_of(plain), tmp_path / "raw")
    note = tmp_path / "raw/sample.json"
    assert json.loads(note.read_text()) == {"n": 8, "size": [48, 48], "seed": 0}
    written = note.stat().st_mtime_ns
    draw_sample(config_of(plain), tmp_path / "raw")
    assert note.stat().st_mtime_ns == written
    draw_sample(config_of(plain | {"sample": {**plain["sample"], "objects": [0, 1]}}), tmp_path / "raw")
    truth = json.loads((tmp_path / "raw/annotations/instances_train2017.json").read_text())
    images = [row["image_id"] for row in truth["annotations"]]
    assert len(set(images)) == len(images) < 6
