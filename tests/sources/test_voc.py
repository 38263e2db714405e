import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from cv_pipelines.data.images import read_mask
from cv_pipelines.errors import SourceError
from cv_pipelines.sources import voc

FOLDER = "VOCdevkit/VOC2012"
BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"


def make(root, objects, size=(40, 30), year=2012, folder=None):
    """One image `a` in train, none in val; `objects` is a list of (name, corners)."""
    top = root / (folder or f"VOCdevkit/VOC{year}")
    for name in ("JPEGImages", "Annotations", "SegmentationClass", "SegmentationObject"):
        (top / name).mkdir(parents=True)
    for task in ("Main", "Segmentation"):
        (top / "ImageSets" / task).mkdir(parents=True)
        (top / "ImageSets" / task / "train.txt").write_text("a\n")
        (top / "ImageSets" / task / "val.txt").write_text("")
    Image.new("RGB", size, (90, 40, 10)).save(top / "JPEGImages" / "a.jpg")
    nodes = "".join(f"<object><name>{n}</name>{BOX.format(*c)}</object>" for n, c in objects)
    (top / "Annotations" / "a.xml").write_text(f"<annotation>{nodes}</annotation>")
    return top


def save_mask(path, values, mode="P"):
    image = Image.fromarray(np.asarray(values, dtype=np.uint8))
    if mode == "P":
        image.putpalette([shade for color in voc.palette() for shade in color])
    image.convert(mode).save(path)


def reasons(tables):
    return sorted(tables.quarantine["reason"])


def test_palette_is_the_official_one():
    colors = voc.palette()
    assert colors[:4] == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]
    assert (colors[15], colors[20], colors[255]) == ((192, 128, 128), (0, 64, 128), (224, 224, 192))


def test_box_corners_count_from_one(tmp_path):
    make(tmp_path, [("cat", (1, 1, 40, 30)), ("dog", (11, 6, 20, 10))])
    tables = voc.read(tmp_path)
    boxes = tables.annotations[["x", "y", "w", "h"]].to_numpy().tolist()
    assert boxes == [[0, 0, 40, 30], [10, 5, 10, 5]]
    assert tables.samples["labels"][0] == [7, 11]
    assert tables.categories.multi_label


@pytest.mark.parametrize("folder", ["VOCdevkit/VOC2012", "VOC2012"])
def test_either_folder_is_found(tmp_path, folder):
    make(tmp_path, [("cat", (1, 1, 9, 9))], folder=folder)
    assert voc.read(tmp_path).samples["media"][0] == f"{folder}/JPEGImages/a.jpg"


def test_object_masks_go_by_place_in_the_file(tmp_path):
    top = make(tmp_path, [("cat", (9, 9, 9, 9)), ("dog", (1, 1, 4, 3)), ("dog", (11, 11, 12, 12))])
    numbers = np.zeros((30, 40))
    numbers[:3, :4] = 2
    numbers[3, :4] = 255
    save_mask(top / "SegmentationObject" / "a.png", numbers)
    tables = voc.read(tmp_path)
    assert reasons(tables) == ["box without area"]
    rle = json.loads(tables.annotations["segmentation"][0])
    assert np.array_equal(coco_mask.decode(rle), numbers == 2)
    assert tables.annotations["segmentation"].isna().tolist() == [False, True]


def test_class_mask_decodes_with_void(tmp_path):
    top = make(tmp_path, [("aeroplane", (1, 1, 4, 3))])
    values = np.zeros((30, 40))
    values[:3, :4], values[3, :4], values[10, 10] = 1, 255, 20
    save_mask(top / "SegmentationClass" / "a.png", values)
    tables = voc.read(tmp_path)
    assert np.array_equal(read_mask(tmp_path / tables.samples["target"][0], tables.categories), values)


