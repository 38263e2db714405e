"""ORL faces: people in numeric order, grouping, broken portraits."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cv_pipelines.errors import SourceError
from cv_pipelines.sources import orl_faces


@pytest.fixture
def sample(tmp_path):
    return tmp_path, orl_faces.write_sample(tmp_path, n=25)


def test_sample_is_read_back_and_is_official_in_form(sample):
    root, truth = sample
    tables = orl_faces.read(root)
    names = tables.categories.names("labels")
    found = {
        s: [names[i] for i in labels]
        for s, labels in zip(tables.samples.sample_id, tables.samples.labels, strict=True)
    }
    assert found == truth.labels
    assert tables.samples.split.value_counts().to_dict() == truth.splits == {"train": 25}
    assert tables.quarantine.empty
    assert (root / "att_faces/s1/1.pgm").read_bytes().startswith(b"P5")
    assert set(zip(tables.samples.width, tables.samples.height, strict=True)) == {(92, 112)}


def test_people_and_portraits_are_in_numeric_order(tmp_path):
    for person, portrait in ((10, 1), (2, 10), (2, 9)):
        path = tmp_path / f"s{person}/{portrait}.pgm"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 3), person + portrait, dtype=np.uint8)).save(path, format="PPM")
    tables = orl_faces.read(tmp_path)
    assert tables.samples.sample_id.tolist() == ["s2/9", "s2/10", "s10/1"]
    assert tables.samples.labels.tolist() == [[0], [0], [1]]
    assert tables.samples.media[0] == "s2/9.pgm"


def test_groups(sample):
    root, _ = sample
    assert orl_faces.read(root).samples.group.nunique() == 25
    assert orl_faces.read(root, group="subject").samples.group.unique().tolist() == ["s1", "s2", "s3"]


def test_same_person_looks_more_alike_than_others(sample):
    root, _ = sample
    means = [
        np.mean([np.asarray(Image.open(root / f"att_faces/s{k}/{i}.pgm"), dtype=float) for i in part], axis=0)
        for k in (1, 2)
        for part in (range(1, 6), range(6, 11))
    ]
    own = np.abs(means[0] - means[1]).mean()
    other = np.abs(means[0] - means[2]).mean()
    assert own < other


def test_defects(sample):
    root, _ = sample
    base = root / "att_faces"
    (base / "s1/1.pgm").write_bytes((base / "s1/1.pgm").read_bytes()[:500])
    (base / "s1/2.pgm").write_bytes(b"")
    Image.new("L", (9, 9)).save(base / "s1/3.pgm", format="PNG")
    (base / "s9").mkdir()
    (base / "README").write_text("The ORL face database")
    tables = orl_faces.read(root)
    assert set(tables.quarantine[["file", "reason", "action"]].itertuples(index=False, name=None)) == {
        ("att_faces/s1/1.pgm", "truncated image", "dropped"),
        ("att_faces/s1/2.pgm", "empty file", "dropped"),
        ("att_faces/s1/3.pgm", "mislabelled format", "repaired"),
        ("att_faces/s9", "empty class folder", "dropped"),
    }
    assert len(tables.samples) == 23


def test_nothing_usable(tmp_path):
    with pytest.raises(SourceError, match="expected att_faces"):
        orl_faces.read(tmp_path / "absent")
    (tmp_path / "s1").mkdir()
    with pytest.raises(SourceError, match="s1: empty class folder"):
        orl_faces.read(tmp_path)


@pytest.mark.real_data
def test_real_faces():
    root = Path(os.environ.get("CV_PIPELINES_RAW", "")) / "orl_faces"
    if not os.environ.get("CV_PIPELINES_RAW") or not root.is_dir():
        pytest.skip("CV_PIPELINES_RAW has no orl_faces")
    tables = orl_faces.read(root)
    assert tables.samples.labels.str[0].value_counts().to_dict() == dict.fromkeys(range(40), 10)
    assert set(zip(tables.samples.width, tables.samples.height, strict=True)) == {(92, 112)}
    assert tables.quarantine.empty
