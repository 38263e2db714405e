import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from cv_pipelines.errors import SourceError
from cv_pipelines.sources import coco
from cv_pipelines.sources.coco_sample import polygons, run_lengths

CATEGORIES = [{"id": 7, "name": "train"}, {"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}]


def box(number, bbox=(1, 2, 10, 5), image=1, category=7, **more):
    row = {"id": number, "image_id": image, "category_id": category, "bbox": list(bbox), "area": 20.5}
    return {**row, "iscrowd": 0, "segmentation": [[1, 2, 11, 2, 11, 7]], **more}


def make(root, annotations, split="train", kind="instances", images=None, categories=CATEGORIES):
    """One 40×30 image with id 1 unless `images` says otherwise."""
    (root / f"{split}2017").mkdir(exist_ok=True)
    (root / "annotations").mkdir(exist_ok=True)
    Image.new("RGB", (40, 30)).save(root / f"{split}2017" / "one.jpg")
    images = images or [{"id": 1, "file_name": "one.jpg", "width": 40, "height": 30}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / f"{kind}_{split}2017.json").write_text(json.dumps(content))


def seen(tables):
    """Reasons, without that of the val file that these tests do not write."""
    rows = tables.quarantine
    return sorted(rows["reason"][~rows["file"].str.endswith("_val2017.json")])


def test_ids_with_gaps_become_indices_in_id_order(tmp_path):
    make(tmp_path, [box(5), box(6, category=90), box(8, category=7)])
    tables = coco.read(tmp_path)
    assert [(c.id, c.name) for c in tables.categories.objects] == [
        ("3", "car"),
        ("7", "train"),
        ("90", "toothbrush"),
    ]
    assert tables.annotations["category"].tolist() == [1, 2, 1]
    assert tables.annotations["annotation_id"].tolist() == [5, 6, 8]
    assert tables.annotations["area"].tolist() == [20.5] * 3
    assert tables.samples["labels"][0] == [1, 2]
    assert tables.samples["sample_id"][0] == "train2017/one"


def test_crowd_rle_and_polygons_stay_as_they_are(tmp_path):
    rle = {"counts": [0, 600, 600], "size": [30, 40]}
    make(tmp_path, [box(1, segmentation=rle, iscrowd=1), box(2)])
    rows = coco.read(tmp_path).annotations
    assert [json.loads(text) for text in rows["segmentation"]] == [rle, [[1, 2, 11, 2, 11, 7]]]
    assert rows["iscrowd"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("bbox", "kept", "reasons"),
    [
        ((30, 20, 20, 20), [30, 20, 10, 10], ["box outside image"]),
        ((-5, -5, 10, 10), [0, 0, 5, 5], ["box outside image"]),
        ((30, 20, 10.005, 10), [30, 20, 10, 10], []),
        ((0, 0, 40, 30), [0, 0, 40, 30], []),
        ((1, 1, 0, 5), None, ["box without area"]),
        ((1, 1, 5, -2), None, ["box without area"]),
        ((60, 1, 5, 5), None, ["box outside image"]),
        ((1, 1, 5), None, ["unreadable annotation"]),
        ((1, 1, float("nan"), 5), None, ["unreadable annotation"]),
        ((1, 1, "5", 5), None, ["unreadable annotation"]),
    ],
)
def test_boxes(tmp_path, bbox, kept, reasons):
    make(tmp_path, [box(1, bbox)])
    tables = coco.read(tmp_path)
    assert tables.annotations[["x", "y", "w", "h"]].to_numpy().tolist() == ([kept] if kept else [])
    assert seen(tables) == reasons
    assert len(tables.samples) == 1


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (box(1, image=2), "unknown image"),
        (box(1, image="1"), "unknown image"),
        (box(1, category=8), "unknown category"),
        (box("one"), "unreadable annotation"),
        ({}, "unknown image"),
    ],
)
def test_bad_annotations_are_dropped(tmp_path, record, reason):
    make(tmp_path, [record, box(2)])
    tables = coco.read(tmp_path)
    assert tables.annotations["annotation_id"].tolist() == [2]
    assert seen(tables) == [reason]


