import os
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from cv_pipelines.errors import SourceError
from cv_pipelines.sources import hapt

ACC = "HAPT Data Set/RawData/acc_exp01_user01.txt"
GYRO = "HAPT Data Set/RawData/gyro_exp01_user01.txt"
LABELS = "HAPT Data Set/RawData/labels.txt"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("hapt")
    return root, hapt.write_sample(root, n=2)


@pytest.fixture
def root(written, tmp_path):
    return Path(shutil.copytree(written[0], tmp_path / "raw"))


def edit(path, line, text):
    lines = path.read_text().split("\n")
    lines[line - 1] = text
    path.write_text("\n".join(lines))


def segments(root):
    return np.loadtxt(root / LABELS, dtype=int)


def test_sample_reads_back(written):
    root, truth = written
    tables = hapt.read(root)
    assert tables.samples["split"].value_counts().to_dict() == truth.splits
    names = tables.categories.names("labels")
    rows = tables.samples.itertuples()
    assert {row.sample_id: [names[i] for i in row.labels] for row in rows} == truth.labels
    assert tables.arrays["signals"].shape == (len(truth.labels), 9, 128)
    assert tables.arrays["signals"].dtype == np.float32
    assert set(tables.samples["group"]) == {"subject_01", "subject_02"}
    assert tables.facts["subjects"] == {"train": 1, "test": 1}
    assert tables.quarantine.empty


def test_windows_lie_inside_their_segment(written):
    root, _ = written
    tables = hapt.read(root, window=100, step=30)
    inside = {(e, u): [] for e, u, *_ in segments(root)}
    for e, u, activity, first, last in segments(root):
        inside[e, u].append((activity - 1, first, last))
    for row in tables.samples.itertuples():
        experiment, user, start = map(int, re.findall(r"\d+", row.sample_id))
        assert any(
            [a] == list(row.labels) and first <= start and start + 99 <= last
            for a, first, last in inside[experiment, user]
        )
    expected = sum((last - first + 1 - 100) // 30 + 1 for *_, a, first, last in segments(root) if a <= 6)
    assert len(tables.samples) == expected
    assert tables.arrays["signals"].shape == (expected, 9, 100)


def test_all_activities_include_transitions(written):
    tables = hapt.read(written[0], activities="all")
    assert len(tables.categories.labels) == 12
    assert {label for labels in tables.samples["labels"] for label in labels} == set(range(12))


def test_a_tarball_reads_as_the_folder_does(root):
    plain = hapt.read(root)
    with tarfile.open(root / "HAPT Data Set.tar.xz", "w:xz", preset=0) as tar:
        tar.add(root / "HAPT Data Set", "HAPT Data Set")
    shutil.rmtree(root / "HAPT Data Set")
    before = sorted(root.rglob("*"))
    packed = hapt.read(root)
    assert sorted(root.rglob("*")) == before
    assert packed.samples.equals(plain.samples)
    np.testing.assert_array_equal(packed.arrays["signals"], plain.arrays["signals"])


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_a_damaged_tarball_is_named(root, tmp_path, keep):
    with tarfile.open(tmp_path / "whole.tar.xz", "w:xz", preset=0) as tar:
        tar.add(root / "HAPT Data Set", "HAPT Data Set")
    shutil.rmtree(root / "HAPT Data Set")
    (root / "HAPT Data Set.tar.xz").write_bytes((tmp_path / "whole.tar.xz").read_bytes()[:keep])
    with pytest.raises(SourceError, match=r"HAPT Data Set\.tar\.xz"):
        hapt.read(root)


@pytest.mark.parametrize("name", ["HAPT Data Set.tar", "HAPT Data Set/RawData/labels.txt"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(SourceError, match=r"HAPT|missing"):
        hapt.read(tmp_path)


def test_a_member_that_says_it_is_huge_is_not_read(root, monkeypatch):
    monkeypatch.setattr(hapt, "LARGEST_MEMBER", 10_000)
    with tarfile.open(root / "HAPT Data Set.tar", "w") as tar:
        tar.add(root / "HAPT Data Set", "HAPT Data Set")
    shutil.rmtree(root / "HAPT Data Set")
    with pytest.raises(SourceError, match=r"bytes; no recording has"):
        hapt.read(root)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("1.5 1 5 250 1232", "not a whole number"), ("1 1 5 250 1e30", "number too large")],
)
def test_a_label_line_of_other_numbers_is_dropped(root, text, reason):
    edit(root / "HAPT Data Set/RawData/labels.txt", 2, text)
    row = hapt.read(root).quarantine.iloc[0]
    assert (row["file"], row["reason"]) == ("HAPT Data Set/RawData/labels.txt:2", reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nan 0 0", "not finite"),
        ("1e39 0 0", "number too large"),
        ("1 2", "short row"),
        ("a b c", "not a number"),
        ("1 2 3 4", "long row"),
    ],
)
@pytest.mark.parametrize("path", [ACC, GYRO])
def test_windows_on_a_bad_row_are_dropped(root, path, text, reason):
    clean = hapt.read(root)
    first = int(segments(root)[0][3])
    edit(root / path, first + 70, text)
    tables = hapt.read(root)
    lost = set(clean.samples["sample_id"]) - set(tables.samples["sample_id"])
    assert lost == {f"exp01_user01_{first:05d}", f"exp01_user01_{first + 64:05d}"}
    row = tables.quarantine.iloc[0]
    assert (row["file"], row["reason"], row["action"]) == (f"{path}:{first + 70}", reason, "dropped")
    assert row["detail"].endswith("2 windows left out")
    assert np.isfinite(tables.arrays["signals"]).all()
    far = tables.samples["sample_id"].tolist().index("exp02_user01_00151")
    was = clean.samples["sample_id"].tolist().index("exp02_user01_00151")
    np.testing.assert_array_equal(tables.arrays["signals"][far], clean.arrays["signals"][was])


