"""Area figures: hand-worked boxes, and against pixels drawn one by one."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cv_pipelines.metrics.areas import area_scores

COLUMNS = ["sample_id", "category", "score", "x", "y", "w", "h"]


def tables(objects, guesses):
    """Objects are (sample, class, box, crowd), guesses (sample, class, score, box)."""
    truth = [[key, c, *box, crowd] for key, c, box, crowd in objects]
    found = [[key, c, score, *box] for key, c, score, box in guesses]
    return (
        pd.DataFrame(truth, columns=["sample_id", "category", "x", "y", "w", "h", "iscrowd"]),
        pd.DataFrame(found, columns=COLUMNS),
    )


def scores(objects, guesses, threshold=0.5):
    values = area_scores(*tables(objects, guesses), threshold)
    return [values[f"area_{name}"] for name in ("precision", "recall", "iou")]


def test_one_box():
    # half of the true box is covered by a box of half its size, of which half lies outside
    assert scores([("a", 0, (0, 0, 10, 10), False)], [("a", 0, 0.9, (5, 0, 10, 5))]) == pytest.approx(
        [0.5, 0.25, 25 / 125]
    )


def test_areas_are_pooled_over_images_and_classes():
    objects = [("a", 0, (0, 0, 10, 10), False), ("b", 1, (0, 0, 20, 10), False)]
    guesses = [("a", 0, 0.9, (0, 0, 10, 10)), ("b", 0, 0.9, (0, 0, 20, 10))]
    assert scores(objects, guesses) == pytest.approx([100 / 300, 100 / 300, 100 / 500])


def test_copies_change_nothing_and_weak_boxes_do_not_count():
    objects, box = [("a", 0, (0, 0, 10, 10), False)], (0, 0, 10, 8)
    once = scores(objects, [("a", 0, 0.9, box)])
    assert scores(objects, [("a", 0, 0.9, box), ("a", 0, 0.6, box), ("a", 0, 0.4, (0, 0, 90, 90))]) == once
    assert once == pytest.approx([1, 0.8, 0.8])


def test_what_lies_in_a_crowd_counts_as_nothing():
    objects = [("a", 0, (0, 0, 10, 10), False), ("a", 0, (5, 0, 95, 100), True)]
    assert scores(objects, [("a", 0, 0.9, (0, 0, 50, 10))]) == pytest.approx([1, 1, 1])


def test_shares_of_nothing():
    precision, recall, overlap = scores([("a", 0, (0, 0, 10, 10), False)], [])
    assert (recall, overlap) == (0, 0)
    assert math.isnan(precision)
    assert all(map(math.isnan, scores([], [])))


whole = st.integers(0, 12)
box = st.tuples(whole, whole, st.integers(1, 8), st.integers(1, 8))


def painted(boxes):
    grid = np.zeros((20, 20), dtype=bool)
    for x, y, w, h in boxes:
        grid[y : y + h, x : x + w] = True
    return grid


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(box, st.booleans()), max_size=5), st.lists(box, max_size=5))
def test_equal_to_counted_pixels(objects, guesses):
    ours = scores([("a", 0, *o) for o in objects], [("a", 0, 0.9, g) for g in guesses])
    open_ = ~painted([b for b, crowd in objects if crowd])
    truth, found = painted([b for b, crowd in objects if not crowd]) & open_, painted(guesses) & open_
    shared, either = (truth & found).sum(), (truth | found).sum()
    for value, part, of in zip(ours, [shared] * 3, [found.sum(), truth.sum(), either], strict=True):
        assert value == pytest.approx(part / of if of else math.nan, nan_ok=True)