@pytest.mark.parametrize("huge", [2**63, -(2**70), 10**400], ids=["64 bits", "more", "endless"])
@pytest.mark.parametrize("key", ["id", "image_id", "category_id", "area", "iscrowd"])
def test_numbers_without_bound_are_no_crash(tmp_path, key, huge):
    make(tmp_path, [box(1) | {key: huge}, box(2)])
    tables = coco.read(tmp_path)
    assert 2 in tables.annotations["annotation_id"].tolist()
    assert len(tables.annotations) + len(seen(tables)) == 2


def test_halves_of_characters_are_no_crash(tmp_path):
    size = {"width": 40, "height": 30}
    images = [{"id": 1, "file_name": "one.jpg", **size}, {"id": 2, "file_name": "\ud800.jpg", **size}]
    make(tmp_path, [box(1), box("\udfff")], images=images)
    tables = coco.read(tmp_path)
    tables.quarantine.to_parquet(tmp_path / "quarantine.parquet")
    assert tables.annotations["annotation_id"].tolist() == [1]
    assert seen(tables) == ["unreadable annotation", "unreadable image record"]


def test_endless_nesting_is_a_broken_file(tmp_path):
    make(tmp_path, [box(1)])
    nested = "[" * 100_000
    (tmp_path / "annotations/instances_val2017.json").write_text('{"images": ' + nested)
    tables = coco.read(tmp_path)
    assert tables.quarantine["reason"].tolist() == ["unreadable JSON"]


@pytest.mark.parametrize("kind", ["instances", "captions"])
@pytest.mark.parametrize("value", [b"\xff", b"1" * 400, b"1e400", b"[" * 300 + b"]" * 300])
def test_a_record_that_cannot_be_decoded_is_dropped_alone(tmp_path, kind, value):
    make(tmp_path, [box("@") | {"caption": "a"}, box(2) | {"caption": "b"}], kind=kind)
    path = tmp_path / f"annotations/{kind}_train2017.json"
    path.write_bytes(path.read_bytes().replace(b'"@"', value if value != b"\xff" else b'"\xff"'))
    tables = coco.read(tmp_path, annotations=kind)
    assert tables.annotations["annotation_id"].tolist() == [2]
    assert len(seen(tables)) == 1


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path):
    make(tmp_path, [box(1)])
    os.mkfifo(tmp_path / "annotations/instances_val2017.json")
    assert coco.read(tmp_path).quarantine["reason"].tolist() == ["missing file"]


def test_usual_and_unusual_objects_keep_their_order(tmp_path):
    odd = {3: {"segmentation": None}, 4: {"bbox": [30, 20, 20, 20]}, 7: {"id": "x"}}
    make(tmp_path, [box(i) | odd.get(i, {}) for i in range(1, 10)])
    tables = coco.read(tmp_path)
    assert tables.annotations["annotation_id"].tolist() == [1, 2, 3, 4, 5, 6, 8, 9]
    assert tables.annotations["segmentation"].isna().tolist() == [False, False, True] + [False] * 5
    assert tables.annotations["w"].tolist() == [10.0] * 3 + [10.0] + [10.0] * 4


@pytest.mark.parametrize(
    "segmentation",
    [
        [],
        [[1, 2, 3, 4]],
        "x",
        {"counts": [5], "size": [30, 40]},
        {"counts": "aa", "size": [3, 4]},
        [[1, 2, 3, None, 5, 6]],
    ],
)
def test_undecodable_segmentation_is_left_out(tmp_path, segmentation):
    make(tmp_path, [box(1, segmentation=segmentation)])
    tables = coco.read(tmp_path)
    assert tables.annotations["segmentation"].isna().tolist() == [True]
    assert seen(tables) == ["unusable segmentation"]


def test_images_that_cannot_be_used_take_their_annotations_along(tmp_path):
    size = {"width": 40, "height": 30}
    images = [
        {"id": 1, "file_name": "one.jpg", **size},
        {"id": 2, "file_name": "gone.jpg", **size},
        {"id": 3, "file_name": "wide.jpg", **size},
        {"id": 1, "file_name": "again.jpg", **size},
        {"id": 4, "file_name": "../up.jpg", **size},
        {"id": 5},
    ]
    (tmp_path / "train2017").mkdir()
    Image.new("RGB", (50, 30)).save(tmp_path / "train2017" / "wide.jpg")
    make(tmp_path, [box(1), box(2, image=2), box(3, image=2), box(4, image=3)], images=images)
    tables = coco.read(tmp_path)
    assert tables.annotations["annotation_id"].tolist() == [1]
    assert seen(tables) == [
        *["annotation of an unusable image"] * 2,
        "image of another size",
        "listed twice",
        "missing file",
        *["unreadable image record"] * 2,
    ]


