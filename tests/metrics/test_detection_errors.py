"""The split of detection errors: one case a kind by hand, and what must hold for any detections."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cv_pipelines.data.schema import Categories, annotations_table, categories_of, samples_table
from cv_pipelines.metrics import coco, coco_form
from cv_pipelines.metrics.detection_errors import FOUND, KINDS, average_precision, matched_split

COLUMNS = ["sample_id", "category", "score", "x", "y", "w", "h"]
CATEGORIES = Categories(objects=categories_of(["cat", "dog"]))


def truth_of(objects, images=("a",), crowds=()):
    rows = [
        {"sample_id": name, "split": "test", "group": name, "labels": [], "content_hash": name}
        | {"width": 100, "height": 100}
        for name in images
    ]
    boxes = [
        {"sample_id": s, "category": c, "x": x, "y": y, "w": w, "h": h, "area": w * h, "iscrowd": i in crowds}
        for i, (s, c, x, y, w, h) in enumerate(objects)
    ]
    return coco_form.ground_truth(samples_table(rows), annotations_table(boxes), CATEGORIES)


def split_of(objects, detections, **options):
    predictions = pd.DataFrame(detections, columns=COLUMNS)
    return matched_split(truth_of(objects, **options), predictions)[0]


def costs(split):
    return {kind: round(split.cost(kind), 6) for kind in KINDS}


CAT = ("a", 0, 10, 10, 20, 20)
HIT = ("a", 0, 0.5, 10, 10, 20, 20)


@pytest.mark.parametrize(
    ("kind", "objects", "detections"),
    [
        ("class", [CAT], [("a", 1, 0.9, 10, 10, 20, 20)]),
        ("location", [CAT], [("a", 0, 0.9, 20, 10, 20, 20)]),  # a third
        ("both", [CAT], [("a", 1, 0.9, 20, 10, 20, 20)]),
        ("duplicate", [CAT], [HIT, ("a", 0, 0.4, 11, 10, 20, 20)]),
        ("background", [CAT], [HIT, ("a", 0, 0.9, 60, 60, 20, 20)]),
        ("missed", [CAT, ("a", 0, 60, 60, 20, 20)], [HIT]),
    ],
)
def test_each_kind_alone(kind, objects, detections):
    split = split_of(objects, detections)
    found = set(split.detections["kind"]) - {FOUND} | ({"missed"} if split.objects["missed"].any() else set())
    assert found - {"missed"} == ({kind} - {"missed"})
    assert kind in found
    # what lies over nothing that could be mended leaves its object missed, too
    assert ("missed" in found) == (kind in {"missed", "both"})


@pytest.mark.parametrize(
    ("objects", "detections", "wanted"),
    [
        # the only detection has the wrong class: with the right one all were found
        ([CAT], [("a", 1, 0.9, 10, 10, 20, 20)], {"class": 1.0}),
        ([CAT], [("a", 0, 0.9, 20, 10, 20, 20)], {"location": 1.0}),
        # a surer false alarm halves the precision at every recall
        ([CAT], [HIT, ("a", 0, 0.9, 60, 60, 20, 20)], {"background": 0.5}),
        # a less sure one comes after all is found: it costs nothing
        ([CAT], [HIT, ("a", 0, 0.1, 60, 60, 20, 20)], {}),
        ([CAT], [HIT, ("a", 0, 0.4, 11, 10, 20, 20)], {}),
        # half of two objects: recalls 0, 0.01, …, 0.50 of 101 have precision 1
        ([CAT, ("a", 0, 60, 60, 20, 20)], [HIT], {"missed": 1 - 51 / 101}),
        # nothing found at all
        ([CAT], [], {"missed": 1.0}),
        # a duplicate that is surer than the hit of another object
        (
            [CAT, ("b", 0, 10, 10, 20, 20)],
            [HIT, ("a", 0, 0.4, 11, 10, 20, 20), ("b", 0, 0.3, 10, 10, 20, 20)],
            {"duplicate": 1 - (51 + 50 * 2 / 3) / 101},
        ),
    ],
)
def test_costs_by_hand(objects, detections, wanted):
    split = split_of(objects, detections, images=("a", "b"))
    assert costs(split) == pytest.approx(dict.fromkeys(KINDS, 0.0) | wanted, abs=1e-6)


def test_of_two_wrong_detections_of_one_object_only_the_surest_is_mended():
    split = split_of([CAT], [("a", 1, 0.9, 10, 10, 20, 20), ("a", 1, 0.8, 11, 10, 20, 20)])
    assert split.detections["kind"].tolist() == ["class", "class"]
    assert split.without("class") == 1.0  # the second is taken away: as a hit it would be a duplicate


def test_the_wrong_class_on_an_object_that_is_found_is_taken_away():
    split = split_of(
        [CAT, ("b", 1, 0, 0, 9, 9)],
        [HIT, ("a", 1, 0.9, 10, 10, 20, 20), ("b", 1, 0.5, 0, 0, 9, 9)],
        images=("a", "b"),
    )
    assert costs(split)["class"] == pytest.approx(0.25)  # dogs: precision 1/2 without, 1 with


def test_crowds_are_neither_missed_nor_make_false_alarms():
    split = split_of([CAT, ("a", 0, 50, 50, 40, 40)], [HIT, ("a", 0, 0.9, 55, 55, 10, 10)], crowds={1})
    assert split.detections["kind"].tolist() == [FOUND]
    assert split.precision() == 1.0
    assert not split.objects["missed"].any()


def test_a_detection_takes_the_first_kind_that_fits():
    # near its own class and at the place of another: its place is blamed, as in the published toolbox
    dog = ("a", 1, 24, 10, 20, 20)
    split = split_of([CAT, dog], [("a", 0, 0.9, 24, 10, 20, 20)])
    assert split.detections["kind"].tolist() == ["location"]


def test_no_object_is_no_precision():
    assert np.isnan(split_of([], [HIT]).precision())


def test_average_precision_of_nothing_found_is_zero():
    assert average_precision(np.zeros(0, dtype=bool), 3) == 0.0


SIDE = st.integers(0, 12).map(lambda n: 5 * n)
BOX = st.tuples(st.sampled_from("ab"), st.integers(0, 1), SIDE, SIDE, st.sampled_from([10, 20]), st.just(20))
SCORES = st.integers(1, 100).map(lambda n: n / 100)


@settings(max_examples=60, deadline=None)
@given(st.lists(BOX, min_size=1, max_size=8), st.lists(st.tuples(BOX, SCORES), max_size=12))
def test_what_holds_for_any_detections(objects, guesses):
    detections = [(s, c, score, x, y, w, h) for (s, c, x, y, w, h), score in guesses]
    truth = truth_of(objects, images=("a", "b"))
    predictions = pd.DataFrame(detections, columns=COLUMNS)
    split, _ = matched_split(truth, predictions)
    scores, _ = coco.coco_scores(truth, coco_form.results(predictions, truth) if detections else [])
    assert split.precision() == pytest.approx(scores["map_50"], abs=1e-9)
    assert split.without(*KINDS) == 1.0
    assert all(-1e-9 <= split.cost(kind) <= 1 - split.precision() + 1e-9 for kind in KINDS)
    assert len(split.detections) == len(detections)
    assert split.detections["kind"].eq(FOUND).sum() == split.objects["found"].sum()
    assert not (split.objects["found"] & split.objects["missed"]).any()