@pytest.mark.parametrize(
    ("values", "mode", "reason"),
    [
        (np.full((30, 40), 21), "P", "unknown mask value"),
        (np.zeros((30, 41)), "P", "mask of another size"),
        (np.zeros((30, 40)), "RGB", "unknown mask value"),
    ],
)
def test_bad_class_mask_costs_the_target_or_the_segmentation_sample(tmp_path, values, mode, reason):
    top = make(tmp_path, [("cat", (1, 1, 9, 9))])
    save_mask(top / "SegmentationClass" / "a.png", values, mode)
    tables = voc.read(tmp_path)
    assert (tables.samples["target"].isna().all(), reasons(tables)) == (True, [reason])
    with pytest.raises(SourceError, match="none of 1 listed images"):
        voc.read(tmp_path, task="segmentation")


@pytest.mark.parametrize("bad", ["size", "bytes", "mode"])
def test_bad_object_mask_costs_only_the_masks(tmp_path, bad):
    top = make(tmp_path, [("cat", (1, 1, 9, 9))])
    path = top / "SegmentationObject" / "a.png"
    save_mask(path, np.zeros((31 if bad == "size" else 30, 40)), "RGB" if bad == "mode" else "P")
    if bad == "bytes":
        path.write_bytes(path.read_bytes()[:40])
    tables = voc.read(tmp_path)
    assert (len(tables.annotations), len(tables.quarantine)) == (1, 1)
    assert tables.quarantine["file"][0] == f"{FOLDER}/SegmentationObject/a.png"


def test_bad_boxes_are_dropped_or_cut(tmp_path):
    corners = [(5, 5, 5, 9), (9, 9, 3, 12), (50, 50, 60, 60), ("x", 1, 2, 3), ("nan", 1, 2, 3), (0, 1, 60, 9)]
    make(tmp_path, [("cat", c) for c in corners] + [("unicorn", (1, 1, 9, 9))])
    tables = voc.read(tmp_path)
    assert tables.annotations[["x", "y", "w", "h"]].to_numpy().tolist() == [[0, 0, 40, 9]]
    assert reasons(tables) == [
        *["box outside image"] * 2,
        *["box without area"] * 2,
        "unknown class",
        *["unreadable box"] * 2,
    ]
    assert (tables.quarantine["action"] == "repaired").sum() == 1


@pytest.mark.parametrize("content", [None, "<annotation><object>"])
def test_bad_xml_drops_the_sample_unless_the_mask_is_the_point(tmp_path, content):
    top = make(tmp_path, [])
    (top / "Annotations" / "a.xml").unlink()
    if content is not None:
        (top / "Annotations" / "a.xml").write_text(content)
    save_mask(top / "SegmentationClass" / "a.png", np.zeros((30, 40)))
    with pytest.raises(SourceError):
        voc.read(tmp_path)
    tables = voc.read(tmp_path, task="segmentation")
    assert (len(tables.samples), len(tables.annotations), len(tables.quarantine)) == (1, 0, 1)


def test_comments_and_the_order_of_fields_do_not_matter(tmp_path):
    top = make(tmp_path, [])
    box = "<!-- c --><bndbox><ymax>9</ymax><xmax>9</xmax><!-- c --><ymin>1</ymin><xmin>1</xmin></bndbox>"
    text = f"<object><difficult>1</difficult>{box}<name> cat </name></object>"
    (top / "Annotations/a.xml").write_text(f"<annotation>{text}</annotation>")
    rows = voc.read(tmp_path).annotations
    assert rows[["category", "x", "y", "w", "h", "difficult"]].to_numpy().tolist() == [[7, 0, 0, 9, 9, True]]


def test_entities_that_grow_without_bound_are_a_defect(tmp_path):
    top = make(tmp_path, [])
    entities = "".join(f'<!ENTITY e{k} "{f"&e{k - 1};" * 10 if k else "ha"}">' for k in range(9))
    text = f"<!DOCTYPE a [{entities}]><annotation><object><name>&e8;</name></object></annotation>"
    (top / "Annotations/a.xml").write_text(text)
    with pytest.raises(SourceError, match="none of 1 listed images"):
        voc.read(tmp_path)


