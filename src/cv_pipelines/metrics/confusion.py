"""Segmentation scores from one data-set-level confusion matrix, as PASCAL VOC and CamVid publish them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cv_pipelines.data.schema import IGNORE_INDEX


def confusion_matrix(
    prediction: np.ndarray, target: np.ndarray, n_classes: int, ignore_index: int = IGNORE_INDEX
) -> np.ndarray:
    """Count pixels (or samples) by true and predicted class; matrices of several batches add up.

    Args:
        prediction: integer class indices, any shape; what is predicted at ignored places does not matter.
        target: true class indices, same shape.
        n_classes: number of classes C.
        ignore_index: true class of the places that are not counted (void).

    Returns:
        (C, C) int64, rows are the truth, columns the prediction; all zero for empty input.

    Raises:
        ValueError: shapes differ, or a counted class is not an integer in 0..C-1.
    """
    prediction, target = np.asarray(prediction), np.asarray(target)
    if prediction.shape != target.shape:
        raise ValueError(f"prediction has shape {prediction.shape}, target {target.shape}; expected the same")
    counted = target != ignore_index
    truth = _class_indices(target[counted], n_classes, "target")
    guess = _class_indices(prediction[counted], n_classes, "prediction")
    counts = np.bincount(n_classes * truth + guess, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


def segmentation_scores(matrix: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Score a data set by its confusion matrix (Everingham et al. 2010 §4.3; Long et al. 2015 §5).

    Classes that occur neither in the truth nor in the prediction are NaN and left out of the means; classes
    that are predicted but never true count 0.

    Args:
        matrix: (C, C) counts over the whole data set, rows are the truth, without void pixels.
        names: the C class names.

    Returns:
        `miou` (mean intersection over union), `pixel_accuracy`, `mean_accuracy` (mean of the classes'
        recalls) and `iou/<name>` of every class, each in 0..1; all NaN for a matrix of zeros.

    Raises:
        ValueError: the matrix is not (C, C) for C names.
    """
    matrix = np.asarray(matrix)
    if matrix.shape != (len(names), len(names)):
        raise ValueError(
            f"matrix has shape {matrix.shape}; expected ({len(names)}, {len(names)}) for the names"
        )
    hits, true, guessed = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    occurs = (true + guessed) > 0
    if not occurs.any():
        return dict.fromkeys(
            ["miou", "pixel_accuracy", "mean_accuracy", *(f"iou/{n}" for n in names)], np.nan
        )
    iou = np.full(len(names), np.nan)
    iou[occurs] = hits[occurs] / (true + guessed - hits)[occurs]
    recall = hits[occurs] / np.maximum(true[occurs], 1)
    return {
        "miou": float(iou[occurs].mean()),
        "pixel_accuracy": float(hits.sum() / matrix.sum()),
        "mean_accuracy": float(recall.mean()),
        **{f"iou/{name}": float(value) for name, value in zip(names, iou, strict=True)},
    }


def _class_indices(values: np.ndarray, n_classes: int, what: str) -> np.ndarray:
    if values.size == 0:
        return np.zeros(0, dtype=np.int64)
    if values.dtype.kind not in "iu":
        raise ValueError(f"{what} has dtype {values.dtype}; expected integer class indices")
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= n_classes:
        raise ValueError(f"{what} has classes {low}..{high}; expected 0..{n_classes - 1}")
    return values.astype(np.int64)
