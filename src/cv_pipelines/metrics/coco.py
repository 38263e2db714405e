"""COCO's figures (Lin et al. 2014) of boxes, masks and poses, from lists in COCO's JSON form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cv_pipelines.config import Backend
from cv_pipelines.metrics.coco_backends import Accumulated, IouType, Protocol, accumulated, named
from cv_pipelines.metrics.coco_form import FIELDS

BACKEND = named("pycocotools")

PREFIXES: dict[IouType, str] = {"bbox": "", "segm": "mask_", "keypoints": "keypoint_"}

COCO_KEYPOINTS = 17
"""Points of a pose for which COCO has published how far people's marks differ."""

PROPOSALS = (1, 10, 100, 300, 1000)
"""Numbers of detections an image at which recall is given."""

_AREAS = ("small", "medium", "large")


def coco_scores(
    truth_dict: Mapping[str, Any],
    results_list: Sequence[Mapping[str, Any]],
    iou_type: IouType = "bbox",
    backend: Backend = "pycocotools",
    sigmas: tuple[float, ...] | None = None,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Score results as `COCOeval` does: the numbers that pycocotools gives for the two as saved JSON files.

    Args:
        truth_dict: COCO annotations, from `coco_form.ground_truth` or from a file.
        results_list: COCO results, from `coco_form.results` or from a file; may be empty. Not changed.
        iou_type: "bbox", "segm" or "keypoints".
        backend: which program computes; the figures are the same.
        sigmas: of each keypoint, see `coco_backends.Protocol`; None for COCO's own, of its 17 keypoints.

    Returns:
        values: `map, map_50, map_75, map_small, map_medium, map_large, ar_1, ar_10, ar_100, ar_small,
            ar_medium, ar_large`, each with prefix `mask_` for "segm"; for "keypoints" `keypoint_map, _map_50,
            _map_75, _map_medium, _map_large, _ar, _ar_50, _ar_75, _ar_medium, _ar_large` (20 poses an
            image). All 0..1; NaN (null in JSON) where pycocotools says -1: no true object of that size.
            Without results all are 0 where there are true objects.
        details: `classes` (names), `per_class` (dicts of name, ap, ap_50, ap_75, ap_small, ap_medium,
            ap_large, ar, and n, the number of true objects without crowds and, of poses, without those that
            show no point; NaN without any) and `pr_curves`: name to `recall` (101 points from 0 to 1) and
            `precision` at IoU 0.5, for classes with true objects.

    Raises:
        ValueError: an unknown `iou_type`, an image that is not in the truth, an object without the field
            that is scored, or poses of another number of keypoints.
        ModuleNotFoundError: the back end's package is not installed.
    """
    if iou_type not in PREFIXES:
        raise ValueError(f"iou_type is {iou_type!r}; expected one of {', '.join(PREFIXES)}")
    _check_fields(truth_dict, results_list, iou_type, len(sigmas) if sigmas else COCO_KEYPOINTS)
    found = accumulated(truth_dict, results_list, Protocol(iou_type, sigmas=sigmas), backend)
    figures = _keypoint_figures(found) if iou_type == "keypoints" else _box_figures(found)
    values = {PREFIXES[iou_type] + name: value for name, value in figures.items()}
    return values, _details(found, truth_dict, iou_type)


def proposal_recall(
    truth_dict: Mapping[str, Any], results_list: Sequence[Mapping[str, Any]], backend: Backend = "pycocotools"
) -> dict[str, list[float]]:
    """Return the average recall of boxes by how many an image may have, whatever their class.

    This is how region proposals are judged (Hosang et al. 2016 §5, "What makes for effective detection
    proposals?"); of a detector it says what better classes and scores could still gain.

    Args:
        truth_dict: COCO annotations.
        results_list: COCO results with `bbox`; may be empty. Not changed.
        backend: which program computes.

    Returns:
        `n` (`PROPOSALS`), `all`, `small`, `medium`, `large`: recall 0..1 at each n, mean over IoU 0.50 to
        0.95; NaN without objects of that size.

    Raises:
        ValueError: an image that is not in the truth, or a result without a box.
    """
    _check_fields(truth_dict, results_list, "bbox", 0)
    protocol = Protocol(max_detections=PROPOSALS, classes=False)
    found = accumulated(truth_dict, results_list, protocol, backend)
    recalls = {
        area: [_mean(found.recall[:, :, a, m]) for m in range(len(PROPOSALS))]
        for a, area in enumerate(found.areas)
    }
    return {"n": list(map(float, PROPOSALS)), **recalls}


def _box_figures(found: Accumulated) -> dict[str, float]:
    # axes: IoU threshold (0: 0.5, 5: 0.75), recall point, class, area range, detections an image (last: most)
    precision, recall = found.precision[..., -1], found.recall
    by_area = {f"map_{area}": _mean(precision[:, :, :, 1 + a]) for a, area in enumerate(_AREAS)}
    by_number = {f"ar_{n}": _mean(recall[:, :, 0, m]) for m, n in enumerate(found.max_detections)}
    return {
        "map": _mean(precision[:, :, :, 0]),
        "map_50": _mean(precision[0, :, :, 0]),
        "map_75": _mean(precision[5, :, :, 0]),
        **by_area,
        **by_number,
        **{f"ar_{area}": _mean(recall[:, :, 1 + a, -1]) for a, area in enumerate(_AREAS)},
    }


def _keypoint_figures(found: Accumulated) -> dict[str, float]:
    precision, recall = found.precision[..., -1], found.recall[..., -1]
    figures = {}
    for name, values in (("map", precision), ("ar", recall)):
        figures[name] = _mean(values[..., 0])
        figures[f"{name}_50"], figures[f"{name}_75"] = _mean(values[0, ..., 0]), _mean(values[5, ..., 0])
        figures[f"{name}_medium"], figures[f"{name}_large"] = _mean(values[..., 1]), _mean(values[..., 2])
    return figures


def _mean(values: np.ndarray) -> float:
    known = values[values > -1]
    return float(np.mean(known)) if known.size else np.nan


def _details(found: Accumulated, truth: Mapping[str, Any], iou_type: IouType) -> dict[str, Any]:
    titles = {c["id"]: c["name"] for c in truth["categories"]}
    names = [titles[key] for key in found.classes]
    asked = [a["category_id"] for a in truth["annotations"] if _asked(a, iou_type)]
    counts = pd.Series(asked, dtype="int64").value_counts()
    precision, recall = found.precision[..., -1], found.recall[..., -1]
    per_class = [
        {
            "name": name,
            "ap": _mean(precision[:, :, k, 0]),
            "ap_50": _mean(precision[0, :, k, 0]),
            "ap_75": _mean(precision[5, :, k, 0]),
            **{f"ap_{area}": _mean(precision[:, :, k, a]) for a, area in enumerate(found.areas) if a},
            "ar": _mean(recall[:, k, 0]),
            "n": int(counts.get(key, 0)),
        }
        for k, (key, name) in enumerate(zip(found.classes, names, strict=True))
    ]
    points = np.linspace(0.0, 1.0, precision.shape[1]).tolist()
    curves = {
        name: {"recall": points, "precision": precision[0, :, k, 0].tolist()}
        for k, name in enumerate(names)
        if (precision[0, :, k, 0] > -1).all()
    }
    return {"classes": names, "per_class": per_class, "pr_curves": curves}


def _asked(annotation: Mapping[str, Any], iou_type: IouType) -> bool:
    """Whether an object that is not found is a miss."""
    shown = iou_type != "keypoints" or annotation["num_keypoints"] > 0
    return shown and not annotation.get("iscrowd", 0)


def _check_fields(
    truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]], iou_type: IouType, n_keypoints: int
) -> None:
    field = FIELDS[iou_type]
    strangers = {r["image_id"] for r in found} - {image["id"] for image in truth["images"]}
    if strangers:
        raise ValueError(f"results for {len(strangers)} unknown images, such as {sorted(strangers)[:3]}")
    for what, rows in (("true objects", truth["annotations"]), ("results", found)):
        without = sum(field not in row for row in rows)
        if without:
            raise ValueError(f"{without} of {len(rows)} {what} lack {field}, which {iou_type} is scored by")
        if iou_type == "keypoints" and any(len(row["keypoints"]) != n_keypoints * 3 for row in rows):
            whose = "COCO's 17" if n_keypoints == COCO_KEYPOINTS else f"{n_keypoints}"
            raise ValueError(f"{what} have poses of other than {whose} keypoints")
