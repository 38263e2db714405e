import gzip
import os
import shutil
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from cv_pipelines.errors import SourceError
from cv_pipelines.sources import idx

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("idx")
    return root, idx.write_sample(root, n=70)


@pytest.fixture
def root(written, tmp_path):
    return Path(shutil.copytree(written[0], tmp_path / "raw"))


def rewrite(path, change):
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))


def test_sample_reads_back(written):
    root, truth = written
    tables = idx.read(root)
    assert tables.samples["split"].value_counts().to_dict() == truth.splits == {"train": 60, "test": 10}
    names = tables.categories.names("labels")
    rows = tables.samples.itertuples()
    assert {row.sample_id: [names[i] for i in row.labels] for row in rows} == truth.labels
    assert tables.arrays["images"].shape == (70, 28, 28)
    assert tables.arrays["images"].dtype == np.uint8
    assert (tables.samples["group"] == tables.samples["sample_id"]).all()
    assert tables.samples["media"].isna().all()
    assert set(tables.samples["width"]) == {28}
    assert tables.samples["content_hash"].is_unique


def test_by_hand_unzipped_and_not_square(tmp_path):
    for stem, count in (("train", 3), ("t10k", 1)):
        images = struct.pack(">4I", 2051, count, 2, 3) + bytes(range(6 * count))
        (tmp_path / f"{stem}-images-idx3-ubyte").write_bytes(images)
        (tmp_path / f"{stem}-labels-idx1-ubyte").write_bytes(
            struct.pack(">2I", 2049, count) + b"\x09\x00\x05"[:count]
        )
    tables = idx.read(tmp_path, names="fashion")
    assert tables.arrays["images"][1].tolist() == [[6, 7, 8], [9, 10, 11]]
    assert tables.samples["labels"].tolist() == [[9], [0], [5], [9]]
    assert tables.samples.loc[0, ["width", "height"]].tolist() == [3, 2]
    assert tables.categories.names("labels")[9] == "Ankle boot"
    assert tables.samples["row"].tolist() == [0, 1, 2, 3]


def test_a_label_outside_range_drops_its_row(root):
    rewrite(root / LABELS, lambda data: data[:13] + b"\x0a" + data[14:])
    tables = idx.read(root)
    assert len(tables.samples) == len(tables.arrays["images"]) == 69
    assert "train_00005" not in set(tables.samples["sample_id"])
    row = tables.quarantine.iloc[0]
    assert (row["file"], row["reason"]) == (f"{LABELS}:5", "label outside range")
    assert row["detail"] == "10; expected 0 to 9"


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        (IMAGES, lambda d: d[:-1], f"{IMAGES}: 47055 bytes; expected 47056"),
        (IMAGES, lambda d: d + b"\0", "47057 bytes; expected 47056"),
        (IMAGES, lambda d: d[:7], "7 bytes; expected a header of 16"),
        (IMAGES, lambda d: b"", "0 bytes; expected a header of 16"),
        (IMAGES, lambda d: b"\0\0\x08\x01" + d[4:], "magic number 2049; expected 2051"),
        (LABELS, lambda d: d[:-2], f"{LABELS}: 66 bytes; expected 68"),
        (LABELS, lambda d: struct.pack(">2I", 2049, 59) + d[8:-1], "59 labels; expected 60"),
        (LABELS, lambda d: d[:8] + b"\xff" * 60, None),
    ],
)
def test_a_file_of_another_length_or_type_is_named(root, name, change, told):
    rewrite(root / name, change)
    if told is None:
        assert set(idx.read(root).samples["split"]) == {"test"}
        return
    with pytest.raises(SourceError, match=told):
        idx.read(root)


def test_huge_dimensions_are_refused_without_reading_them(root):
    rewrite(root / IMAGES, lambda d: struct.pack(">4I", 2051, 2**32 - 1, 2**31, 2**31) + d[16:])
    with pytest.raises(SourceError, match="expected"):
        idx.read(root)


@pytest.mark.parametrize("shape", [(2**31, 2**31, 4), (2**32 - 1, 2**16, 1)])
def test_dimensions_whose_product_is_beyond_64_bits_or_the_memory_are_refused(root, shape):
    rewrite(root / IMAGES, lambda d: struct.pack(">4I", 2051, *shape))
    with pytest.raises(SourceError, match="16 bytes; expected"):
        idx.read(root)


@pytest.mark.parametrize("shape", [(0, 28, 28), (0, 2**32 - 1, 2**31), (60, 0, 28)])
def test_a_dimension_of_nothing_is_refused(root, shape):
    rewrite(root / IMAGES, lambda d: struct.pack(">4I", 2051, *shape))
    with pytest.raises(SourceError, match="expected no dimension of 0"):
        idx.read(root)


def test_what_a_small_file_unpacks_to_does_not_fill_the_memory(root):
    with gzip.open(root / IMAGES, "wb", compresslevel=1) as file:
        file.write(struct.pack(">4I", 2051, 60, 28, 28))
        for _ in range(256):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(SourceError, match=r"at least .* bytes; expected 47056"):
        idx.read(root)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize(
    "change", [lambda d: d[:-20], lambda d: b"not gzip", lambda d: d[:50] + b"\0" * 20 + d[70:]]
)
def test_a_damaged_gzip_file_is_named(root, change):
    path = root / IMAGES
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(SourceError, match=f"{IMAGES}: damaged gzip"):
        idx.read(root)


def test_a_missing_file_is_named(root):
    (root / LABELS).unlink()
    with pytest.raises(SourceError, match="missing train-labels-idx1-ubyte"):
        idx.read(root)


def test_no_label_in_range(root):
    for stem, count in (("train", 60), ("t10k", 10)):
        rewrite(root / f"{stem}-labels-idx1-ubyte.gz", lambda d, n=count: d[:8] + b"\x63" * n)
    with pytest.raises(SourceError, match="no row"):
        idx.read(root)


def test_splits_of_different_size(root, tmp_path):
    idx.write_sample(tmp_path / "other", n=70, size=(20, 24))
    shutil.copy(tmp_path / "other" / IMAGES, root / IMAGES)
    with pytest.raises(SourceError, match=r"\(24, 20\)"):
        idx.read(root)


def test_no_folder(tmp_path):
    with pytest.raises(SourceError, match="four idx files"):
        idx.read(tmp_path / "x")


@pytest.mark.real_data
def test_real_fashion_mnist():
    root = Path(os.environ.get("CV_PIPELINES_RAW", "")) / "fashion_mnist"
    if "CV_PIPELINES_RAW" not in os.environ or not root.is_dir():
        pytest.skip("CV_PIPELINES_RAW is not set or has no fashion_mnist/")
    tables = idx.read(root, names="fashion")
    assert tables.samples["split"].value_counts().to_dict() == {"train": 60_000, "test": 10_000}
    labels = tables.samples["labels"].str[0].to_numpy()
    assert np.bincount(labels[:60_000]).tolist() == [6000] * 10
    assert np.bincount(labels[60_000:]).tolist() == [1000] * 10
    assert tables.samples["labels"].iloc[0] == [9]
    assert tables.quarantine.empty
