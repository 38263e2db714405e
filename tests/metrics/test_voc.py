"""PASCAL VOC's detection scores: hand-worked cases and the devkit's rules."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cv_pipelines.data.schema import annotations_table, samples_table
from cv_pipelines.metrics.boxes import iou
from cv_pipelines.metrics.voc import voc_scores

COLUMNS = ["sample_id", "category", "score", "x", "y", "w", "h"]
BOX, FAR = (10, 10, 40, 40), (200, 200, 40, 40)


def samples(*keys):
    rest = {"split": "test", "width": 320, "height": 320, "labels": []}
    return samples_table([{"sample_id": k, "group": k, "content_hash": k, **rest} for k in keys])


def truth(*rows, **more):
    return annotations_table(
        [
            dict(zip(["sample_id", "category", "x", "y", "w", "h"], [k, c, *box], strict=True))
            | {"area": box[2] * box[3], "difficult": mark}
            | more
            for k, c, box, mark in rows
        ]
    )


def found(*rows):
    return pd.DataFrame([[k, c, s, *map(float, box)] for k, c, s, box in rows], columns=COLUMNS)


def test_hand_worked():
    # three objects; ranked: hit, miss, hit, nothing more: recall 1/3 1/3 2/3, precision 1 1/2 2/3
    boxes = truth(("a", 0, BOX, False), ("b", 0, BOX, False), ("c", 0, BOX, False))
    guesses = found(("b", 0, 0.3, BOX), ("a", 0, 0.9, BOX), ("a", 0, 0.6, FAR))
    values, details = voc_scores(samples("a", "b", "c"), boxes, guesses, ["cat"])
    assert values["voc_map"] == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    # recall points 0 … 0.3 see precision 1, 0.4 … 0.6 see 2/3, the other four see 0
    assert values["voc07_map"] == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)
    ap = pytest.approx(values["voc_map"])
    assert details["classes"] == ["cat"]
    assert details["per_class"] == [{"name": "cat", "ap": ap, "ap_50": ap, "n": 3}]
    curve = details["pr_curves"]["cat"]
    assert len(curve["recall"]) == len(curve["precision"]) == 101
    assert curve["precision"][33] == 1
    assert curve["precision"][34] == pytest.approx(2 / 3)
    assert curve["precision"][67] == 0


def test_recall_points_are_reached_exactly():
    # 3 of 10 found: the point 0.3 counts
    keys = [f"i{k}" for k in range(10)]
    boxes = truth(*((k, 0, BOX, False) for k in keys))
    guesses = found(*((k, 0, 0.9, BOX) for k in keys[:3]))
    values, _ = voc_scores(samples(*keys), boxes, guesses, ["cat"])
    assert values == {"voc07_map": pytest.approx(4 / 11), "voc_map": pytest.approx(0.3)}


def test_a_second_detection_of_one_object_is_false():
    boxes = truth(("a", 0, BOX, False), ("b", 0, BOX, False))
    guesses = found(("a", 0, 0.9, BOX), ("a", 0, 0.8, BOX), ("b", 0, 0.7, BOX))
    assert voc_scores(samples("a", "b"), boxes, guesses, ["cat"])[0]["voc_map"] == pytest.approx(
        1 / 2 + 1 / 2 * 2 / 3
    )


def test_a_detection_belongs_to_the_box_it_overlaps_most_even_if_that_is_taken():
    # COCO would give the second detection to the second box, VOC calls it a duplicate
    boxes = truth(("a", 0, (0, 0, 100, 100), False), ("a", 0, (0, 0, 100, 60), False))
    guesses = found(("a", 0, 0.9, (0, 0, 100, 100)), ("a", 0, 0.8, (0, 0, 100, 90)))
    assert voc_scores(samples("a"), boxes, guesses, ["cat"])[0]["voc_map"] == pytest.approx(1 / 2)


def test_difficult_objects_neither_miss_nor_make_false_positives():
    boxes = truth(("a", 0, BOX, False), ("a", 0, FAR, True))
    ignored = found(("a", 0, 0.9, FAR), ("a", 0, 0.8, FAR), ("a", 0, 0.5, BOX))
    values, details = voc_scores(samples("a"), boxes, ignored, ["cat"])
    assert values == {"voc07_map": pytest.approx(1), "voc_map": pytest.approx(1)}
    assert details["per_class"][0]["n"] == 1
    unseen = found(("a", 0, 0.5, BOX))
    assert voc_scores(samples("a"), boxes, unseen, ["cat"])[0]["voc_map"] == pytest.approx(1)


def test_crowds_are_treated_as_difficult():
    boxes = truth(("a", 0, BOX, False), iscrowd=True)
    assert np.isnan(voc_scores(samples("a"), boxes, found(("a", 0, 0.5, BOX)), ["cat"])[0]["voc_map"])


def test_half_overlap_is_enough():
    boxes = truth(("a", 0, (0, 0, 10, 10), False))
    half, less = found(("a", 0, 0.5, (0, 0, 10, 5))), found(("a", 0, 0.5, (0, 0, 10, 4.99)))
    assert voc_scores(samples("a"), boxes, half, ["cat"])[0]["voc_map"] == 1
    assert voc_scores(samples("a"), boxes, less, ["cat"])[0]["voc_map"] == 0
    looser, details = voc_scores(samples("a"), boxes, less, ["cat"], iou_threshold=0.4)
    assert looser["voc_map"] == 1
    assert np.isnan(details["per_class"][0]["ap_50"])


CORNERS = st.tuples(*[st.integers(1, 60)] * 2, *[st.integers(0, 40)] * 2)


@settings(deadline=None)
@given(CORNERS, CORNERS)
def test_plain_overlap_is_the_devkits_overlap_of_inclusive_corners(a, b):
    (ax, ay, ar, ab), (bx, by, br, bb) = ((x, y, x + w, y + h) for x, y, w, h in (a, b))
    wide, high = min(ar, br) - max(ax, bx) + 1, min(ab, bb) - max(ay, by) + 1
    shared = wide * high if wide > 0 and high > 0 else 0
    whole = (ar - ax + 1) * (ab - ay + 1) + (br - bx + 1) * (bb - by + 1) - shared
    # as the readers turn 1-based inclusive corners into 0-based boxes
    ours = [
        np.array([[x - 1, y - 1, r - x + 1, e - y + 1]])
        for x, y, r, e in ((ax, ay, ar, ab), (bx, by, br, bb))
    ]
    assert iou(*ours)[0, 0] == shared / whole


# objects stand in images 0..3, the one in image 3 is difficult; a guess always lies on its image's spot
SIX, FOUR = samples(*(f"i{k}" for k in range(6))), truth(*((f"i{k}", 0, BOX, k == 3) for k in range(4)))


def devkit_ap(recall, precision):
    """VOCap.m in words: pad, make monotone from the right, sum rectangles where recall moves."""
    r, p = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
    for i in range(len(p) - 2, -1, -1):
        p[i] = max(p[i], p[i + 1])
    return sum((r[i] - r[i - 1]) * p[i] for i in range(1, len(r)))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 99)), max_size=25))
def test_equals_a_plain_walk_down_the_ranking(guesses):
    table = found(*((f"i{k}", 0, s / 100, BOX) for k, s in guesses))
    values, _ = voc_scores(SIX, FOUR, table, ["cat"])
    taken, hits, misses, recall, precision = set(), 0, 0, [], []
    for k, _ in sorted(guesses, key=lambda g: -g[1]):
        if k == 3:
            continue
        fresh = k < 3 and k not in taken
        hits, misses = hits + fresh, misses + (not fresh)
        taken.add(k)
        recall.append(hits / 3)
        precision.append(hits / (hits + misses))
    points = [
        max([p for p, r in zip(precision, recall, strict=True) if r >= t / 10], default=0) for t in range(11)
    ]
    assert values["voc_map"] == pytest.approx(devkit_ap(recall, precision))
    assert values["voc07_map"] == pytest.approx(sum(points) / 11)


def test_classes_without_objects_are_left_out_of_the_mean():
    boxes = truth(("a", 0, BOX, False))
    guesses = found(("a", 0, 0.9, BOX), ("a", 1, 0.9, BOX))
    values, details = voc_scores(samples("a"), boxes, guesses, ["cat", "dog"])
    assert values["voc_map"] == 1
    assert np.isnan(details["per_class"][1]["ap"])
    assert list(details["pr_curves"]) == ["cat"]


def test_objects_of_other_samples_are_left_out():
    boxes = truth(("a", 0, BOX, False), ("train image", 0, BOX, False))
    assert voc_scores(samples("a"), boxes, found(("a", 0, 0.9, BOX)), ["cat"])[0]["voc_map"] == 1


def test_nothing_predicted_nothing_true_all_wrong():
    boxes = truth(("a", 0, BOX, False))
    assert voc_scores(samples("a"), boxes, found(), ["cat"])[0] == {"voc07_map": 0, "voc_map": 0}
    assert voc_scores(samples("a"), boxes, found(("a", 0, 1, FAR)), ["cat"])[0]["voc07_map"] == 0
    for none in (found(), found(("a", 0, 1, FAR))):
        values, details = voc_scores(samples("a"), truth(), none, ["cat"])
        assert np.isnan(list(values.values())).all()
        assert details["pr_curves"] == {}


def test_bad_input_is_named():
    boxes = truth(("a", 0, BOX, False))
    with pytest.raises(ValueError, match="unknown samples"):
        voc_scores(samples("a"), boxes, found(("z", 0, 1, BOX)), ["cat"])
    with pytest.raises(ValueError, match=r"expected 0\.\.0"):
        voc_scores(samples("a"), boxes, found(("a", 1, 1, BOX)), ["cat"])
    with pytest.raises(ValueError, match="category 2"):
        voc_scores(samples("a"), truth(("a", 2, BOX, False)), found(), ["cat"])