def test_list_oddities(tmp_path):
    top = make(tmp_path, [])
    (top / "ImageSets/Main/train.txt").write_text("a\n\nb c d\n../x\ngone\n")
    (top / "ImageSets/Main/val.txt").write_text("a\n")
    tables = voc.read(tmp_path)
    assert tables.samples["sample_id"].tolist() == ["a"]
    assert tables.samples["split"].tolist() == ["test"]
    expected = ["missing file", "test image in a train list", "unreadable list line", "unreadable list line"]
    assert reasons(tables) == expected


def test_an_image_listed_twice_counts_once(tmp_path):
    top = make(tmp_path, [])
    (top / "ImageSets/Main/train.txt").write_text("a\na\n")
    assert reasons(voc.read(tmp_path)) == ["listed twice"]


def test_images_of_the_test_set_of_2007_in_train_are_noted(tmp_path):
    top = make(tmp_path, [])
    stems = ("2007_000027", "2007_000032", "000001", "2008_000001")
    for stem in stems:
        (top / f"JPEGImages/{stem}.jpg").write_bytes((top / "JPEGImages/a.jpg").read_bytes())
        (top / f"Annotations/{stem}.xml").write_text("<annotation/>")
    (top / "ImageSets/Main/train.txt").write_text("\n".join(stems))
    assert reasons(voc.read(tmp_path)) == []
    beside = top.parent / "VOC2007/ImageSets/Main"
    beside.mkdir(parents=True)
    (beside / "test.txt").write_text("000001\n000027\n")
    tables = voc.read(tmp_path)
    assert len(tables.samples) == 4
    rows = tables.quarantine
    assert rows["file"].tolist() == [f"{FOLDER}/JPEGImages/{stem}.jpg" for stem in ("2007_000027", "000001")]
    assert set(zip(rows["reason"], rows["action"], strict=True)) == {("VOC2007 test image in train", "noted")}


def test_a_train_list_with_images_of_its_own_test_list_loses_them(tmp_path):
    top = make(tmp_path, [], year=2007)
    (top / "JPEGImages/b.jpg").write_bytes((top / "JPEGImages/a.jpg").read_bytes())
    (top / "Annotations/b.xml").write_text("<annotation/>")
    (top / "ImageSets/Main/train.txt").write_text("a\nb\n")
    (top / "ImageSets/Main/test.txt").write_text("b\n")
    tables = voc.read(tmp_path, year=2007)
    assert dict(zip(tables.samples["sample_id"], tables.samples["split"], strict=True)) == {
        "a": "train",
        "b": "test",
    }
    assert reasons(tables) == ["test image in a train list"]


def test_names_that_no_file_can_have(tmp_path):
    top = make(tmp_path, [])
    (top / "ImageSets/Main/train.txt").write_bytes(b"a\n\0\0\0\n" + b"x" * 400 + b"\n\xff\xfe\n")
    tables = voc.read(tmp_path)
    assert tables.samples["sample_id"].tolist() == ["a"]
    assert reasons(tables) == ["missing file", "unreadable file", "unreadable file"]


def test_odd_images(tmp_path):
    top = make(tmp_path, [])
    (top / "ImageSets/Main/train.txt").write_text("a\nb\nc\n")
    Image.new("CMYK", (40, 30)).save(top / "JPEGImages" / "b.jpg")
    (top / "JPEGImages" / "c.jpg").write_bytes((top / "JPEGImages" / "a.jpg").read_bytes()[:300])
    (top / "Annotations" / "b.xml").write_text("<annotation/>")
    tables = voc.read(tmp_path)
    assert tables.samples["sample_id"].tolist() == ["a", "b"]
    assert set(tables.quarantine["reason"]) == {"CMYK image", "truncated image"}


