"""ImageNet reader: label sources, inclusive corners, and each kind of defect."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from cv_pipelines.errors import SourceError
from cv_pipelines.sources import imagenet
from cv_pipelines.sources.labelled import first_synonyms

IMAGES, BOXES = "ILSVRC/Data/CLS-LOC", "ILSVRC/Annotations/CLS-LOC"
DEVKIT = "ILSVRC2012_devkit_t12/data"
FIRST_VAL = "ILSVRC2012_val_00000001"


@pytest.fixture
def sample(tmp_path):
    return tmp_path, imagenet.write_sample(tmp_path, n=12, size=(64, 48), seed=3)


def defects(tables):
    return set(tables.quarantine[["file", "reason", "action"]].itertuples(index=False, name=None))


def class_names(tables):
    names = tables.categories.names("labels")
    return {
        s: [names[i] for i in labels]
        for s, labels in zip(tables.samples.sample_id, tables.samples.labels, strict=True)
    }


def objects(tables):
    names = tables.categories.names("objects")
    found = {sample_id: [] for sample_id in tables.samples.sample_id}
    for row in tables.annotations.itertuples():
        found[row.sample_id].append((names[row.category], row.x, row.y, row.w, row.h))
    return found


@pytest.mark.parametrize("labels_from", ["auto", "csv", "devkit"])
def test_sample_is_read_back_from_each_label_source(sample, labels_from):
    root, truth = sample
    tables = imagenet.read(root, labels_from=labels_from)
    assert class_names(tables) == truth.labels
    assert objects(tables) == truth.boxes
    assert tables.samples.split.value_counts().to_dict() == truth.splits
    assert tables.quarantine.empty


def test_root_may_be_the_ilsvrc_folder_and_lists_may_lie_in_it(sample):
    root, truth = sample
    for name in ("LOC_synset_mapping.txt", "LOC_val_solution.csv"):
        (root / name).rename(root / "ILSVRC" / name)
    assert class_names(imagenet.read(root)) == truth.labels
    inner = imagenet.read(root / "ILSVRC")
    assert class_names(inner) == truth.labels
    assert inner.samples.media[0].startswith("Data/")


def test_meta_mat_numbers_the_ground_truth_and_names_the_classes(sample):
    root, truth = sample
    (root / "LOC_synset_mapping.txt").unlink()
    (root / "LOC_val_solution.csv").unlink()
    (root / DEVKIT / "map_clsloc.txt").unlink()
    leaves = [(6 - i, f"n9000000{i}", f"{name}, other word", 0) for i, name in enumerate(imagenet.SHAPES)]
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    synsets = np.array([*leaves, (7, "n00001740", "entity", 6)], dtype=fields)
    savemat(root / DEVKIT / "meta.mat", {"synsets": synsets})
    tables = imagenet.read(root)
    assert class_names(tables) == truth.labels
    assert len(tables.categories.labels) == 6


def test_a_broken_meta_mat_is_reported_and_the_text_list_is_used(sample):
    root, truth = sample
    (root / DEVKIT / "meta.mat").write_bytes(b"not a mat file" * 20)
    tables = imagenet.read(root, labels_from="devkit")
    assert class_names(tables) == truth.labels
    assert (f"{DEVKIT}/meta.mat", "unreadable list", "dropped") in defects(tables)


def test_damage_in_a_compressed_meta_mat_is_reported(sample):
    root, truth = sample
    path = root / DEVKIT / "meta.mat"
    savemat(path, {"synsets": np.arange(500)}, do_compression=True)
    path.write_bytes(path.read_bytes()[:200] + b"x" * 20 + path.read_bytes()[220:])
    tables = imagenet.read(root, labels_from="devkit")
    assert class_names(tables) == truth.labels
    assert (f"{DEVKIT}/meta.mat", "unreadable list", "dropped") in defects(tables)


def test_validation_images_alone_are_all_test(sample):
    root, truth = sample
    (root / IMAGES / "train").rename(root / "elsewhere")
    assert imagenet.read(root).samples.split.tolist() == ["test"] * truth.splits["test"]


def test_corners_are_zero_based_and_inclusive(sample):
    root, _ = sample
    write_box(root, (0, 0, 63, 47))
    assert objects(imagenet.read(root))[f"val/{FIRST_VAL}"] == [("disc", 0, 0, 64, 48)]


@given(st.lists(st.tuples(*[st.integers(-20, 90)] * 4), min_size=1, max_size=12))
@settings(max_examples=10, deadline=None)
def test_any_corners_give_a_box_inside_the_image_or_a_row(tmp_path_factory, corners):
    root = tmp_path_factory.getbasetemp() / "imagenet_any_box"
    if not root.exists():
        imagenet.write_sample(root, n=4, size=(64, 48))
    write_box(root, *corners)
    tables = imagenet.read(root)
    boxes = objects(tables)[f"val/{FIRST_VAL}"]
    assert len(boxes) + tables.quarantine.action.tolist().count("dropped") == len(corners)
    for _, x, y, w, h in boxes:
        assert x >= 0
        assert y >= 0
        assert x + w <= 64
        assert y + h <= 48


def write_box(root, *boxes, name="n90000000"):
    text = ""
    for corners in boxes:
        tags = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
        bounds = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
        text += f"<object><name>{name}</name><bndbox>{bounds}</bndbox></object>"
    (root / BOXES / f"val/{FIRST_VAL}.xml").write_text(f"<annotation>{text}</annotation>")


@pytest.mark.parametrize(
    ("corners", "name", "reason"),
    [
        ((20, 5, 20, 9), "n90000000", "box without area"),
        ((30, 5, 20, 9), "n90000000", "box without area"),
        ((70, 5, 80, 9), "n90000000", "box outside image"),
        ((2, 5, 8, 9), "n00000001", "unknown class"),
    ],
)
def test_unusable_boxes_are_dropped_and_the_image_stays(sample, corners, name, reason):
    root, _ = sample
    write_box(root, corners, name=name)
    tables = imagenet.read(root)
    assert objects(tables)[f"val/{FIRST_VAL}"] == []
    assert defects(tables) == {(f"{BOXES}/val/{FIRST_VAL}.xml", reason, "dropped")}


def test_a_class_that_is_named_by_its_word_is_understood(sample):
    root, _ = sample
    text = (root / "LOC_synset_mapping.txt").read_text()
    (root / "LOC_synset_mapping.txt").write_text(text.replace("n90000002 ", "n90000002 Scottish deerhound, "))
    write_box(root, (2, 5, 8, 9), name="Scottish_deerhound")
    tables = imagenet.read(root)
    ((name, *_),) = objects(tables)[f"val/{FIRST_VAL}"]
    assert name == "Scottish deerhound"
    assert defects(tables) == {(f"{BOXES}/val/{FIRST_VAL}.xml", "class by its word", "repaired")}


def test_box_files_may_be_missing_in_train_but_not_in_val(sample):
    root, _ = sample
    (root / BOXES / f"val/{FIRST_VAL}.xml").unlink()
    (root / BOXES / "train/n90000000/n90000000_0.xml").unlink()
    (root / BOXES / "train/n90000001/n90000001_1.xml").write_text("<annotation>")
    tables = imagenet.read(root)
    assert defects(tables) == {
        (f"{BOXES}/val/{FIRST_VAL}.xml", "missing file", "dropped"),
        (f"{BOXES}/train/n90000001/n90000001_1.xml", "unreadable XML", "dropped"),
    }
    assert len(tables.samples) == 12
    assert tables.facts["images_without_boxes"] == 3


def test_odd_and_broken_images(sample):
    root, _ = sample
    val = root / IMAGES / "val"
    cmyk, png, cut, empty = (root / IMAGES / f"train/n9000000{k}/n9000000{k}_{k}.JPEG" for k in range(4))
    Image.open(cmyk).convert("CMYK").save(cmyk, format="JPEG")
    Image.open(png).save(png, format="PNG")
    cut.write_bytes(cut.read_bytes()[:400])
    empty.write_bytes(b"")
    (val / "ILSVRC2012_val_00000099.JPEG").write_bytes((val / f"{FIRST_VAL}.JPEG").read_bytes())
    tables = imagenet.read(root)
    expected = {
        (cmyk, "CMYK image", "repaired"),
        (png, "mislabelled format", "repaired"),
        (cut, "truncated image", "dropped"),
        (empty, "empty file", "dropped"),
        (val / "ILSVRC2012_val_00000099.JPEG", "no label", "dropped"),
    }
    assert defects(tables) == {
        (p.relative_to(root).as_posix(), reason, action) for p, reason, action in expected
    }
    assert len(tables.samples) == 10


def test_unreadable_list_lines_and_unknown_folders(sample):
    root, truth = sample
    solution = (root / "LOC_val_solution.csv").read_text().splitlines()
    (root / "LOC_val_solution.csv").write_text("\n".join([*solution[:-1], "ILSVRC2012_val_00000003,"]))
    with (root / "LOC_synset_mapping.txt").open("a") as file:
        file.write("<html>\n")
    (root / IMAGES / "train/n12345678").mkdir()
    tables = imagenet.read(root)
    assert defects(tables) == {
        ("LOC_val_solution.csv", "unreadable line", "dropped"),
        ("LOC_synset_mapping.txt", "unreadable line", "dropped"),
        (f"{IMAGES}/train/n12345678", "unknown class", "dropped"),
        (f"{IMAGES}/val/ILSVRC2012_val_00000003.JPEG", "no label", "dropped"),
    }
    assert len(tables.samples) == sum(truth.splits.values()) - 1


def test_a_bad_ground_truth_line_costs_its_own_image_only(sample):
    root, _ = sample
    path = root / DEVKIT / "ILSVRC2012_validation_ground_truth.txt"
    path.write_text("\n" + "\n".join(path.read_text().splitlines()[1:]))
    tables = imagenet.read(root, labels_from="devkit")
    assert tables.samples.split.tolist().count("test") == 2
    assert f"val/{FIRST_VAL}" not in set(tables.samples.sample_id)


@pytest.mark.parametrize(
    ("missing", "labels_from", "expected"),
    [
        (["LOC_val_solution.csv"], "csv", "expected LOC_val_solution.csv"),
        ([f"{DEVKIT}/ILSVRC2012_validation_ground_truth.txt"], "devkit", "the devkit's ground truth"),
        (["LOC_synset_mapping.txt", f"{DEVKIT}/map_clsloc.txt"], "auto", "LOC_synset_mapping.txt"),
    ],
)
def test_missing_lists_are_named(sample, missing, labels_from, expected):
    root, _ = sample
    for name in missing:
        (root / name).unlink()
    with pytest.raises(SourceError, match=expected):
        imagenet.read(root, labels_from=labels_from)


def test_all_images_broken_is_an_error_that_shows_the_first(sample):
    root, _ = sample
    for path in (root / IMAGES).rglob("*.JPEG"):
        path.write_bytes(b"")
    with pytest.raises(SourceError, match=r"nothing usable.*empty file"):
        imagenet.read(root)


def test_repeated_first_words_get_the_synset():
    words = {"n02012849": "crane", "n03126707": "crane, hoist", "n01440764": "tench, Tinca tinca", "n1": ""}
    assert first_synonyms(words) == ["crane (n02012849)", "crane (n03126707)", "tench", "n1"]


@pytest.mark.real_data
def test_real_subset():
    root = Path(os.environ.get("CV_PIPELINES_RAW", "")) / "imagenet"
    if not os.environ.get("CV_PIPELINES_RAW") or not root.is_dir():
        pytest.skip("CV_PIPELINES_RAW has no imagenet")
    tables, devkit = imagenet.read(root), imagenet.read(root, labels_from="devkit")
    assert len(tables.samples) == 150
    assert len(tables.annotations) == 222
    assert len(set(tables.categories.names("labels"))) == 1000
    assert tables.quarantine.reason.tolist() == ["grey-scale image"] * 5
    assert class_names(tables) == class_names(devkit)
    first = tables.samples.set_index("sample_id").loc[f"val/{FIRST_VAL}"]
    assert tables.categories.labels[first.labels[0]].id == "n01751748"
