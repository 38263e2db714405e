"""Image folders: layouts and names, and Tiny ImageNet's lists."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cv_pipelines.errors import SourceError
from cv_pipelines.sources import image_folder


def put(path, value=0, size=(64, 64)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), value, dtype=np.uint8)).save(path, format="JPEG")


def defects(tables):
    return set(tables.quarantine[["file", "reason"]].itertuples(index=False, name=None))


def test_train_and_val_inside_one_folder_with_imagenette_names(tmp_path):
    base = tmp_path / "imagenette2-160"
    put(base / "train/n01440764/n01440764_1.JPEG", 1)
    put(base / "train/n03888257/ILSVRC2012_val_00000003.JPEG", 2)
    put(base / "val/n03888257/n03888257_7.JPEG", 3)
    (base / "noisy_imagenette.csv").write_text("path\n")
    tables = image_folder.read(tmp_path)
    assert tables.categories.names("labels") == ["tench", "parachute"]
    assert [c.id for c in tables.categories.labels] == ["n01440764", "n03888257"]
    assert tables.samples.split.tolist() == ["train", "train", "test"]
    assert tables.samples.labels.tolist() == [[0], [1], [1]]
    assert tables.samples.media[2] == "imagenette2-160/val/n03888257/n03888257_7.JPEG"
    assert image_folder.read(base).samples.media[2] == "val/n03888257/n03888257_7.JPEG"
    assert tables.quarantine.empty


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (["train", "val", "test"], ["train", "val", "test"]),
        (["train", "test"], ["train", "test"]),
        (["train", "val"], ["train", "test"]),
        (["val"], ["test"]),
        ([""], ["train"]),
    ],
)
def test_split_names(tmp_path, folders, splits):
    for k, folder in enumerate(folders):
        put(tmp_path / folder / "cat/a.jpg", k)
    assert image_folder.read(tmp_path).samples.split.tolist() == splits


def test_names_that_are_no_text_are_told(tmp_path):
    put(tmp_path / "train/a/one.jpg")
    put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/train/a/two\xff.jpg")))
    tables = image_folder.read(tmp_path)
    assert tables.samples.media.tolist() == ["train/a/one.jpg"]
    assert defects(tables) == {("train/a/two\\udcff.jpg", "unreadable file name")}


def test_any_depth_is_listed_in_the_order_of_paths(tmp_path):
    for name in ("b.jpg", "a/z.jpg", "a-1.jpg", "a/b/c.jpg"):
        put(tmp_path / "train/k" / name)
    names = [media.removeprefix("train/k/") for media in image_folder.read(tmp_path).samples.media]
    assert names == ["a/b/c.jpg", "a/z.jpg", "a-1.jpg", "b.jpg"]


def test_a_class_may_be_called_train(tmp_path):
    put(tmp_path / "car/a.jpg", 1)
    put(tmp_path / "train/a.jpg", 2)
    assert image_folder.read(tmp_path).categories.names("labels") == ["car", "train"]


def test_class_names_are_used_and_unused_ones_told(tmp_path):
    put(tmp_path / "train/n01440764/a.JPEG")
    tables = image_folder.read(tmp_path, class_names={"n01440764": "Schleie", "n09": "other"})
    assert tables.categories.names("labels") == ["Schleie"]
    assert tables.facts["unused_class_names"] == ["n09"]


def test_stems_may_repeat_and_bad_files_are_told(tmp_path):
    for name in ("cat/a.jpg", "cat/a.png", "cat/deeper/a.jpg", "dog/a.jpg"):
        put(tmp_path / name)
    (tmp_path / "cat/.DS_Store").write_bytes(b"x")
    (tmp_path / "cat/notes.txt").write_text("x")
    (tmp_path / "dog/b.jpg").write_bytes((tmp_path / "dog/a.jpg").read_bytes()[:300])
    (tmp_path / "emu").mkdir()
    tables = image_folder.read(tmp_path)
    assert len(tables.samples) == 4
    assert defects(tables) == {
        ("cat/a.png", "mislabelled format"),
        ("cat/notes.txt", "not an image"),
        ("dog/b.jpg", "truncated image"),
        ("emu", "empty class folder"),
    }


@pytest.mark.parametrize("layout", ["folders", "tiny_imagenet"])
def test_nothing_there(tmp_path, layout):
    with pytest.raises(SourceError, match=r"expected .*train"):
        image_folder.read(tmp_path, layout=layout)
    with pytest.raises(SourceError, match="expected"):
        image_folder.read(tmp_path / "absent", layout=layout)


def test_sample_is_read_back(tmp_path):
    truth = image_folder.write_sample(tmp_path, n=9, size=(40, 32))
    tables = image_folder.read(tmp_path)
    names = tables.categories.names("labels")
    found = {
        s: [names[i] for i in labels]
        for s, labels in zip(tables.samples.sample_id, tables.samples.labels, strict=True)
    }
    assert found == truth.labels
    assert tables.samples.split.value_counts().to_dict() == truth.splits == {"train": 6, "test": 3}


@pytest.fixture
def tiny(tmp_path):
    base = tmp_path / "tiny-imagenet-200"
    for k, wnid in enumerate(("n02", "n01")):
        put(base / f"train/{wnid}/images/{wnid}_0.JPEG", 50 * k)
        (base / f"train/{wnid}/{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t10\t63\t58\n")
    put(base / "val/images/val_0.JPEG", 200)
    (base / "val/val_annotations.txt").write_text("val_0.JPEG\tn02\t4\t0\t60\t63\n")
    put(base / "test/images/test_0.JPEG", 250)
    (base / "wnids.txt").write_text("n02\nn01\n")
    (base / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\tcentipede\nn99\tother\n")
    return tmp_path


def read_tiny(root, **options):
    return image_folder.read(root, layout="tiny_imagenet", **options)


def test_tiny_labels_and_inclusive_boxes(tiny):
    tables = read_tiny(tiny)
    assert tables.categories.names("labels") == ["goldfish", "centipede"]
    assert tables.samples.split.tolist() == ["train", "train", "test"]
    assert tables.samples.labels.tolist() == [[0], [1], [1]]
    boxes = tables.annotations[["x", "y", "w", "h"]].to_numpy().tolist()
    assert boxes == [[0, 10, 64, 49], [0, 10, 64, 49], [4, 0, 57, 64]]
    assert tables.annotations.category.tolist() == [0, 1, 1]
    assert tables.quarantine.empty
    assert (
        read_tiny(tiny / "tiny-imagenet-200", class_names={"n01": "gold"}).categories.names("objects")[0]
        == "gold"
    )


@pytest.mark.parametrize(
    ("line", "reason", "boxes"),
    [
        ("val_0.JPEG\tn02\t63\t10\t63\t53", "box without area", 2),
        ("val_0.JPEG\tn02\t70\t10\t80\t53", "box outside image", 2),
        ("val_0.JPEG\tn02\t7\t10\t80\t53", "box outside image", 3),
        ("val_0.JPEG\tn02\t7\tx\t80\t53", "unreadable box", 2),
        ("val_0.JPEG\tn77\t7\t1\t8\t53", "unknown class", 2),
        ("val_9.JPEG\tn02\t7\t1\t8\t53", "missing file", 2),
        ("val_0.JPEG\tn02\t7\t1", "unreadable line", 2),
        ("../val_0.JPEG\tn02\t7\t1\t8\t53", "unreadable line", 2),
        ("", "no label", 2),
    ],
)
def test_tiny_bad_lines(tiny, line, reason, boxes):
    (tiny / "tiny-imagenet-200/val/val_annotations.txt").write_text(line)
    tables = read_tiny(tiny)
    assert reason in set(tables.quarantine.reason)
    assert len(tables.annotations) == boxes


def test_tiny_without_boxes_words_or_val(tiny):
    base = tiny / "tiny-imagenet-200"
    (base / "train/n01/n01_boxes.txt").unlink()
    (base / "words.txt").unlink()
    shutil.rmtree(base / "val")
    put(base / "train/n55/images/n55_0.JPEG")
    tables = read_tiny(tiny)
    assert tables.categories.names("labels") == ["n01", "n02"]
    assert len(tables.samples) == 2
    assert len(tables.annotations) == 1
    assert defects(tables) == {
        ("tiny-imagenet-200/train/n01/n01_boxes.txt", "missing file"),
        ("tiny-imagenet-200/val/val_annotations.txt", "missing file"),
        ("tiny-imagenet-200/train/n55", "unknown class"),
    }


def real_root(name):
    root = Path(os.environ.get("CV_PIPELINES_RAW", "")) / name
    if not os.environ.get("CV_PIPELINES_RAW") or not root.is_dir():
        pytest.skip(f"CV_PIPELINES_RAW has no {name}")
    return root


@pytest.mark.real_data
def test_real_imagenette():
    tables = image_folder.read(real_root("imagenette"))
    counts = tables.samples.assign(label=tables.samples.labels.str[0]).groupby(["split", "label"]).size()
    assert counts["train"].tolist() == [20] * 10
    assert counts["test"].tolist() == [10] * 10
    assert tables.categories.names("labels") == list(image_folder.IMAGENETTE_NAMES.values())
    assert tables.quarantine.reason.tolist() == ["grey-scale image"] * 3


@pytest.mark.real_data
def test_real_tiny_imagenet():
    tables = read_tiny(real_root("tiny_imagenet"))
    counts = tables.samples.assign(label=tables.samples.labels.str[0]).groupby(["split", "label"]).size()
    assert counts["train"].tolist() == [250] * 20
    assert counts["test"].tolist() == [50] * 20
    assert len(tables.annotations) == 6000 - 16
    assert tables.quarantine.reason.value_counts().to_dict() == {
        "grey-scale image": 81,
        "box without area": 16,
    }
    assert (tables.annotations.x + tables.annotations.w).max() == 64