def test_missing_lists_are_named(tmp_path):
    top = make(tmp_path, [])
    (top / "ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(SourceError, match=r"Segmentation/val\.txt"):
        voc.read(tmp_path, task="segmentation")
    with pytest.raises(SourceError, match="VOC2007"):
        voc.read(tmp_path, year=2007)


def test_2007_has_public_test_labels(tmp_path):
    top = make(tmp_path, [], year=2007)
    for stem in ("b", "c"):
        for folder, suffix in (("JPEGImages", "jpg"), ("Annotations", "xml")):
            (top / folder / f"{stem}.{suffix}").write_bytes((top / folder / f"a.{suffix}").read_bytes())
    (top / "ImageSets/Main/val.txt").write_text("b\n")
    assert voc.read(tmp_path, year=2007).samples["split"].tolist() == ["train", "test"]
    (top / "ImageSets/Main/test.txt").write_text("c\n")
    assert voc.read(tmp_path, year=2007).samples["split"].tolist() == ["train", "val", "test"]


def test_sample_masks_agree_with_boxes_and_classes(tmp_path):
    voc.write_sample(tmp_path, n=8, size=(96, 64))
    tables = voc.read(tmp_path, task="segmentation")
    masks = {
        row.sample_id: read_mask(tmp_path / row.target, tables.categories)
        for row in tables.samples.itertuples()
    }
    for row in tables.annotations.itertuples():
        drawn = coco_mask.decode(json.loads(row.segmentation)).astype(bool)
        assert coco_mask.toBbox(json.loads(row.segmentation)).tolist() == [row.x, row.y, row.w, row.h]
        assert (masks[row.sample_id][drawn] == row.category + 1).all()
    assert all((mask == 255).any() for mask in masks.values())


def test_all_that_is_labelled_can_be_trained_on(tmp_path):
    truth = voc.write_sample(tmp_path, n=12, size=(64, 64))
    tables = voc.read(tmp_path, train="trainval")
    assert tables.samples["split"].tolist() == ["train"] * 12
    assert {key: len(boxes) for key, boxes in truth.boxes.items()} == (
        tables.annotations.groupby("sample_id").size().to_dict()
    )
    assert tables.facts["official_split"] == "trainval is given as train"


def test_the_official_test_of_2007_stays_apart_from_trainval(tmp_path):
    voc.write_sample(tmp_path, n=12, size=(64, 64))
    root = tmp_path / "VOCdevkit"
    (root / "VOC2012").rename(root / "VOC2007")
    lists = root / "VOC2007/ImageSets/Main"
    (lists / "test.txt").write_text("2012_000001\n")
    tables = voc.read(tmp_path, year=2007, train="trainval")
    assert tables.samples["split"].value_counts().to_dict() == {"train": 11, "test": 1}
    assert tables.quarantine["reason"].tolist() == ["test image in a train list"]


def test_difficult_objects_can_be_ordinary_ones(tmp_path):
    voc.write_sample(tmp_path, n=40, size=(64, 64))
    apart, ordinary = voc.read(tmp_path), voc.read(tmp_path, difficult="ordinary")
    assert apart.annotations["difficult"].any()
    assert not ordinary.annotations["difficult"].any()
    columns = [name for name in apart.annotations if name != "difficult"]
    assert apart.annotations[columns].equals(ordinary.annotations[columns])


@pytest.mark.real_data
def test_real_subset():
    root = Path(os.environ.get("CV_PIPELINES_RAW", "")) / "voc"
    if "CV_PIPELINES_RAW" not in os.environ or not root.is_dir():
        pytest.skip("CV_PIPELINES_RAW is unset or has no voc/")
    tables = voc.read(root)
    assert (len(tables.samples), len(tables.annotations)) == (100, 273)
    assert tables.samples["target"].notna().sum() == 93
    assert tables.samples["split"].value_counts().to_dict() == {"train": 50, "test": 50}
    assert tables.annotations["category"].nunique() == 20
    assert tables.annotations["difficult"].sum() == 38
    assert tables.quarantine.empty
    assert len(voc.read(root, task="segmentation").samples) == 93
