"""Detection: scores by hand, empty predictions, the rows a detector gives."""

import math
from contextlib import nullcontext
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn

from cv_pipelines.config import Evaluate
from cv_pipelines.data.datasets import SampleDataset
from cv_pipelines.data.preprocessing import Preprocessing
from cv_pipelines.data.schema import annotations_table
from cv_pipelines.errors import AnchorError
from cv_pipelines.models import builder
from cv_pipelines.tasks.base import Context
from cv_pipelines.tasks.detection import COLUMNS, Detection
from cv_pipelines.tasks.detection_scores import image_scores

NAMES = [
    *("map", "map_50", "map_75", "map_small", "map_medium", "map_large"),
    *("ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large"),
]
AREAS = ["area_precision", "area_recall", "area_iou"]
SINGLE = ["localization_accuracy", "localization_iou"]  # no image has several objects


@pytest.fixture(scope="module")
def part(box_source):
    """Two images with a red and a white rectangle."""
    return box_source.only("test")


def found_as(objects, **changes):
    """Detections that are the objects themselves, but for some columns."""
    rows = objects[["sample_id", "category", "x", "y", "w", "h"]].assign(score=0.9)
    return rows.assign(**changes)[COLUMNS].reset_index(drop=True)


def test_perfect_boxes(part):
    scores = Detection.score(found_as(part.annotations), part, Evaluate(protocol="coco"))
    assert list(scores.values) == NAMES + AREAS + SINGLE
    for name in (*AREAS, *SINGLE, "map", "map_50", "map_75", "map_small", "ar_1", "ar_100"):
        assert scores.values[name] == pytest.approx(1.0), name
    assert math.isnan(scores.values["map_large"])  # there is no large object
    assert scores.samples["score"].tolist() == [1.0, 1.0]
    assert scores.samples["note"].tolist() == ["1 of 1 found, 0 false"] * 2


@pytest.mark.parametrize(
    "change", [{"category": lambda rows: 1 - rows["category"]}, {"x": lambda rows: rows["x"] - 50}]
)
def test_all_wrong(part, change):
    scores = Detection.score(found_as(part.annotations, **change), part, Evaluate(protocol="voc"))
    for name in ("map", "map_50", "ar_100", "voc_map", "voc07_map"):
        assert scores.values[name] == 0.0, name
    assert scores.samples["note"].tolist() == ["0 of 1 found, 1 false"] * 2


@pytest.mark.parametrize("empty", [pd.DataFrame(), pd.DataFrame(columns=COLUMNS), pd.DataFrame([])])
@pytest.mark.parametrize("protocol", ["coco", "voc"])
def test_nothing_found_scores_zero(part, empty, protocol):
    scores = Detection.score(empty, part, Evaluate(protocol=protocol))
    assert scores.values["map"] == scores.values["ar_100"] == 0.0
    assert scores.samples["note"].tolist() == ["0 of 1 found, 0 false"] * 2
    assert scores.samples["sample_id"].tolist() == part.samples["sample_id"].tolist()


def test_overlap_decides_which_thresholds_are_met(part):
    # 0.7 of the width is an IoU of 0.7: a hit at 0.50, 0.55, 0.60, 0.65 and 0.70, of ten thresholds
    objects = found_as(part.annotations, w=lambda rows: 0.7000001 * rows["w"])
    values = Detection.score(objects, part, Evaluate()).values
    assert values["map_50"] == pytest.approx(1.0)
    assert values["map_75"] == 0.0
    assert values["map"] == pytest.approx(0.5)


def test_voc_adds_its_figures_and_says_so(part):
    plain = Detection.score(found_as(part.annotations), part, Evaluate(protocol="coco"))
    voc = Detection.score(found_as(part.annotations), part, Evaluate(protocol="voc"))
    assert set(voc.values) - set(plain.values) == {"voc07_map", "voc_map"}
    assert voc.values["voc07_map"] == voc.values["voc_map"] == pytest.approx(1.0)
    assert voc.contract["voc"] == "voc07_map 11-point, voc_map area; IoU 0.5"
    assert "voc" not in plain.contract
    assert plain.contract["backend"].startswith("pycocotools ")
    assert plain.contract["classes"] == ["red", "white"]