def test_ids_that_occur_in_both_files_are_renumbered(tmp_path):
    make(tmp_path, [box(1), box(2)])
    make(tmp_path, [box(2), box(9)], split="val")
    tables = coco.read(tmp_path)
    assert tables.annotations["annotation_id"].tolist() == [1, 2, 10, 9]
    assert tables.samples["split"].tolist() == ["train", "test"]
    assert tables.quarantine["reason"].tolist() == ["annotation id used twice"]


def test_one_broken_file_leaves_the_other(tmp_path):
    make(tmp_path, [box(1)])
    (tmp_path / "annotations/instances_val2017.json").write_text('{"images": [')
    tables = coco.read(tmp_path)
    assert tables.samples["split"].tolist() == ["train"]
    assert tables.quarantine["reason"].tolist() == ["unreadable JSON"]


@pytest.mark.parametrize("content", [b"[]", b"\xff\xfe\x00", b'{"images": [], "annotations": {}}', b""])
def test_no_readable_file_is_an_error(tmp_path, content):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_train2017.json").write_bytes(content)
    with pytest.raises(SourceError, match=r"instances_{train,val}2017\.json"):
        coco.read(tmp_path)


@pytest.mark.parametrize(
    "categories",
    [
        [{"id": 7, "name": "bus"}],
        [{"id": "7", "name": "train"}],
        [{"id": 7, "name": "train", "keypoints": ["a"], "skeleton": [[1]]}],
        [{"id": 7, "name": "train", "keypoints": ["a"], "skeleton": [[1, math.inf]]}],
        [{"id": 7, "name": "train", "keypoints": ["\ud800"]}],
        [{"id": 7, "name": "train", "keypoints": None}],
    ],
)
def test_contradicting_or_odd_categories_are_an_error(tmp_path, categories):
    make(tmp_path, [], split="train", categories=categories)
    make(tmp_path, [], split="val")
    with pytest.raises(SourceError, match="categor"):
        coco.read(tmp_path)


def test_keypoints(tmp_path):
    person = [{"id": 1, "name": "person", "keypoints": ["nose", "chin"], "skeleton": [[1, 2]]}]
    good, bad = [4, 5, 2, 0, 0, 0], [4, 5, 2]
    rows = [box(1, category=1, keypoints=good), box(2, category=1, keypoints=bad), box(3, category=1)]
    make(tmp_path, rows, kind="person_keypoints", categories=person)
    tables = coco.read(tmp_path, annotations="keypoints")
    assert tables.annotations["keypoints"].tolist() == [[4.0, 5.0, 2.0, 0.0, 0.0, 0.0]]
    assert tables.categories.objects[0].keypoints == ["nose", "chin"]
    assert tables.categories.objects[0].skeleton == [(0, 1)]
    assert seen(tables) == ["unreadable annotation"] * 2


def test_captions(tmp_path):
    rows = [{"id": 1, "image_id": 1, "caption": " A cat.\n"}, {"id": 2, "image_id": 1, "caption": ""}]
    make(tmp_path, rows, kind="captions")
    tables = coco.read(tmp_path, annotations="captions")
    row = tables.annotations.iloc[0]
    assert (row.caption, row.category, row.x, row.y, row.w, row.h) == ("A cat.", 0, 0, 0, 40, 30)
    assert (tables.categories.names("objects"), tables.categories.labels) == (["caption"], [])
    assert tables.samples["labels"].tolist() == [[]]
    assert seen(tables) == ["unreadable annotation"]


def test_sample_in_all_three_kinds(tmp_path):
    truth = coco.write_sample(tmp_path, n=20)
    instances = coco.read(tmp_path)
    assert instances.annotations["iscrowd"].sum() == 4
    people = coco.read(tmp_path, annotations="keypoints")
    wanted = sum(name == "person" for boxes in truth.boxes.values() for name, *_ in boxes)
    assert len(people.annotations) == wanted > 0
    for row in people.annotations.itertuples():
        points = np.array(row.keypoints).reshape(17, 3)
        assert row.iscrowd or (points[:, 0] >= row.x - 1).all()
    captions = coco.read(tmp_path, annotations="captions")
    assert len(captions.annotations) == 40
    assert instances.quarantine.empty
    assert people.quarantine.empty
    assert captions.quarantine.empty


