"""The figures of detectors, from saved detections: boxes, masks and poses, area, each image by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cv_pipelines.config import Backend, Evaluate
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.metrics.areas import area_scores
from cv_pipelines.metrics.boxes import PREDICTION_COLUMNS, iou
from cv_pipelines.metrics.coco import COCO_KEYPOINTS, coco_scores, proposal_recall
from cv_pipelines.metrics.coco_backends import named
from cv_pipelines.metrics.coco_form import ground_truth, results
from cv_pipelines.metrics.localization import localization_scores
from cv_pipelines.metrics.voc import voc_scores
from cv_pipelines.tasks.base import Scores

EXTRA = ("segmentation", "keypoints")
"""Columns that predictions have where the detector gives masks or poses."""


def table_of(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return predictions with all columns of boxes, which a table without rows lacks."""
    extra = [name for name in EXTRA if name in predictions.columns]
    return predictions.reindex(columns=[*PREDICTION_COLUMNS, *extra]).astype({"category": int})


def protocol_scores(
    predictions: pd.DataFrame, data: SourceData, evaluate: Evaluate, backend: Backend
) -> Scores:
    """Score by COCO's protocol what is predicted and has a truth, and by VOC's if asked for.

    Masks count where predictions have a column `segmentation`, on the images whose objects all have masks;
    poses where they have `keypoints` and the classes have keypoints.

    Args:
        predictions: see `table_of`.
        data: the scored split.
        evaluate: protocol, scale of keypoints.
        backend: which program computes COCO's figures.
    """
    truth = ground_truth(data.samples, data.annotations, data.categories)
    values, details = coco_scores(truth, results(predictions, truth), backend=backend)
    contract: dict[str, Any] = {
        "protocol": "voc" if evaluate.protocol == "voc" else "coco",
        "classes": data.categories.names("objects"),
        "backend": named(backend),
        "iou": "0.50:0.95",
        "max_detections": 100,
        "difficult": "ordinary objects",
    }
    if "segmentation" in predictions and data.annotations["segmentation"].notna().any():
        masked = with_masks(truth)
        there = predictions["sample_id"].isin([image["sample_id"] for image in masked["images"]])
        found = results(predictions[there], masked, "segm")
        more, details["masks"] = coco_scores(masked, found, "segm", backend)
        values |= more
        contract["masks"] = f"{len(masked['images'])} of {len(truth['images'])} images"
    n_keypoints = max((len(c.keypoints) for c in data.categories.objects), default=0)
    if "keypoints" in predictions and n_keypoints:
        own = n_keypoints != COCO_KEYPOINTS
        sigmas = (evaluate.keypoint_sigma,) * n_keypoints if own else None
        found = results(predictions, truth, "keypoints")
        more, details["keypoints"] = coco_scores(truth, found, "keypoints", backend, sigmas)
        values |= more
        contract["keypoint_sigma"] = evaluate.keypoint_sigma if own else "COCO's"
    if evaluate.protocol == "voc":
        voc, _ = voc_scores(data.samples, data.annotations, predictions, data.categories.names("objects"))
        values |= voc
        contract["difficult"] = "ordinary objects in COCO figures; neither hit nor miss in VOC figures"
        contract["voc"] = "voc07_map 11-point, voc_map area; IoU 0.5"
    return Scores(values, contract, details)


def full_scores(predictions: pd.DataFrame, data: SourceData, evaluate: Evaluate) -> Scores:
    """Score all there is to score, by pycocotools: what `metrics.json` and the report are made from.

    To `protocol_scores` come the three figures of `area_scores`, where no image has several objects those of
    `localization_scores`, the curve of `proposal_recall` (in the
    details, as `proposals`) and the score of each image.
    """
    predictions = table_of(predictions)
    scores = protocol_scores(predictions, data, evaluate, "pycocotools")
    threshold = evaluate.score_threshold
    truth = ground_truth(data.samples, data.annotations, data.categories)
    proposals = proposal_recall(truth, results(predictions, truth))
    ids = data.samples["sample_id"].tolist()
    single = localization_scores(ids, data.annotations, predictions, threshold)
    contract = scores.contract | {"score_threshold": threshold}
    if evaluate.flip:
        contract["fuse_iou"] = evaluate.fuse_iou
    return Scores(
        scores.values | area_scores(data.annotations, predictions, threshold) | single,
        contract,
        scores.details | {"proposals": proposals},
        image_scores(predictions, data, threshold),
    )


def with_masks(truth: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return COCO annotations without the images that have an object without a mask."""
    without = {row["image_id"] for row in truth["annotations"] if "segmentation" not in row}
    if not without:
        return truth
    images = [image for image in truth["images"] if image["id"] not in without]
    objects = [row for row in truth["annotations"] if row["image_id"] not in without]
    return {**truth, "images": images, "annotations": objects}


def image_scores(predictions: pd.DataFrame, data: SourceData, threshold: float = 0.3) -> pd.DataFrame:
    """Score each image by the F1 of its detections above a threshold, at IoU 0.5: what galleries sort by.

    Args:
        predictions: see `table_of`.
        data: the scored split.
        threshold: detections below are not shown nor counted, 0 to 1.
    """
    strong = dict(list(predictions[predictions["score"] >= threshold].groupby("sample_id")))
    objects = dict(list(data.annotations[~data.annotations["iscrowd"]].groupby("sample_id")))
    rows = []
    for sample_id in data.samples["sample_id"]:
        truth, found = objects.get(sample_id), strong.get(sample_id)
        n_truth = 0 if truth is None else len(truth)
        n_found = 0 if found is None else len(found)
        hits = 0 if truth is None or found is None else _hits(found, truth)
        f1 = 1.0 if n_truth + n_found == 0 else 2 * hits / (n_truth + n_found)
        note = f"{hits} of {n_truth} found, {n_found - hits} false"
        rows.append({"sample_id": sample_id, "score": f1, "note": note})
    return pd.DataFrame(rows, columns=["sample_id", "score", "note"])


def _hits(found: pd.DataFrame, truth: pd.DataFrame) -> int:
    """Match detections to objects of their class, strongest first, each object once."""
    found = found.sort_values("score", ascending=False)
    overlap = iou(found[["x", "y", "w", "h"]].to_numpy(float), truth[["x", "y", "w", "h"]].to_numpy(float))
    same = found["category"].to_numpy()[:, None] == truth["category"].to_numpy()[None]
    overlap = np.where(same, overlap, 0.0)
    hits = 0
    for row in overlap:
        best = int(row.argmax())
        if row[best] >= 0.5:
            hits += 1
            overlap[:, best] = 0.0
    return hits