class TestImageScores:
    """The F1 that galleries sort by."""

    def test_weak_detections_are_not_counted(self, part):
        rows = found_as(part.annotations, score=[0.2, 0.6])
        assert image_scores(rows, part, threshold=0.5)["score"].tolist() == [0.0, 1.0]

    def test_an_object_is_found_once(self, part):
        twice = pd.concat([found_as(part.annotations)] * 2)
        found = image_scores(twice, part, threshold=0.5)
        assert found["score"].tolist() == pytest.approx([2 / 3] * 2)
        assert found["note"].tolist() == ["1 of 1 found, 1 false"] * 2

    def test_an_image_without_objects_is_right_when_nothing_is_found(self, part):
        bare = replace(part, annotations=annotations_table([]))
        assert image_scores(found_as(part.annotations).head(1), bare, threshold=0.5)["score"].tolist() == [
            0.0,
            1.0,
        ]


class Memory(nn.Module):
    """Finds one box in each image, or none in dark ones."""

    def forward(self, images, targets=None):
        if targets is not None:
            return {"one": images[0].mean(), "two": torch.tensor(2.0) * len(targets[0]["boxes"])}
        one = {
            "boxes": torch.tensor([[1.0, 2, 11, 22]]),
            "labels": torch.tensor([1]),
            "scores": torch.tensor([0.5]),
        }
        none = {k: v[:0] for k, v in one.items()}
        return [one if image.max() > 200 else none for image in images]


@pytest.fixture
def task(box_source, experiment):
    preprocessing = Preprocessing(size=None, mean=[0.0] * 3, std=[1.0] * 3)
    return Detection(Memory(), Context(experiment("detection"), box_source, preprocessing)).eval()


def test_rows_hold_a_detection_each(task, part):
    task.evaluate_on(part)
    dataset = SampleDataset(part, "none")
    items = [dataset[0], dataset[1] | {"image": dataset[1]["image"] * 0}]
    rows = task.predict_rows(Detection.collate_inputs(items))
    assert rows == [dict(zip(COLUMNS, ("s08", 1, 0.5, 1.0, 2.0, 10.0, 20.0), strict=True))]


def test_an_unlucky_detector_still_gives_a_table_that_scores(task, part):
    task.evaluate_on(part)
    dataset = SampleDataset(part, "none")
    items = [dataset[i] | {"image": dataset[i]["image"] * 0} for i in range(2)]
    rows = task.predict_rows(Detection.collate_inputs(items))
    assert rows == []
    assert Detection.score(pd.DataFrame(rows), part, Evaluate()).values["map"] == 0.0


def test_batches_keep_images_of_their_own_size_and_the_loss_is_the_sum(task, box_source):
    dataset = SampleDataset(box_source, "boxes")
    other = dataset[1] | {"image": dataset[1]["image"][:, :40]}
    batch = Detection.collate([dataset[0], other])
    assert [image.shape[-2:] for image in batch["image"]] == [(64, 64), (40, 64)]
    assert [target["boxes"].shape for target in batch["targets"]] == [(1, 4), (1, 4)]
    assert batch["dropped"] == 0
    batch["dropped"] = Detection.collate([dataset[0] | {"dropped": 2}, other | {"dropped": 1}])["dropped"]
    task.samples = 2
    expected = batch["image"][0].float().mean() + 2.0
    assert torch.isclose(task.training_step(batch, 0), expected)
    assert task.figures.close()["train_boxes_dropped"] == 3


class Twice(nn.Module):
    """Finds one box and nearly the same again, with a mask of each."""

    def forward(self, images, targets=None):
        boxes = torch.tensor([[1.0, 2, 11, 22], [1.0, 2, 11, 23]])
        found = {"boxes": boxes, "labels": torch.tensor([1, 1]), "scores": torch.tensor([0.4, 0.8])}
        return [found | {"masks": torch.rand(2, 1, 8, 8)} for _ in images]


