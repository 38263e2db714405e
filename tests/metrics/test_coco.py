"""COCO scores: from tables, from saved files, and against pycocotools called by hand."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cv_pipelines.data.schema import Categories, annotations_table, categories_of, samples_table
from cv_pipelines.metrics.coco import BACKEND, coco_scores
from cv_pipelines.metrics.coco_backends import BACKENDS, installed
from cv_pipelines.metrics.coco_form import ground_truth, results

COLUMNS = ["sample_id", "category", "score", "x", "y", "w", "h"]
TYPES = ["bbox", "segm", "keypoints"]


def sample(key, split="test"):
    return {
        "sample_id": key,
        "media": f"{key}.png",
        "split": split,
        "group": key,
        "width": 320,
        "height": 240,
        "labels": [],
        "content_hash": key,
    }


def true_box(key, category, box, **more):
    x, y, w, h = box
    return {"sample_id": key, "category": category, "x": x, "y": y, "w": w, "h": h, "area": w * h, **more}


def guess(key, category, score, box):
    return dict(zip(COLUMNS, [key, category, score, *map(float, box)], strict=True))


def tables(keys, boxes, names=("cat", "dog")):
    samples = samples_table([sample(key) for key in keys])
    categories = Categories(objects=categories_of(list(names)))
    return ground_truth(samples, annotations_table(boxes), categories)


def by_hand(truth, found, iou_type, folder: Path):
    """What a person does who has the two files and pycocotools."""
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "found.json").write_text(json.dumps(found))
    reference = COCO(str(folder / "truth.json"))
    evaluation = COCOeval(reference, reference.loadRes(str(folder / "found.json")), iou_type)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return [float(v) if v > -1 else np.nan for v in evaluation.stats]


def world(seed=0, n=12):
    """Tables of a random data set and of predictions near its truth, with masks and poses."""
    rng = np.random.default_rng(seed)
    keys = [f"img{i:02d}" for i in range(n)]
    truth, found = [], []
    for key in keys:
        for _ in range(rng.integers(0, 5)):
            x, y = rng.uniform(0, 150, 2)
            w, h = rng.choice([15, 60, 110]) * rng.uniform(0.7, 1.2, 2)
            category, crowd = int(rng.integers(3)), rng.random() < 0.1
            pose = np.stack([x + rng.random(17) * w, y + rng.random(17) * h, rng.integers(0, 3, 17)], 1)
            polygon = [[x, y, x + w, y, x + w / 2, y + h]]
            more = {"iscrowd": crowd, "difficult": rng.random() < 0.2, "segmentation": json.dumps(polygon)}
            more["keypoints"] = pose.ravel().tolist() if rng.random() < 0.8 else None
            truth.append(true_box(key, category, (x, y, w, h), **more))
            for _ in range(rng.integers(0, 3)):
                bx, by, bw, bh = np.array([x, y, w, h]) + rng.normal(0, 3, 4)
                shape = mask.merge(mask.frPyObjects([[bx, by, bx + bw, by, bx + bw / 2, by + bh]], 240, 320))
                kind = category if rng.random() < 0.9 else int(rng.integers(3))
                row = guess(key, kind, round(rng.random(), 2), (bx, by, bw, bh))
                found.append({**row, "segmentation": shape, "keypoints": pose.ravel() + rng.normal(0, 2, 51)})
    joints = [f"joint {i}" for i in range(17)]
    objects = [c.model_copy(update={"keypoints": joints}) for c in categories_of(["cat", "dog", "owl"])]
    samples = samples_table([sample(key) for key in keys])
    return samples, annotations_table(truth), pd.DataFrame(found), Categories(objects=objects)


@pytest.mark.parametrize("iou_type", TYPES)
def test_identical_to_pycocotools_on_the_saved_files(iou_type, tmp_path, capsys):
    samples, annotations, predictions, categories = world()
    truth = ground_truth(samples, annotations, categories)
    found = results(predictions, truth, iou_type)
    values, details = coco_scores(truth, found, iou_type)
    assert capsys.readouterr().out == ""
    np.testing.assert_array_equal(list(values.values()), by_hand(truth, found, iou_type, tmp_path))
    saved = [json.loads((tmp_path / name).read_text()) for name in ("truth.json", "found.json")]
    again, details_again = coco_scores(*saved, iou_type)
    np.testing.assert_equal(again, values)
    np.testing.assert_equal(details_again, details)
    first = next(iter(values))
    assert first.endswith("map")
    assert 0 < values[first] < 1
    assert values[first] == pytest.approx(np.nanmean([row["ap"] for row in details["per_class"]]))


def test_value_names():
    samples, annotations, predictions, categories = world()
    truth = ground_truth(samples, annotations, categories)
    names = {kind: list(coco_scores(truth, results(predictions, truth, kind), kind)[0]) for kind in TYPES}
    assert " ".join(names["bbox"]) == (
        "map map_50 map_75 map_small map_medium map_large ar_1 ar_10 ar_100 ar_small ar_medium ar_large"
    )
    assert names["segm"] == ["mask_" + name for name in names["bbox"]]
    assert " ".join(names["keypoints"]).replace("keypoint_", "") == (
        "map map_50 map_75 map_medium map_large ar ar_50 ar_75 ar_medium ar_large"
    )
    assert all(name.startswith("keypoint_") for name in names["keypoints"])
    assert BACKEND.startswith("pycocotools 2.")


def test_arguments_are_not_changed():
    samples, annotations, predictions, categories = world()
    truth = ground_truth(samples, annotations, categories)
    found = results(predictions, truth, "segm")
    before = json.dumps([truth, found])
    coco_scores(truth, found, "segm")
    assert json.dumps([truth, found]) == before


def test_hand_worked_precision():
    # one class, two objects: surest guess hits, the second misses, the third hits with IoU 0.8
    truth = tables(["a", "b"], [true_box("a", 0, (0, 0, 40, 40)), true_box("b", 0, (0, 0, 40, 40))], ["cat"])
    guesses = [
        guess("a", 0, 0.9, (0, 0, 40, 40)),
        guess("a", 0, 0.8, (200, 200, 40, 40)),
        guess("b", 0, 0.7, (0, 0, 40, 32)),
    ]
    values, details = coco_scores(truth, results(pd.DataFrame(guesses), truth))
    at_50 = (51 * 1 + 50 * 2 / 3) / 101
    at_85 = 51 / 101
    assert values["map_50"] == pytest.approx(at_50)
    # 0.5 … 0.8 are 7 of the 10 thresholds
    assert values["map"] == pytest.approx((7 * at_50 + 3 * at_85) / 10)
    assert values["ar_100"] == pytest.approx((7 * 1 + 3 * 0.5) / 10)
    assert np.isnan(values["map_small"])
    [cat] = details["per_class"]
    assert (cat["name"], cat["n"]) == ("cat", 2)
    assert [cat[key] for key in ("ap", "ap_medium", "ap_50", "ap_75", "ar")] == pytest.approx(
        [values["map"], values["map"], at_50, at_50, values["ar_100"]]
    )
    assert np.isnan([cat["ap_small"], cat["ap_large"]]).all()
    curve = details["pr_curves"]["cat"]
    assert len(curve["recall"]) == len(curve["precision"]) == 101
    assert curve["precision"][50] == pytest.approx(1)
    assert curve["precision"][51] == pytest.approx(2 / 3)


def test_form_of_the_truth():
    samples = samples_table([sample("b"), sample("a")])
    boxes = [
        true_box("a", 1, (1, 2, 3, 4), annotation_id=0, difficult=True),
        true_box("elsewhere", 0, (1, 2, 3, 4), annotation_id=5),
    ]
    categories = Categories(objects=categories_of(["cat", "dog"]))
    truth = json.loads(json.dumps(ground_truth(samples, annotations_table(boxes), categories)))
    assert [(i["id"], i["sample_id"], i["file_name"]) for i in truth["images"]] == [
        (1, "b", "b.png"),
        (2, "a", "a.png"),
    ]
    assert truth["annotations"] == [
        {
            "id": 1,
            "image_id": 2,
            "category_id": 2,
            "bbox": [1, 2, 3, 4],
            "area": 12,
            "iscrowd": 0,
            "difficult": 1,
            "annotation_id": 0,
        }
    ]
    assert [(c["id"], c["name"]) for c in truth["categories"]] == [(1, "cat"), (2, "dog")]


def test_an_annotation_numbered_zero_can_be_hit():
    truth = tables(["a"], [true_box("a", 0, (0, 0, 40, 40), annotation_id=0)])
    found = results(pd.DataFrame([guess("a", 0, 0.9, (0, 0, 40, 40))]), truth)
    assert coco_scores(truth, found)[0]["map"] == pytest.approx(1)


def test_crowds_are_no_misses_and_no_false_positives():
    boxes = [true_box("a", 0, (0, 0, 40, 40)), true_box("a", 0, (100, 100, 100, 100), iscrowd=True)]
    truth = tables(["a"], boxes)
    guesses = [guess("a", 0, 0.9, (110, 110, 30, 30)), guess("a", 0, 0.5, (0, 0, 40, 40))]
    values, details = coco_scores(truth, results(pd.DataFrame(guesses), truth))
    assert values["map"] == pytest.approx(1)
    assert details["per_class"][0]["n"] == 1


def test_difficult_objects_are_ordinary():
    truth = tables(["a"], [true_box("a", 0, (0, 0, 40, 40), difficult=True)])
    assert coco_scores(truth, [])[0]["map"] == 0


@pytest.mark.parametrize("iou_type", TYPES)
def test_no_predictions_score_zero_where_there_is_truth(iou_type):
    samples, annotations, predictions, categories = world()
    truth = ground_truth(samples, annotations, categories)
    found = results(predictions.iloc[:0], truth, iou_type)
    assert found == []
    values, details = coco_scores(truth, found, iou_type)
    assert set(values.values()) == {0.0}
    assert all(row["ap"] == 0 for row in details["per_class"])


def test_all_wrong_scores_zero():
    truth = tables(["a"], [true_box("a", 0, (0, 0, 40, 40))])
    found = results(pd.DataFrame([guess("a", 1, 0.9, (0, 0, 40, 40))]), truth)
    values, details = coco_scores(truth, found)
    assert values["map"] == values["ar_100"] == 0
    assert np.isnan(details["per_class"][1]["ap"])
    assert list(details["pr_curves"]) == ["cat"]


@pytest.mark.parametrize("keys", [[], ["a"]])
def test_no_truth_is_undefined(keys):
    truth = tables(keys, [])
    values, details = coco_scores(truth, [])
    assert np.isnan(list(values.values())).all()
    assert [row["n"] for row in details["per_class"]] == [0, 0]
    assert details["pr_curves"] == {}


def test_false_alarms_alone_are_undefined():
    truth = tables(["a"], [])
    found = results(pd.DataFrame([guess("a", 0, 0.9, (0, 0, 9, 9))]), truth)
    assert np.isnan(coco_scores(truth, found)[0]["map"])


def test_masks_as_text_with_uncompressed_counts_are_read():
    rle = json.dumps({"size": [240, 320], "counts": [0, 2400, 240 * 310]})
    samples = samples_table([sample("a")])
    boxes = annotations_table([true_box("a", 0, (0, 0, 10, 240), segmentation=rle)])
    truth = ground_truth(samples, boxes, Categories(objects=categories_of(["cat"])))
    packed = mask.frPyObjects(json.loads(rle), 240, 320)
    row = guess("a", 0, 0.9, (0, 0, 10, 240)) | {
        "segmentation": json.dumps({**packed, "counts": packed["counts"].decode()})
    }
    values, _ = coco_scores(truth, results(pd.DataFrame([row]), truth, "segm"), "segm")
    assert values["mask_map"] == pytest.approx(1)


def test_bad_input_is_named():
    truth = tables(["a"], [true_box("a", 0, (0, 0, 40, 40))])
    good = pd.DataFrame([guess("a", 0, 0.9, (0, 0, 40, 40))])
    found = results(good, truth)
    with pytest.raises(ValueError, match="unknown samples"):
        results(good.assign(sample_id="z"), truth)
    with pytest.raises(ValueError, match=r"expected 0\.\.1"):
        results(good.assign(category=2), truth)
    with pytest.raises(ValueError, match="lack segmentation"):
        results(good, truth, "segm")
    with pytest.raises(ValueError, match="lack segmentation"):
        coco_scores(truth, [], "segm")
    with pytest.raises(ValueError, match="unknown images"):
        coco_scores(truth, [{**found[0], "image_id": 9}])
    with pytest.raises(ValueError, match="iou_type is 'boxes'"):
        coco_scores(truth, found, "boxes")
    with pytest.raises(ValueError, match="17 keypoints"):
        coco_scores(
            truth | {"annotations": [truth["annotations"][0] | {"keypoints": [0, 0, 0]}]}, [], "keypoints"
        )
    twice = pd.concat([samples_table([sample("a")])] * 2)
    with pytest.raises(ValueError, match="occurs twice"):
        ground_truth(twice, annotations_table([]), Categories())
    with pytest.raises(ValueError, match="category 3"):
        tables(["a"], [true_box("a", 3, (0, 0, 40, 40))])


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("iou_type", "kind"), list(zip(TYPES, ["instances", "instances", "person_keypoints"], strict=True))
)
def test_identical_on_the_official_files(iou_type, kind, tmp_path):
    folder = Path(os.environ.get("CV_PIPELINES_RAW", "/nowhere")) / "coco" / "annotations"
    if not folder.is_dir():
        pytest.skip("CV_PIPELINES_RAW names no folder with coco/annotations")
    truth = json.loads((folder / f"{kind}_val2017.json").read_text())
    rng = np.random.default_rng(0)
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    found = []
    for entry in truth["annotations"]:
        row = {"image_id": entry["image_id"], "category_id": entry["category_id"], "score": rng.random()}
        if iou_type == "bbox":
            row["bbox"] = (np.array(entry["bbox"]) * rng.normal(1, 0.05, 4)).tolist()
        elif iou_type == "keypoints":
            row["keypoints"] = (np.array(entry["keypoints"]) * rng.normal(1, 0.01, 51)).tolist()
        elif entry["iscrowd"]:
            continue
        else:
            polygons = [(np.array(p) * rng.normal(1, 0.02)).tolist() for p in entry["segmentation"]]
            rle = mask.merge(mask.frPyObjects(polygons, *sizes[entry["image_id"]]))
            row["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode()}
        found.append(row)
    values, details = coco_scores(truth, found, iou_type)
    np.testing.assert_array_equal(list(values.values()), by_hand(truth, found, iou_type, tmp_path))
    for backend in filter(installed, BACKENDS):
        others, _ = coco_scores(truth, found, iou_type, backend)
        assert others == {name: pytest.approx(v, abs=1e-14, nan_ok=True) for name, v in values.items()}
    shown = [a for a in truth["annotations"] if iou_type != "keypoints" or a["num_keypoints"]]
    assert sum(row["n"] for row in details["per_class"]) == sum(not a["iscrowd"] for a in shown)