@pytest.mark.parametrize(("figures", "most"), [("person", 1), ("people", 3)])
def test_drawn_people_move_and_are_read_as_drawn(tmp_path, figures, most):
    truth = coco.write_sample(tmp_path / "one", n=20, size=(96, 80), figures=figures)
    people = coco.read(tmp_path / "one", annotations="keypoints")
    assert people.quarantine.empty
    assert len(people.samples) == 20
    assert people.samples["split"].value_counts().to_dict() == {"train": truth.splits["train"], "test": 5}
    counts = people.annotations["sample_id"].value_counts()
    assert 1 <= counts.max() <= most
    assert 3 <= 20 - len(counts) <= 10  # nobody is in every fifth at least
    assert not people.annotations["iscrowd"].any()
    poses = np.array(people.annotations["keypoints"].tolist()).reshape(-1, 17, 3)
    boxes = people.annotations[["x", "y", "w", "h"]].to_numpy()
    shown = poses[..., 2] > 0
    assert shown.any(axis=1).all()
    assert not poses[~shown].any()
    assert (poses[shown][:, :2] < [96, 80]).all()
    inside = (poses[..., :2] >= boxes[:, None, :2] - 2) & (
        poses[..., :2] <= (boxes[:, :2] + boxes[:, 2:])[:, None] + 2
    )
    assert inside.all(axis=-1)[shown].mean() > 0.97
    places = (poses[..., :2] - boxes[:, None, :2]) / boxes[:, None, 2:]
    assert places[:, 9].std(axis=0).min() > 0.05  # wrists are not always at one place of the box
    again = coco.write_sample(tmp_path / "two", n=20, size=(96, 80), figures=figures)
    assert again == truth
    name = "annotations/person_keypoints_train2017.json"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_drawn_people_are_what_pycocotools_reads(tmp_path):
    coco.write_sample(tmp_path, n=8, figures="people")
    official = COCO(str(tmp_path / "annotations/person_keypoints_train2017.json"))
    (person,) = official.loadCats(official.getCatIds())
    assert person["keypoints"][:3] == ["nose", "left_eye", "right_eye"]
    assert np.array(person["skeleton"]).min() == 1
    for row in official.loadAnns(official.getAnnIds()):
        assert row["num_keypoints"] == sum(v > 0 for v in row["keypoints"][2::3])
        assert official.annToMask(row).sum() == row["area"]


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_polygons_and_runs_give_the_mask_back(mask):
    height, width = mask.shape
    runs = run_lengths(mask)
    assert sum(runs["counts"]) == mask.size
    assert np.array_equal(coco_mask.decode(coco_mask.frPyObjects(runs, height, width)), mask)
    if mask.any():
        packed = coco_mask.merge(coco_mask.frPyObjects(polygons(mask), height, width))
        assert np.array_equal(coco_mask.decode(packed), mask)


@pytest.mark.real_data
def test_real_subset():
    root = Path(os.environ.get("CV_PIPELINES_RAW", "")) / "coco"
    if "CV_PIPELINES_RAW" not in os.environ or not root.is_dir():
        pytest.skip("CV_PIPELINES_RAW is unset or has no coco/")
    tables = coco.read(root)
    assert tables.samples["split"].value_counts().to_dict() == {"train": 80, "test": 79}
    split = tables.annotations.merge(tables.samples[["sample_id", "split"]])
    counts = split.groupby("split")["iscrowd"].agg(["size", "sum"])
    assert counts.loc["train"].tolist() == [739, 8]
    assert counts.loc["test"].tolist() == [624, 5]
    assert len(tables.categories.objects) == 80
    assert tables.quarantine.empty
    assert tables.annotations["segmentation"].notna().all()
    assert len(coco.read(root, annotations="keypoints").annotations) == 172 + 118
    assert len(coco.read(root, annotations="captions").annotations) == 400 + 395


def test_a_sample_may_have_one_object_an_image_or_none(tmp_path):
    truth = coco.write_sample(tmp_path, n=20, objects=(0, 1))
    tables = coco.read(tmp_path)
    counts = tables.annotations.groupby("sample_id").size()
    assert counts.max() == 1
    assert 0 < len(counts) < 20
    assert not tables.annotations["iscrowd"].any()
    assert sum(map(len, truth.boxes.values())) == len(counts)
