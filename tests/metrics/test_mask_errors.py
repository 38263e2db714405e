"""The split of wrong pixels: by hand, and that the kinds add up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cv_pipelines.metrics.confusion import confusion_matrix, segmentation_scores
from cv_pipelines.metrics.mask_errors import KINDS, kind_map, kind_matrices, mended, near_border

VOID = 255


def halves(width=40, height=20):
    """Class 0 left, class 1 right."""
    return np.repeat(np.arange(width)[None] >= width // 2, height, axis=0).astype(np.uint8)


def test_each_kind_by_hand():
    target = halves()
    target[2:5, 2:5] = 2  # a small segment of its own
    prediction = target.copy()
    prediction[2:5, 2:5] = 0  # missed altogether
    prediction[10, 19] = 1  # beside the border of 0 and 1
    prediction[15, 30] = 0  # ten pixels inside
    kinds = kind_map(prediction, target)
    assert kinds[10, 19] == 1 + KINDS.index("border")
    assert (kinds[2:5, 2:5] == 1 + KINDS.index("missed segment")).all()
    assert kinds[15, 30] == 1 + KINDS.index("inside")
    assert np.count_nonzero(kinds) == 11


def test_one_pixel_of_twenty_is_no_segment_found():
    target = np.zeros((20, 20), np.uint8)
    target[5:15, 5:7] = 1
    prediction = np.zeros_like(target)
    prediction[5, 5] = 1
    assert (kind_map(prediction, target)[target == 1] == 2).sum() == 19
    prediction[5:7, 5:7] = 1  # four of twenty: found in part
    assert set(kind_map(prediction, target)[target == 1]) == {0, 1}


@pytest.mark.parametrize(("reach", "columns"), [(1, (19, 20)), (3, (17, 18, 19, 20, 21, 22))])
def test_borders_reach_so_many_pixels_to_either_side(reach, columns):
    assert np.flatnonzero(near_border(halves(), reach)[0]).tolist() == list(columns)


def test_the_edge_of_void_is_no_border_and_void_is_never_wrong():
    target = np.zeros((10, 10), np.uint8)
    target[:, 5:] = VOID
    assert not near_border(target, 2).any()
    assert not kind_map(np.ones_like(target), target)[:, 5:].any()


def test_shapes_must_fit():
    with pytest.raises(ValueError, match="expected the same"):
        kind_map(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))


MASK = arrays(np.uint8, (12, 14), elements=st.sampled_from([0, 1, 2]))


@settings(max_examples=40, deadline=None)
@given(MASK, arrays(np.uint8, (12, 14), elements=st.sampled_from([0, 1, 2, VOID])))
def test_kinds_and_right_pixels_make_the_confusion_matrix(prediction, target):
    matrix, wrong = confusion_matrix(prediction, target, 3), kind_matrices(prediction, target, 3)
    assert (wrong.sum(axis=0) == matrix - np.diag(np.diag(matrix))).all()
    fixed = mended(matrix, wrong.sum(axis=0))
    assert (fixed == np.diag(matrix.sum(axis=1))).all()
    if matrix.any():
        assert segmentation_scores(fixed, list("abc"))["miou"] == 1.0
