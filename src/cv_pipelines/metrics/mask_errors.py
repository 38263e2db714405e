"""Why a segmentation's mIoU is not 1: wrong pixels at borders, whole segments missed, the inside confused."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from cv_pipelines.data.schema import IGNORE_INDEX
from cv_pipelines.metrics.confusion import confusion_matrix

KINDS = ("border", "missed segment", "inside")
"""What a wrong pixel is, in the order of the numbers 1, 2, 3 of `kind_map`."""

WIDTH = 0.005
"""How far borders reach to either side, as a share of the image's diagonal: 3 pixels of 480×360."""

MISSED = 0.1
"""A segment is missed if a smaller share of its pixels has its class."""


def kind_map(prediction: np.ndarray, target: np.ndarray, ignore_index: int = IGNORE_INDEX) -> np.ndarray:
    """Say of every pixel what is wrong with it.

    A wrong pixel belongs to a missed segment if its true segment (pixels of one class that touch by a side)
    has less than `MISSED` of its pixels right; else to the border if a pixel of another true class lies
    within `WIDTH` of the diagonal, one pixel at least, counted in steps to the eight neighbours (the trimap
    of Kohli et al. 2009 §6); else to the inside. Void is no class, so its edge is no border.

    Args:
        prediction: (H, W) class indices.
        target: (H, W) true class indices.
        ignore_index: of void pixels, which are never wrong.

    Returns:
        (H, W) uint8: 0 right or void, else the place in `KINDS` from 1.

    Raises:
        ValueError: shapes differ.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"prediction has shape {prediction.shape}, target {target.shape}; expected the same")
    wrong = (prediction != target) & (target != ignore_index)
    kinds = np.where(wrong, 3, 0).astype(np.uint8)
    if not wrong.any():
        return kinds
    reach = max(round(WIDTH * float(np.hypot(*target.shape))), 1)
    kinds[wrong & near_border(target, reach, ignore_index)] = 1
    kinds[wrong & _missed_segments(wrong, target, ignore_index)] = 2
    return kinds


def near_border(target: np.ndarray, reach: int, ignore_index: int = IGNORE_INDEX) -> np.ndarray:
    """Tell which pixels have another true class within `reach` steps.

    Args:
        target: (H, W) true class indices.
        reach: steps to the eight neighbours, 1 or more.
        ignore_index: of void pixels, which are of no class.

    Returns:
        (H, W) bool.
    """
    void = target == ignore_index
    # Two classes meet in a window where its smallest and its largest index differ, void left out of both.
    low = ndimage.minimum_filter(
        np.where(void, 10**6, target.astype(np.int32)), 2 * reach + 1, mode="nearest"
    )
    high = ndimage.maximum_filter(np.where(void, -1, target.astype(np.int32)), 2 * reach + 1, mode="nearest")
    near: np.ndarray = (low < high) & ~void
    return near


def _missed_segments(wrong: np.ndarray, target: np.ndarray, ignore_index: int) -> np.ndarray:
    missed = np.zeros(target.shape, dtype=bool)
    for index in np.unique(target[wrong]):
        if index == ignore_index:
            continue
        segments, count = ndimage.label(target == index)
        size = np.bincount(segments.ravel(), minlength=count + 1)
        right = np.bincount(segments[~wrong], minlength=count + 1)
        lost = right < MISSED * size
        lost[0] = False
        missed |= lost[segments]
    return missed


def kind_matrices(
    prediction: np.ndarray, target: np.ndarray, n_classes: int, ignore_index: int = IGNORE_INDEX
) -> np.ndarray:
    """Count wrong pixels by kind, true and predicted class.

    Returns:
        (3, C, C) int64 in the order of `KINDS`; with the right pixels they add up to the confusion matrix.
    """
    kinds = kind_map(prediction, target, ignore_index)
    matrices = [
        confusion_matrix(prediction[kinds == k], target[kinds == k], n_classes, ignore_index)
        for k in range(1, len(KINDS) + 1)
    ]
    return np.stack(matrices)


def mended(confusion: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Return a confusion matrix with some wrong pixels put right.

    Args:
        confusion: (C, C) counts, rows are the truth.
        wrong: (C, C) those of them to mend.
    """
    fixed: np.ndarray = confusion - wrong + np.diag(wrong.sum(axis=1))
    return fixed
