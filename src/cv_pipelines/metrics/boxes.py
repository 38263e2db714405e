"""Boxes as the tables hold them: (x, y, w, h), absolute pixels, 0-based, float, x to the right, y down."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

PREDICTION_COLUMNS = ("sample_id", "category", "score", "x", "y", "w", "h")
"""What every table of predicted boxes has; `segmentation` and `keypoints` may follow."""


def xywh_to_xyxy(boxes: np.ndarray) -> np.ndarray:
    """Turn (N, 4) boxes x, y, w, h into (N, 4) float64 corners x1, y1, x2, y2 (pixels; x2 = x + w).

    Raises:
        ValueError: the shape is not (N, 4).
    """
    boxes = _as_boxes(boxes, "boxes")
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def xyxy_to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Turn (N, 4) corners x1, y1, x2, y2 into (N, 4) float64 boxes x, y, w, h (pixels; w = x2 - x1).

    Raises:
        ValueError: the shape is not (N, 4).
    """
    boxes = _as_boxes(boxes, "boxes")
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def iou(a: np.ndarray, b: np.ndarray, crowd: np.ndarray | None = None) -> np.ndarray:
    """Return the intersection over union of every detection with every true box.

    For a crowd region the union is replaced by the detection's own area, as COCO does (Lin et al. 2014;
    pycocotools `mask.iou`), so that a detection anywhere inside a crowd scores 1. Boxes that share no area,
    such as boxes without area, have 0.

    Args:
        a: (N, 4) detections x, y, w, h.
        b: (M, 4) true boxes x, y, w, h.
        crowd: (M,) bool, which of `b` are crowd regions; none if not given.

    Returns:
        (N, M) float64 in 0..1; N and M may be 0.

    Raises:
        ValueError: a shape is not the stated one.
    """
    a, b = _as_boxes(a, "a"), _as_boxes(b, "b")
    crowd = np.zeros(len(b), dtype=bool) if crowd is None else np.asarray(crowd, dtype=bool)
    if crowd.shape != (len(b),):
        raise ValueError(f"crowd has shape {crowd.shape}; expected ({len(b)},), one entry a box of b")
    start = np.maximum(a[:, None, :2], b[None, :, :2])
    end = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    shared = np.clip(end - start, 0.0, None).prod(axis=2)
    area_a, area_b = a[:, 2:].prod(axis=1)[:, None], b[:, 2:].prod(axis=1)[None, :]
    whole = np.where(crowd[None, :], area_a, area_a + area_b - shared)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=shared > 0)


def check_predictions(predictions: pd.DataFrame, sample_ids: Collection[str], n_classes: int) -> None:
    """Check that predicted boxes can be scored against these samples and classes.

    Args:
        predictions: columns `PREDICTION_COLUMNS`: sample_id (str), category (int, contiguous), score
            (float, higher is surer), x, y, w, h (float, pixels); no row is fine.
        sample_ids: ids of the samples that are scored.
        n_classes: length of the class list.

    Raises:
        ValueError: a column is missing, a sample is unknown, a category is out of range, a number is not
            finite, or a size is negative.
    """
    missing = [name for name in PREDICTION_COLUMNS if name not in predictions.columns]
    if missing:
        raise ValueError(f"predictions lack {', '.join(missing)}; expected {', '.join(PREDICTION_COLUMNS)}")
    if predictions.empty:
        return
    strangers = sorted(set(predictions["sample_id"]) - set(sample_ids))
    if strangers:
        raise ValueError(f"predictions for {len(strangers)} unknown samples, such as {strangers[:3]}")
    category = predictions["category"].to_numpy()
    if category.min() < 0 or category.max() >= n_classes:
        raise ValueError(f"categories {category.min()}..{category.max()}; expected 0..{n_classes - 1}")
    numbers = predictions[["score", "x", "y", "w", "h"]].to_numpy(dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{int((~np.isfinite(numbers)).any(axis=1).sum())} predictions are not finite")
    if (numbers[:, 3:] < 0).any():
        raise ValueError("predictions have a negative width or height; expected x, y, w, h")


def _as_boxes(boxes: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(boxes, dtype=np.float64)
    if array.size == 0 and array.ndim <= 1:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{name} has shape {array.shape}; expected (N, 4)")
    return array
