"""The figures of one object an image, by hand."""

import math

import pandas as pd
import pytest

from cv_pipelines.metrics.localization import localization_scores

ANNOTATIONS = pd.DataFrame(
    [("a", 0, 0.0, 0.0, 10.0, 10.0, False), ("b", 1, 5.0, 5.0, 10.0, 20.0, False)],
    columns=["sample_id", "category", "x", "y", "w", "h", "iscrowd"],
)
COLUMNS = ["sample_id", "category", "score", "x", "y", "w", "h"]
IDS = ["a", "b", "c"]


def found(*rows):
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.mark.parametrize(
    ("rows", "accuracy", "overlap"),
    [
        ([], 1 / 3, 0.0),
        ([("a", 0, 0.9, 0.0, 0.0, 10.0, 10.0), ("b", 1, 0.9, 5.0, 5.0, 10.0, 20.0)], 1.0, 1.0),
        ([("a", 1, 0.9, 0.0, 0.0, 10.0, 10.0), ("b", 1, 0.9, 5.0, 5.0, 10.0, 10.0)], 2 / 3, 0.75),
        ([("a", 0, 0.9, 0.0, 0.0, 10.0, 4.9), ("c", 1, 0.9, 5.0, 5.0, 10.0, 10.0)], 0.0, 0.245),
        ([("a", 0, 0.5, 0.0, 0.0, 10.0, 10.0), ("a", 0, 0.9, 50.0, 0.0, 10.0, 10.0)], 1 / 3, 0.0),
        ([("c", 0, 0.2, 0.0, 0.0, 10.0, 10.0)], 1 / 3, 0.0),
    ],
)
def test_by_hand(rows, accuracy, overlap):
    scores = localization_scores(IDS, ANNOTATIONS, found(*rows), 0.3)
    assert scores == pytest.approx({"localization_accuracy": accuracy, "localization_iou": overlap})


def test_nothing_is_said_of_images_with_several_objects_or_crowds():
    twice = pd.concat([ANNOTATIONS, ANNOTATIONS])
    assert localization_scores(IDS, twice, found(), 0.3) == {}
    assert localization_scores(IDS, ANNOTATIONS.assign(iscrowd=True), found(), 0.3) == {}


def test_images_without_any_object():
    scores = localization_scores(IDS, ANNOTATIONS[:0], found(), 0.3)
    assert scores["localization_accuracy"] == 1.0
    assert math.isnan(scores["localization_iou"])
