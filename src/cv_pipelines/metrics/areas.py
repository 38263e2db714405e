"""How much of the true boxes' area is covered, and how much of what is covered is true.

Average precision asks whether a box is found; these ask how well it lies, as one does of a single object that
is localised. They are of areas pooled over the data set, like the IoU of segmentation, so neither the number
of boxes nor their order counts.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pandas as pd

from cv_pipelines.metrics.boxes import xywh_to_xyxy

_SIDES = ["x", "y", "w", "h"]
_NONE = np.zeros((0, 4))


def area_scores(annotations: pd.DataFrame, predictions: pd.DataFrame, threshold: float) -> dict[str, float]:
    """Compare the area of predicted boxes with that of true ones, class by class in every image.

    Where boxes of a class overlap, their area counts once. What lies in a crowd region of the class counts as
    nothing.

    Args:
        annotations: rows of `data.schema.ANNOTATIONS` of the scored samples.
        predictions: columns `boxes.PREDICTION_COLUMNS` of the scored samples; may be empty.
        threshold: predictions with a lower score are left out.

    Returns:
        `area_precision`, the share of the predicted area that is true, `area_recall`, the share of the true
        area that is predicted, and `area_iou`, shared area by area of
        either; 0..1, NaN for shares of nothing.
    """
    crowd = annotations["iscrowd"].astype(bool)
    true, crowds = _grouped(annotations[~crowd]), _grouped(annotations[crowd])
    found = _grouped(predictions[predictions["score"] >= threshold])
    sums = np.zeros(3)
    for key in true.keys() | found.keys():
        sums += _areas(found.get(key, _NONE), true.get(key, _NONE), crowds.get(key, _NONE))
    predicted, there, shared = sums.tolist()
    return {
        "area_precision": _share(shared, predicted),
        "area_recall": _share(shared, there),
        "area_iou": _share(shared, predicted + there - shared),
    }


def _grouped(rows: pd.DataFrame) -> dict[Hashable, np.ndarray]:
    """Return the (N, 4) corners of each sample and category that has any."""
    corners = xywh_to_xyxy(rows[_SIDES].to_numpy(dtype=np.float64))
    places = rows.reset_index(drop=True).groupby(["sample_id", "category"], sort=False).indices
    return {key: corners[where] for key, where in places.items()}


def _areas(found: np.ndarray, true: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Return the predicted, the true and the shared area outside of crowds, exactly.

    The sides of all boxes cut the plane into cells, each of which lies in a box wholly or not at all.
    """
    corners = np.concatenate([found, true, crowd])
    xs, ys = np.unique(corners[:, 0::2]), np.unique(corners[:, 1::2])
    cells = np.diff(ys)[:, None] * np.diff(xs)[None, :]
    covered = []
    for boxes in (found, true, crowd):
        grid = np.zeros(cells.shape, dtype=bool)
        columns, rows = np.searchsorted(xs, boxes[:, 0::2]), np.searchsorted(ys, boxes[:, 1::2])
        for (left, right), (top, bottom) in zip(columns, rows, strict=True):
            grid[top:bottom, left:right] = True
        covered.append(grid)
    counted = cells * ~covered[2]
    return np.array([(counted * part).sum() for part in (covered[0], covered[1], covered[0] & covered[1])])


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