def test_a_run_of_bad_rows_is_one_quarantine_row_and_outside_windows_a_repair(root):
    first = int(segments(root)[0][3])
    for line in (5, 6, 7, first + 200, first + 201):
        edit(root / ACC, line, "x")
    quarantine = hapt.read(root).quarantine
    assert quarantine["file"].tolist() == [f"{ACC}:5-7", f"{ACC}:{first + 200}-{first + 201}"]
    assert quarantine["action"].tolist() == ["repaired", "dropped"]


def test_a_missing_recording_drops_its_windows(root):
    (root / GYRO).unlink()
    tables = hapt.read(root)
    assert not tables.samples["sample_id"].str.startswith("exp01").any()
    assert tables.quarantine[["file", "reason"]].to_numpy().tolist() == [[GYRO, "missing file"]]


def test_recordings_of_different_length_are_cut(root):
    lines = (root / GYRO).read_text().splitlines()
    last = segments(root)[segments(root)[:, 0] == 1][-1]
    (root / GYRO).write_text("\n".join(lines[: last[4] - 10]) + "\n")
    tables = hapt.read(root)
    assert tables.quarantine["reason"].tolist() == [
        "recordings of different length",
        "segment past the recording",
    ]
    assert tables.quarantine["action"].tolist() == ["repaired", "dropped"]


def test_an_unreadable_recording(root):
    (root / ACC).write_bytes(b"\x00\xff\n" * 3)
    tables = hapt.read(root)
    assert not tables.samples["sample_id"].str.startswith("exp01").any()
    assert f"{ACC}:1-3" in set(tables.quarantine["file"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 1 13 151 700", "unknown activity"),
        ("1 1 0 151 700", "unknown activity"),
        ("1 1 5 700 151", "empty segment"),
        ("1 1 5 0 700", "empty segment"),
        ("1 1 five 151 700", "not a number"),
        ("1 1 5", "short row"),
        ("1 99 5 151 700", "subject in no split"),
    ],
)
def test_a_bad_label_line_is_dropped(root, text, reason):
    edit(root / LABELS, 1, text)
    tables = hapt.read(root)
    assert "exp01_user01_00151" not in set(tables.samples["sample_id"])
    assert tables.quarantine[["file", "reason"]].to_numpy().tolist() == [[f"{LABELS}:1", reason]]


def test_overlapping_segments_keep_the_first(root):
    first = segments(root)[0]
    with (root / LABELS).open("a") as file:
        file.write(f"1 1 6 {first[3]} {first[4]}\n")
    tables = hapt.read(root)
    assert tables.quarantine["reason"].tolist() == ["overlapping segment"]
    assert tables.samples["sample_id"].is_unique


@pytest.mark.parametrize(
    "name", ["RawData/labels.txt", "Train/subject_id_train.txt", "Test/subject_id_test.txt"]
)
def test_a_missing_list_is_named(root, name):
    (root / "HAPT Data Set" / name).unlink()
    with pytest.raises(SourceError, match=name):
        hapt.read(root)


def test_a_subject_in_both_splits(root):
    (root / "HAPT Data Set/Test/subject_id_test.txt").write_text("1\n2\n")
    with pytest.raises(SourceError, match=r"subjects \[1\] in both"):
        hapt.read(root)


def test_no_segment_is_long_enough(root):
    with pytest.raises(SourceError, match="no usable window of 5000"):
        hapt.read(root, window=5000)


@pytest.mark.parametrize("make", [False, True])
def test_no_data_says_what_was_expected(tmp_path, make):
    folder = tmp_path / "x"
    if make:
        folder.mkdir()
    with pytest.raises(SourceError, match="expected 'HAPT Data Set/'"):
        hapt.read(folder)


@pytest.mark.real_data
def test_real_windows():
    root = Path(os.environ.get("CV_PIPELINES_RAW", "")) / "hapt"
    if "CV_PIPELINES_RAW" not in os.environ or not root.is_dir():
        pytest.skip("CV_PIPELINES_RAW is not set or has no hapt/")
    tables = hapt.read(root)
    assert tables.samples["split"].value_counts().to_dict() == {"train": 7415, "test": 2996}
    assert tables.facts["subjects"] == {"train": 21, "test": 9}
    assert tables.quarantine.empty
    # All twelve activities give as many windows as the authors' own X files have rows.
    every = hapt.read(root, activities="all").samples
    assert every["split"].value_counts().to_dict() == {"train": 7767, "test": 3162}
