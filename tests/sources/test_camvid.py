"""CamVid: both layouts, void, sequences that the official split shares, unusable masks."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cv_pipelines.data.images import read_mask, read_rgb
from cv_pipelines.errors import SourceError
from cv_pipelines.sources import camvid
from cv_pipelines.sources.street import Part, draw_street, make_street


def put(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path)


def put_frame(base, split, name, mask):
    put(base / split / f"{name}.png", np.full((2, 3, 3), len(name)))
    put(base / f"{split}annot" / f"{name}.png", mask)


def defects(tables):
    return set(tables.quarantine[["file", "reason"]].itertuples(index=False, name=None))


GOOD = [[0, 5, 10], [11, 11, 3]]


@pytest.fixture
def tree(tmp_path):
    base = tmp_path / "CamVid"
    put_frame(base, "train", "0016E5_00390", GOOD)
    put_frame(base, "train", "0006R0_f00930", GOOD)
    put_frame(base, "val", "0016E5_07959", GOOD)
    put_frame(base, "test", "Seq05VD_f00000", GOOD)
    return tmp_path


def test_folders_without_lists(tree):
    tables = camvid.read(tree)
    assert tables.samples.split.tolist() == ["train", "train", "val", "test"]
    assert tables.samples.group.tolist() == ["0006R0", "0016E5", "0016E5", "Seq05VD"]
    assert tables.samples.target[2] == "CamVid/valannot/0016E5_07959.png"
    assert tables.facts["shared_groups"] == {"train|val": ["0016E5"]}
    mask = read_mask(tree / tables.samples.target[0], tables.categories)
    assert mask.tolist() == [[0, 5, 10], [255, 255, 3]]
    assert tables.categories.names("mask")[5] == "tree"
    assert camvid.read(tree / "CamVid").samples.media[0] == "train/0006R0_f00930.png"


def test_lists_name_the_frames_by_the_last_two_parts(tree):
    line = "/SegNet/CamVid/train/0016E5_00390.png /SegNet/CamVid/trainannot/0016E5_00390.png\n"
    bad = "one_name_only\n/ /\n../.. ../..\n"
    gone = "train/9999_1.png trainannot/9999_1.png\n"
    (tree / "CamVid/train.txt").write_text(line + bad + "\n" + gone + line)
    tables = camvid.read(tree)
    assert tables.samples.sample_id.tolist() == ["0016E5_00390", "0016E5_07959", "Seq05VD_f00000"]
    reasons = tables.quarantine.reason.value_counts().to_dict()
    assert reasons == {"unreadable line": 2, "unreadable file": 1, "missing file": 1, "listed twice": 1}


@pytest.mark.parametrize(
    ("other", "kept", "lost", "reason"),
    [("test", "test", "train", "test image in a train list"), ("val", "train", "val", "listed twice")],
)
def test_a_frame_in_two_splits_is_kept_once(tree, other, kept, lost, reason):
    put_frame(tree / "CamVid", other, "0016E5_00390", GOOD)
    tables = camvid.read(tree)
    assert tables.samples.set_index("sample_id").split["0016E5_00390"] == kept
    assert defects(tables) == {(f"CamVid/{lost}/0016E5_00390.png", reason)}


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        ([[0, 5, 10], [11, 12, 3]], "unknown mask value"),
        (np.zeros((2, 3, 3)), "unknown mask value"),
        ([[0, 5]], "mask of another size"),
        (None, "missing file"),
        (b"", "empty file"),
    ],
)
def test_a_frame_without_a_usable_mask_is_dropped(tree, mask, reason):
    path = tree / "CamVid/testannot/Seq05VD_f00000.png"
    path.unlink()
    if isinstance(mask, bytes):
        path.write_bytes(mask)
    elif mask is not None:
        put(path, mask)
    tables = camvid.read(tree)
    assert "test" not in set(tables.samples.split)
    assert defects(tables) == {("CamVid/testannot/Seq05VD_f00000.png", reason)}


def test_a_broken_image_has_one_row(tree):
    path = tree / "CamVid/val/0016E5_07959.png"
    path.write_bytes(path.read_bytes()[:45])
    tables = camvid.read(tree)
    assert len(tables.samples) == 3
    assert defects(tables) == {("CamVid/val/0016E5_07959.png", "truncated image")}


@pytest.fixture
def original(tmp_path):
    colors = "64 128 64\tAnimal\n0 0 0\t\tVoid\n128 64 128\tRoad"
    (tmp_path / "label_colors.txt").write_text(colors)
    put(tmp_path / "701_StillsRaw_full/0016E5_07959.png", np.zeros((1, 3, 3)))
    mask = [[[64, 128, 64], [0, 0, 0], [128, 64, 128]]]
    put(tmp_path / "LabeledApproved_full/0016E5_07959_L.png", mask)
    return tmp_path


def test_color_labels(original):
    tables = camvid.read(original, layout="color32")
    assert [(c.name, c.color) for c in tables.categories.mask] == [
        ("Animal", (64, 128, 64)),
        ("Road", (128, 64, 128)),
    ]
    row = tables.samples.iloc[0]
    assert (row.split, row.group, row.width) == ("train", "0016E5", 3)
    assert read_mask(original / row.target, tables.categories).tolist() == [[0, 255, 1]]


def test_color_labels_with_defects(original):
    with (original / "label_colors.txt").open("a") as file:
        file.write("\n1 2 Half\n1 2 300 High\n")
    put(original / "701_StillsRaw_full/0016E5_07961.png", np.zeros((1, 3, 3)))
    put(original / "LabeledApproved_full/0016E5_07961_L.png", np.full((1, 3, 3), 9))
    tables = camvid.read(original, layout="color32")
    assert len(tables.samples) == 1
    assert tables.quarantine.reason.tolist() == ["unreadable line", "unreadable line", "unknown mask value"]
    assert "9,9,9" in tables.quarantine.detail[2]


def test_nothing_usable(tmp_path, original):
    with pytest.raises(SourceError, match=r"expected CamVid/\{train,val,test\}"):
        camvid.read(tmp_path / "absent")
    (original / "label_colors.txt").write_text("")
    with pytest.raises(SourceError, match=r"label_colors\.txt: expected"):
        camvid.read(original, layout="color32")


def test_sample_has_all_classes_and_shares_no_sequence(tmp_path):
    truth = camvid.write_sample(tmp_path, n=11, size=(96, 72))
    tables = camvid.read(tmp_path)
    assert tables.samples.split.value_counts().to_dict() == truth.splits == {"train": 7, "val": 2, "test": 2}
    assert tables.facts["shared_groups"] == {}
    assert tables.samples.group.nunique() == 5
    assert tables.quarantine.empty
    for split, part in tables.samples.groupby("split"):
        seen = {
            v for target in part.target for v in np.unique(read_mask(tmp_path / target, tables.categories))
        }
        assert seen == {*range(11), 255}, split
    assert read_rgb(tmp_path / tables.samples.media[0]).shape == (72, 96, 3)


@pytest.mark.parametrize("size", [(24, 16), (40, 90)])
def test_streets_of_any_size_name_known_parts_only(size):
    rng = np.random.default_rng(1)
    image, parts = draw_street(rng, make_street(rng), size)
    assert image.shape == (size[1], size[0], 3)
    assert image.dtype == parts.dtype == np.uint8
    assert set(np.unique(parts)) <= set(Part)


def test_class_order_is_that_of_the_street():
    assert [part.name.lower() for part in Part] == [*camvid.CLASSES, "void"]
    assert camvid.VOID == Part.VOID


def real_root(name):
    root = Path(os.environ.get("CV_PIPELINES_RAW", "")) / name
    if not os.environ.get("CV_PIPELINES_RAW") or not root.is_dir():
        pytest.skip(f"CV_PIPELINES_RAW has no {name}")
    return root


@pytest.mark.real_data
def test_real_camvid():
    tables = camvid.read(real_root("camvid"))
    assert tables.samples.split.value_counts().to_dict() == {"train": 367, "val": 101, "test": 233}
    assert tables.facts["shared_groups"] == {"train|val": ["0016E5"], "train|test": ["0001TP"]}
    assert set(tables.samples.group) == {"0001TP", "0006R0", "0016E5", "Seq05VD"}
    assert tables.quarantine.empty


@pytest.mark.real_data
def test_real_camvid32():
    tables = camvid.read(real_root("camvid32"), layout="color32")
    assert len(tables.samples) == 6
    assert len(tables.categories.mask) == 31
    assert tables.quarantine.empty
