import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from cv_pipelines.errors import SourceError
from cv_pipelines.sources import uci_har
from cv_pipelines.sources.motion import draw_person, simulate
from cv_pipelines.sources.signals import (
    ACTIVITIES,
    CHANNELS,
    cut_windows,
    fill_rows,
    nine_channels,
    parse_rows,
    window_starts,
)

SIGNAL = "UCI HAR Dataset/train/Inertial Signals/body_gyro_y_train.txt"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("har")
    return root, uci_har.write_sample(root, n=2)


@pytest.fixture
def root(written, tmp_path):
    return Path(shutil.copytree(written[0], tmp_path / "raw"))


def edit(path, line, change):
    lines = path.read_text().split("\n")
    lines[line - 1] = change(lines[line - 1])
    path.write_text("\n".join(lines))


def test_sample_reads_back(written):
    root, truth = written
    tables = uci_har.read(root)
    assert tables.samples["split"].value_counts().to_dict() == truth.splits == {"train": 90, "test": 90}
    names = tables.categories.names("labels")
    assert names == list(ACTIVITIES)
    rows = tables.samples.itertuples()
    assert {row.sample_id: [names[i] for i in row.labels] for row in rows} == truth.labels
    assert tables.samples.groupby("split")["group"].unique().str[0].to_dict() == {
        "train": "subject_01",
        "test": "subject_02",
    }
    assert tables.arrays["signals"].shape == (180, 9, 128)
    assert tables.arrays["signals"].dtype == np.float32
    assert tables.samples["media"].isna().all()
    assert tables.samples["content_hash"].is_unique
    assert "features" not in tables.arrays
    assert tables.quarantine.empty


def test_the_folder_itself_is_a_root(written):
    assert len(uci_har.read(written[0] / "UCI HAR Dataset").samples) == 180


def test_channels_are_in_order(written):
    root, _ = written
    signals = uci_har.read(root).arrays["signals"]
    for index, channel in enumerate(CHANNELS):
        path = root / f"UCI HAR Dataset/train/Inertial Signals/{channel}_train.txt"
        np.testing.assert_array_equal(np.loadtxt(path, dtype=np.float32)[3], signals[3, index])


def test_gravity_is_in_the_total_only(written):
    tables = uci_har.read(written[0])
    standing = np.array([labels == [4] for labels in tables.samples["labels"]])
    means = tables.arrays["signals"][standing].mean(axis=(0, 2))
    assert means[6] > 0.9
    assert np.abs(means[:3]).max() < 0.05


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda line: " ".join(line.split()[:-1]), "short row"),
        (lambda line: line + " 1.0", "long row"),
        (lambda line: line + " 1.0 2.0 3.0", "long row"),
        (lambda line: "", "short row"),
        (lambda line: line.replace(line.split()[5], "NaN", 1), "not finite"),
        (lambda line: line.replace(line.split()[5], "-inf", 1), "not finite"),
        (lambda line: line.replace(line.split()[5], "1e39", 1), "number too large"),
        (lambda line: line.replace(line.split()[5], "1_0", 1), "not a number"),
        (lambda line: line.replace(line.split()[5], "abc", 1), "not a number"),
        (lambda line: line.replace(line.split()[5], '"', 1), "not a number"),
    ],
)
def test_a_bad_row_drops_its_window(root, change, reason):
    edit(root / SIGNAL, 18, change)
    tables = uci_har.read(root)
    assert "train_00017" not in set(tables.samples["sample_id"])
    assert tables.samples["row"].tolist() == list(range(179)) == list(range(len(tables.arrays["signals"])))
    row = tables.quarantine.iloc[0]
    assert (row["file"], row["reason"], row["action"]) == (f"{SIGNAL}:18", reason, "dropped")
    assert len(tables.quarantine) == 1


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("y", "7", "unknown activity"),
        ("y", "?", "not a number"),
        ("subject", "", "short row"),
        ("subject", "1.5", "not a whole number"),
    ],
)
def test_a_bad_label_or_subject_drops_its_window(root, name, value, reason):
    edit(root / f"UCI HAR Dataset/test/{name}_test.txt", 1, lambda _: value)
    tables = uci_har.read(root)
    assert "test_00000" not in set(tables.samples["sample_id"])
    row = tables.quarantine.iloc[0]
    assert row["file"] == f"UCI HAR Dataset/test/{name}_test.txt:1"
    assert row["reason"] == reason


def test_a_missing_file_is_named(root):
    (root / SIGNAL).unlink()
    with pytest.raises(SourceError, match="body_gyro_y_train"):
        uci_har.read(root)


@pytest.mark.parametrize("content", ["", "0 " * 127 + "0\n"])
def test_files_of_different_lengths_are_named(root, content):
    (root / SIGNAL).write_text(content)
    with pytest.raises(SourceError, match=r"different numbers of rows.*body_gyro_y_train\.txt [01]"):
        uci_har.read(root)


def test_nothing_usable(root):
    for split in ("train", "test"):
        (root / f"UCI HAR Dataset/{split}/y_{split}.txt").write_text("0\n" * 90)
    with pytest.raises(SourceError, match="no usable window"):
        uci_har.read(root)