@pytest.mark.parametrize(
    ("suppression", "kept"),
    [(None, 2), ({"name": "nms"}, 1), ({"name": "soft_nms", "kernel": "linear"}, 1), ({"name": "none"}, 2)],
)
def test_the_choice_among_boxes_is_an_option(box_source, experiment, part, suppression, kept):
    preprocessing = Preprocessing(size=None, mean=[0.0] * 3, std=[1.0] * 3)
    config = experiment("detection", evaluate={"suppression": suppression})
    task = Detection(Twice(), Context(config, box_source, preprocessing)).eval()
    task.evaluate_on(part)
    rows = task.predict_rows(Detection.collate_inputs([SampleDataset(part, "none")[0]]))
    assert len(rows) == kept
    assert 0.8 in [pytest.approx(row["score"]) for row in rows]


class Edges(nn.Module):
    """Finds the bounding box of what is bright: an image's mirror image has the mirrored box."""

    def forward(self, images, targets=None):
        found = []
        for image in images:
            rows, columns = (image.amax(dim=0) > 100).nonzero(as_tuple=True)
            corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            boxes = torch.tensor([[float(corner) for corner in corners]])
            found.append({"boxes": boxes, "labels": torch.tensor([1]), "scores": torch.tensor([0.5])})
        return found


class TestFlip:
    """Averaging with the mirror image."""

    @pytest.fixture
    def rows_with(self, box_source, experiment, part):
        def run(model, **evaluate):
            preprocessing = Preprocessing(size=None, mean=[0.0] * 3, std=[1.0] * 3)
            config = experiment("detection", evaluate=evaluate)
            task = Detection(model, Context(config, box_source, preprocessing)).eval()
            task.evaluate_on(part)
            dataset = SampleDataset(part, "none")
            items = [dataset[0], dataset[1] | {"image": dataset[1]["image"][:, :, :50]}]
            return task.predict_rows(Detection.collate_inputs(items))

        return run

    def test_it_changes_nothing_where_the_detector_mirrors_what_it_sees(self, rows_with):
        plain, flipped = rows_with(Edges()), rows_with(Edges(), flip=True)
        assert [row["sample_id"] for row in plain] == ["s08", "s09"]
        assert plain[0] != plain[1]
        for one, two in zip(plain, flipped, strict=True):
            assert one == {k: v if isinstance(v, str) else pytest.approx(v) for k, v in two.items()}

    def test_what_is_found_in_one_view_only_has_half_the_score(self, rows_with):
        # the box stays at 1..11 whatever the image: mirrored back in 64 and 50 pixels it lies at 53 and 39
        found = rows_with(Memory(), flip=True)
        places = [(row["sample_id"], row["x"], row["w"], row["score"]) for row in found]
        expected = [("s08", 1, 10, 0.25), ("s08", 53, 10, 0.25), ("s09", 1, 10, 0.25), ("s09", 39, 10, 0.25)]
        assert sorted(places) == [(name, *map(pytest.approx, numbers)) for name, *numbers in expected]

    def test_the_contract_names_the_overlap_only_where_it_counts(self, part):
        boxes = found_as(part.annotations)
        assert "fuse_iou" not in Detection.score(boxes, part, Evaluate()).contract
        flipped = Detection.score(boxes, part, Evaluate(flip=True, fuse_iou=0.6))
        assert flipped.contract["fuse_iou"] == 0.6


def test_anchors_that_fit_no_object_are_refused_before_training(box_source, experiment):
    preprocessing = Preprocessing(size=None, mean=[0.0] * 3, std=[1.0] * 3)
    context = Context(experiment("detection"), box_source, preprocessing)
    for side, fits in ((24.0, True), (2.0, False)):
        model = builder("yolo_v5")(3, 2, size=64, width=0.1, anchors=[[side, side]] * 3)
        with nullcontext() if fits else pytest.raises(AnchorError, match=r"the 6 boxes.*best recall 0\.000"):
            Detection(model, context).on_fit_start()
