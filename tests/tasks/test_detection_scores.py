"""What a detector is scored for: masks and poses where there are any, and by which back end."""

import json
import math
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pycocotools import mask

from cv_pipelines.config import Evaluate
from cv_pipelines.metrics.coco_backends import BACKENDS, installed
from cv_pipelines.tasks.detection import Detection


def run_lengths(box):
    """The right half of a box, which no box of it can be mistaken for."""
    x, y, w, h = (int(side) for side in box)
    drawn = np.zeros((64, 64), np.uint8, order="F")
    drawn[y : y + h, x + w // 2 : x + w] = 1
    packed = mask.encode(drawn)
    return json.dumps({"size": packed["size"], "counts": packed["counts"].decode()})


def points(box, n):
    x, y, w, h = box
    return [value for k in range(n) for value in (x + w * k / n, y + h * k / n, 2.0)]


def sides(row):
    return [row[name] for name in ("x", "y", "w", "h")]


@pytest.fixture
def part(box_source):
    """Two images with an object each, with masks and poses of three points."""
    data = box_source.only("test")
    rows = data.annotations
    rows = rows.assign(
        segmentation=[run_lengths(sides(row)) for row in rows.to_dict("records")],
        keypoints=[points(sides(row), 3) for row in rows.to_dict("records")],
    )
    objects = [c.model_copy(update={"keypoints": ["a", "b", "c"]}) for c in data.categories.objects]
    categories = data.categories.model_copy(update={"objects": objects})
    return replace(data, annotations=rows, categories=categories)


def found_as(rows, columns=()):
    names = ["sample_id", "category", "x", "y", "w", "h", *columns]
    return rows[names].assign(score=0.9).reset_index(drop=True)


def test_boxes_alone_have_no_other_figures(part):
    scores = Detection.score(found_as(part.annotations), part, Evaluate())
    assert not [name for name in scores.values if name.startswith(("mask_", "keypoint_"))]
    assert not {"masks", "keypoint_sigma"} & scores.contract.keys()
    assert scores.contract["score_threshold"] == 0.3


class TestMasks:
    """Figures of masks, from run lengths as JSON text."""

    def test_right_masks(self, part):
        scores = Detection.score(found_as(part.annotations, ["segmentation"]), part, Evaluate())
        assert [scores.values["mask_map"], scores.values["mask_map_50"]] == pytest.approx([1, 1])
        assert scores.contract["masks"] == "2 of 2 images"
        assert [row["n"] for row in scores.details["masks"]["per_class"]] == [1, 1]

    def test_right_boxes_with_wrong_masks(self, part):
        found = found_as(part.annotations, ["segmentation"])
        whole = mask.encode(np.ones((64, 64), np.uint8, order="F"))
        text = json.dumps({"size": whole["size"], "counts": whole["counts"].decode()})
        scores = Detection.score(found.assign(segmentation=text), part, Evaluate())
        assert scores.values["map"] == pytest.approx(1)
        assert scores.values["mask_map"] == 0

    def test_images_with_objects_without_masks_are_left_out(self, part):
        rows = part.annotations.copy()
        rows["segmentation"] = [rows["segmentation"].iloc[0], None]
        found = found_as(part.annotations, ["segmentation"])
        scores = Detection.score(found, replace(part, annotations=rows), Evaluate())
        assert scores.values["mask_map"] == pytest.approx(1)
        assert scores.contract["masks"] == "1 of 2 images"
        assert sorted(row["n"] for row in scores.details["masks"]["per_class"]) == [0, 1]

    def test_a_truth_without_masks_gives_no_figures(self, part):
        bare = replace(part, annotations=part.annotations.assign(segmentation=None))
        found = found_as(part.annotations, ["segmentation"])
        assert "mask_map" not in Detection.score(found, bare, Evaluate()).values


class TestPoses:
    """Figures of poses."""

    def test_right_poses(self, part):
        scores = Detection.score(found_as(part.annotations, ["keypoints"]), part, Evaluate())
        assert [scores.values["keypoint_map"], scores.values["keypoint_ar"]] == pytest.approx([1, 1])
        assert scores.contract["keypoint_sigma"] == 0.05

    def test_sigma_says_how_near_is_near(self, part):
        found = found_as(part.annotations, ["keypoints"])
        found["keypoints"] = [[v + 1.0 for v in pose] for pose in found["keypoints"]]
        values = [
            Detection.score(found, part, Evaluate(keypoint_sigma=sigma)).values["keypoint_map"]
            for sigma in (0.01, 0.05, 0.5)
        ]
        assert values == sorted(values)
        assert values[0] == 0
        assert values[2] == pytest.approx(1)

    def test_a_detection_without_a_pose_is_none(self, part):
        found = found_as(part.annotations, ["keypoints"])
        found.at[0, "keypoints"] = None
        scores = Detection.score(found, part, Evaluate())
        assert scores.values["keypoint_map"] == pytest.approx(0.5)
        assert scores.values["map"] == pytest.approx(1)

    def test_classes_without_keypoints_give_no_figures(self, part, box_source):
        plain = replace(part, categories=box_source.categories)
        found = found_as(part.annotations, ["keypoints"])
        assert "keypoint_map" not in Detection.score(found, plain, Evaluate()).values


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("protocol", ["coco", "voc"])
def test_validation_gives_the_same_figures_by_any_back_end(part, backend, protocol):
    if not installed(backend):
        pytest.skip("the extra `eval` is not there")
    rng = np.random.default_rng(0)
    found = pd.concat([found_as(part.annotations, ["segmentation", "keypoints"])] * 5, ignore_index=True)
    found["x"] += rng.normal(0, 3, len(found))
    found["score"] = rng.random(len(found))
    evaluate = Evaluate(protocol=protocol, validation_backend=backend)
    watched = Detection.validation_figures(found, part, evaluate)
    reported = Detection.score(found, part, evaluate)
    assert watched == {name: pytest.approx(reported.values[name], nan_ok=True) for name in watched}
    more = {"area_precision", "area_recall", "area_iou", "localization_accuracy", "localization_iou"}
    assert reported.values.keys() - watched.keys() == more
    assert reported.contract["backend"].startswith("pycocotools ")


def test_validation_asks_the_back_end_that_is_named(part, monkeypatch):
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    with pytest.raises(ModuleNotFoundError, match="hotcoco"):
        Detection.validation_figures(found_as(part.annotations), part, Evaluate(validation_backend="hotcoco"))


def test_recall_by_number_of_boxes_is_among_the_details(part):
    # the class is wrong, so nothing is found, but the boxes are in place
    found = found_as(part.annotations)
    scores = Detection.score(found.assign(category=1 - found["category"]), part, Evaluate())
    assert scores.values["ar_100"] == 0
    assert scores.details["proposals"]["n"] == [1, 10, 100, 300, 1000]
    assert scores.details["proposals"]["all"] == [1.0] * 5


def test_nothing_found(part):
    scores = Detection.score(pd.DataFrame(), part, Evaluate())
    assert scores.values["map"] == scores.values["area_recall"] == 0
    assert math.isnan(scores.values["area_precision"])
    assert scores.details["proposals"]["all"] == [0.0] * 5


def test_the_threshold_decides_what_counts_in_an_image(part):
    found = found_as(part.annotations).assign(score=0.4)
    low = Detection.score(found, part, Evaluate())
    high = Detection.score(found, part, Evaluate(score_threshold=0.5))
    assert low.samples["score"].tolist() == [1.0, 1.0]
    assert high.samples["score"].tolist() == [0.0, 0.0]
    assert (low.values["area_recall"], high.values["area_recall"]) == (pytest.approx(1), 0)
    assert low.values["map"] == high.values["map"]