@pytest.mark.parametrize("make", [False, True])
def test_no_data_says_what_was_expected(tmp_path, make):
    folder = tmp_path / "x"
    if make:
        folder.mkdir()
    with pytest.raises(SourceError, match="expected 'UCI HAR Dataset/train"):
        uci_har.read(folder)


def features(root, split, rows=90):
    values = np.tile(np.linspace(-1, 1, 561), (rows, 1))
    np.savetxt(root / f"UCI HAR Dataset/{split}/X_{split}.txt", values, "%16.7e", delimiter="")


def test_features_are_read_where_both_are_present(root):
    features(root, "train")
    features(root, "test")
    edit(root / "UCI HAR Dataset/test/X_test.txt", 90, lambda line: line[:-16])
    tables = uci_har.read(root)
    assert tables.arrays["features"].shape == (179, 561)
    assert tables.arrays["signals"].shape == (179, 9, 128)
    assert tables.quarantine["detail"].tolist() == ["560 values; expected 561; window left out"]


def test_features_of_one_split_only_are_left_out(root):
    features(root, "train")
    tables = uci_har.read(root)
    assert "features" not in tables.arrays
    assert tables.quarantine["file"].tolist() == ["UCI HAR Dataset/test/X_test.txt"]


def test_one_subject_is_all_train(tmp_path):
    assert uci_har.write_sample(tmp_path, n=1).splits == {"train": 90}
    assert set(uci_har.read(tmp_path).samples["split"]) == {"train"}


def test_parse_rows_by_hand():
    values, bad = parse_rows(b"1 2\n\n 3\t4 \r\n5\n6 7 8\nx 9\n1e400 0\n10 11\n\n", 2)
    assert values[[0, 2, 7]].tolist() == [[1, 2], [3, 4], [10, 11]]
    assert np.isnan(values[[1, 3, 4, 5, 6]]).all()
    assert [(b.index, b.reason) for b in bad] == [
        (1, "short row"),
        (3, "short row"),
        (4, "long row"),
        (5, "not a number"),
        (6, "not finite"),
    ]
    assert parse_rows(b"\n \n", 2)[0].shape == (0, 2)
    values, bad = parse_rows(b"1,2\n 3 ,4\n5,\n6;7\n", 2, separator=",")
    np.testing.assert_array_equal(values, [[1, 2], [3, 4], [np.nan, np.nan], [np.nan, np.nan]])
    assert [(row.index, row.reason) for row in bad] == [(2, "not a number"), (3, "short row")]
    assert parse_rows(b"\xff\xfe 1\n2 3", 2)[1][0].reason == "not a number"


def test_windows_by_hand():
    assert window_starts(10, 30, 8, 4).tolist() == [10, 14, 18, 22]
    assert window_starts(10, 17, 8, 4).tolist() == []
    signal = np.arange(12).reshape(6, 2)
    assert cut_windows(signal, np.array([0, 3]), 2).tolist() == [[[0, 2], [1, 3]], [[6, 8], [7, 9]]]


def test_filters_separate_gravity_movement_and_noise():
    time = np.arange(2000) / 50
    slow, fast = np.sin(2 * np.pi * 2 * time), np.sin(2 * np.pi * 24 * time)
    acc = np.stack([np.ones(2000), 0.5 + slow, fast], axis=1)
    middle = nine_channels(acc, np.zeros((2000, 3)))[200:-200]
    np.testing.assert_allclose(middle[:, 6], 1, atol=1e-3)
    np.testing.assert_allclose(middle[:, 0], 0, atol=1e-3)
    assert np.std(middle[:, 1]) == pytest.approx(np.sqrt(0.5), abs=0.05)
    assert abs(middle[:, 1].mean()) < 0.01
    assert np.abs(middle[:, 8]).max() < 0.25
    assert (middle[:, 3:6] == 0).all()


def test_bad_rows_are_bridged():
    values = np.array([[np.nan, 0], [1, 1], [np.nan, np.nan], [3, 5]])
    assert fill_rows(values).tolist() == [[1, 1], [1, 1], [2, 3], [3, 5]]


def test_simulated_walking_has_its_cadence():
    rng = np.random.default_rng(3)
    person = draw_person(rng)
    acc, gyro = simulate(person, [("WALKING", 3000)], rng)
    assert acc.shape == gyro.shape == (3000, 3)
    spectrum = np.abs(np.fft.rfft(acc[:, 0] - acc[:, 0].mean()))
    peak = np.fft.rfftfreq(3000, 1 / 50)[spectrum.argmax()]
    assert any(peak == pytest.approx(person.cadence * k, rel=0.15) for k in (1, 2))


@pytest.mark.real_data
def test_real_windows():
    raw = Path(os.environ.get("CV_PIPELINES_RAW", "nowhere"))
    roots = [root for root in (raw / "uci_har", raw) if (root / "UCI HAR Dataset").is_dir()]
    if not roots:
        pytest.skip("CV_PIPELINES_RAW is not set or has no UCI HAR Dataset/")
    tables = uci_har.read(roots[0])
    counts = tables.samples["split"].value_counts().to_dict()
    assert counts in ({"train": 7352, "test": 2947}, {"train": 7415, "test": 2996})
    assert tables.facts["subjects"] == {"train": 21, "test": 9}
    assert tables.quarantine.empty
