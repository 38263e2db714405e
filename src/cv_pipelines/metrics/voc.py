"""PASCAL VOC's detection protocol (Everingham et al. 2010, §4.2 and the devkit's evaluation code).

VOC measures boxes between inclusive integer corners (width xmax - xmin + 1). Our boxes are 0-based with that
very width, so the plain IoU of `boxes.iou` is the same number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cv_pipelines.metrics.boxes import check_predictions, iou

_SIDES = ["x", "y", "w", "h"]


def voc_scores(
    samples: pd.DataFrame,
    annotations: pd.DataFrame,
    predictions: pd.DataFrame,
    names: Sequence[str],
    iou_threshold: float = 0.5,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Score predicted boxes as VOC does.

    Each detection, surest first (equal scores in table order), belongs to the true box of its class and image
    that it overlaps most. It is a hit if the IoU is `iou_threshold` or more and no surer detection has taken
    that box, else a false positive. `difficult` objects do not count as misses, and detections that belong to
    them count as nothing; crowd regions, which VOC does not have, are treated like them.

    Args:
        samples: the rows of `data.schema.SAMPLES` that are scored, such as one split.
        annotations: rows of `data.schema.ANNOTATIONS`; those of other samples are left out.
        predictions: columns sample_id (str), category (int, contiguous), score (float), x, y, w, h (float,
            0-based pixels); may be empty.
        names: class names in index order.
        iou_threshold: in 0..1.

    Returns:
        values: `voc07_map` (mean of the precision at 11 recall points, VOC 2007) and `voc_map` (area under
            the monotone envelope, VOC 2010 on), 0..1, means over the classes with true objects; NaN without
            any. Without predictions they are 0.
        details: as `coco.coco_scores`: `classes`, `per_class` (name, ap as in voc_map, ap_50, n true objects
            that are not difficult; ap_50 is NaN at another threshold) and `pr_curves` (101 recall points).

    Raises:
        ValueError: as `boxes.check_predictions`, or an annotation's category is out of range.
    """
    ids = set(samples["sample_id"])
    check_predictions(predictions, ids, len(names))
    truth = annotations[annotations["sample_id"].isin(list(ids))]
    if len(truth) and truth["category"].max() >= len(names):
        raise ValueError(f"annotations have category {truth['category'].max()}; expected 0..{len(names) - 1}")
    truth = truth.assign(easy=~(truth["difficult"].astype(bool) | truth["iscrowd"].astype(bool)))
    found = predictions.sort_values("score", ascending=False, kind="stable")
    curves = [
        _curve(truth[truth["category"] == c], found[found["category"] == c], iou_threshold)
        for c in range(len(names))
    ]
    counts = [int(truth.loc[truth["category"] == c, "easy"].sum()) for c in range(len(names))]
    return _summary(curves, counts, names, iou_threshold)


def _curve(truth: pd.DataFrame, found: pd.DataFrame, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return recall and precision after each detection of one class, surest first."""
    hit, miss = np.zeros(len(found), dtype=bool), np.ones(len(found), dtype=bool)
    boxes, easy = truth[_SIDES].to_numpy(dtype=np.float64), truth["easy"].to_numpy(dtype=bool)
    guesses = found[_SIDES].to_numpy(dtype=np.float64)
    true_rows = truth.groupby("sample_id").indices
    for sample, rows in found.groupby("sample_id").indices.items():
        here = true_rows.get(sample)
        if here is not None:
            hit[rows], miss[rows] = _match(guesses[rows], boxes[here], easy[here], threshold)
    hits, misses = hit.cumsum(), miss.cumsum()
    # before the first detection that counts, precision is 0/0: nothing that an average may use
    precision = hits / np.maximum(hits + misses, 1)
    return hits / max(int(easy.sum()), 1), precision


def _match(
    guesses: np.ndarray, boxes: np.ndarray, easy: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Say which detections of one image and class are hits and which are false positives (bool, bool)."""
    overlap = iou(guesses, boxes)
    best = overlap.argmax(axis=1)
    near = overlap.max(axis=1) >= threshold
    hit = np.zeros(len(guesses), dtype=bool)
    candidates = np.flatnonzero(near & easy[best])
    _, first = np.unique(best[candidates], return_index=True)
    hit[candidates[first]] = True
    return hit, ~hit & ~(near & ~easy[best])


def _summary(
    curves: list[tuple[np.ndarray, np.ndarray]], counts: list[int], names: Sequence[str], threshold: float
) -> tuple[dict[str, float], dict[str, Any]]:
    grid = np.arange(101) / 100
    per_class: list[dict[str, Any]] = []
    plotted, eleven = {}, []
    for name, n, (recall, precision) in zip(names, counts, curves, strict=True):
        ap = _area(recall, precision) if n else np.nan
        per_class.append({"name": name, "ap": ap, "ap_50": ap if threshold == 0.5 else np.nan, "n": n})
        if n:
            eleven.append(float(_best_from(recall, precision, np.arange(11) / 10).mean()))
            plotted[name] = {
                "recall": grid.tolist(),
                "precision": _best_from(recall, precision, grid).tolist(),
            }
    areas = [row["ap"] for row in per_class if row["n"]]
    values = {
        "voc07_map": float(np.mean(eleven)) if eleven else np.nan,
        "voc_map": float(np.mean(areas)) if areas else np.nan,
    }
    return values, {"classes": list(names), "per_class": per_class, "pr_curves": plotted}


def _best_from(recall: np.ndarray, precision: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return, for each recall point, the best precision at that recall or more (0 where never reached)."""
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return envelope[np.searchsorted(recall, points, side="left")]


def _area(recall: np.ndarray, precision: np.ndarray) -> float:
    steps = np.diff(recall, prepend=0.0)
    return float((steps * np.maximum.accumulate(precision[::-1])[::-1]).sum())
