"""COCO's protocol (Lin et al. 2014) by pycocotools, from our tables or from saved COCO JSON files.

COCO wants integer image ids: image k (1, 2, …) is the k-th row of `samples`, and its `sample_id` stands
beside the id in the file, so the mapping travels with it. Category ids are the contiguous index + 1,
annotation ids count from 1 (pycocotools takes a match with id 0 for none). `difficult` objects are ordinary
objects here, for COCO knows no such mark; crowd regions are neither misses nor make a match a false positive.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Hashable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cv_pipelines.metrics.boxes import check_predictions

if TYPE_CHECKING:
    from cv_pipelines.data.schema import Categories

IouType = Literal["bbox", "segm", "keypoints"]
BACKEND = f"pycocotools {version('pycocotools')}"

PREFIXES: dict[IouType, str] = {"bbox": "", "segm": "mask_", "keypoints": "keypoint_"}
_FIELDS: dict[IouType, str] = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
_BOX_NAMES = (
    *("map", "map_50", "map_75", "map_small", "map_medium", "map_large"),
    *("ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large"),
)
_KEYPOINT_NAMES = (
    *("map", "map_50", "map_75", "map_medium", "map_large"),
    *("ar", "ar_50", "ar_75", "ar_medium", "ar_large"),
)


def ground_truth(samples: pd.DataFrame, annotations: pd.DataFrame, categories: Categories) -> dict[str, Any]:
    """Turn tables into COCO's annotation form, ready for `json.dump` (ids: see the module).

    Args:
        samples: the rows of `data.schema.SAMPLES` that are scored, such as one split.
        annotations: rows of `data.schema.ANNOTATIONS`; those of other samples are left out.
        categories: whose `objects` are the classes.

    Returns:
        `images` (id, file_name, width, height, sample_id), `annotations` (id, image_id, category_id, bbox,
        area, iscrowd, difficult, annotation_id; segmentation where there is one; keypoints and num_keypoints
        where the classes have keypoints, zeros for objects without) and `categories`.

    Raises:
        ValueError: two samples have one id, or a category is out of range.
    """
    ids = _image_ids(samples["sample_id"])
    columns = samples[["sample_id", "media", "width", "height"]].itertuples(index=False, name=None)
    images = [
        {
            "id": ids[key],
            "file_name": media if isinstance(media, str) else key,
            "width": int(width),
            "height": int(height),
            "sample_id": key,
        }
        for key, media, width, height in columns
    ]
    kept = annotations[annotations["sample_id"].isin(list(ids))]
    n_classes = len(categories.objects)
    if len(kept) and kept["category"].max() >= n_classes:
        raise ValueError(f"annotations have category {kept['category'].max()}; expected 0..{n_classes - 1}")
    n_keypoints = max((len(c.keypoints) for c in categories.objects), default=0)
    objects = [
        _true_object(i, row, ids, n_keypoints) for i, row in enumerate(kept.to_dict("records"), start=1)
    ]
    classes = [
        {
            "id": c.index + 1,
            "name": c.name,
            "keypoints": c.keypoints,
            "skeleton": [list(s) for s in c.skeleton],
        }
        for c in categories.objects
    ]
    return {"info": {}, "images": images, "annotations": objects, "categories": classes}


def results(
    predictions: pd.DataFrame, truth: Mapping[str, Any], iou_type: IouType = "bbox"
) -> list[dict[str, Any]]:
    """Turn predicted objects into COCO's result form, ready for `json.dump`.

    A result holds the one field that its type is scored by, as COCO's server wants it: pycocotools would
    otherwise take the size class of a mask or of a pose from its box.

    Args:
        predictions: columns sample_id (str), category (int, contiguous), score (float), x, y, w, h (float,
            0-based pixels); for "segm" also `segmentation` (RLE as dict or JSON text), for "keypoints" also
            `keypoints` (3K floats).
        truth: what `ground_truth` gave.
        iou_type: which field is wanted.

    Raises:
        ValueError: a column is missing, a sample or category is unknown, or a number is not finite.
    """
    ids = {image["sample_id"]: image["id"] for image in truth["images"]}
    check_predictions(predictions, ids.keys(), len(truth["categories"]))
    field = _FIELDS[iou_type]
    if iou_type != "bbox" and field not in predictions.columns:
        raise ValueError(f"predictions lack {field}, which {iou_type} is scored by")
    return [
        {
            "image_id": ids[row["sample_id"]],
            "category_id": int(row["category"]) + 1,
            field: _box(row) if iou_type == "bbox" else _plain(row[field]),
            "score": float(row["score"]),
        }
        for row in predictions.to_dict("records")
    ]


def coco_scores(
    truth_dict: Mapping[str, Any], results_list: Sequence[Mapping[str, Any]], iou_type: IouType = "bbox"
) -> tuple[dict[str, float], dict[str, Any]]:
    """Score results by `COCOeval`: the very numbers that pycocotools gives for the two as saved JSON files.

    Args:
        truth_dict: COCO annotations, from `ground_truth` or from a file.
        results_list: COCO results, from `results` or from a file; may be empty. Not changed.
        iou_type: "bbox", "segm" or "keypoints" (17 keypoints, COCO's sigmas).

    Returns:
        values: `map, map_50, map_75, map_small, map_medium, map_large, ar_1, ar_10, ar_100, ar_small,
            ar_medium, ar_large`, each with prefix `mask_` for "segm"; for "keypoints" `keypoint_map, _map_50,
            _map_75, _map_medium, _map_large, _ar, _ar_50, _ar_75, _ar_medium, _ar_large` (20 poses an
            image). All 0..1; NaN (null in JSON) where pycocotools says -1: no true object of that size.
            Without results all are 0 where there are true objects.
        details: `classes` (names), `per_class` (dicts of name, ap, ap_50 and n, the number of true objects
            without crowds; NaN without any) and `pr_curves`: name to `recall` (101 points from 0 to 1) and
            `precision` at IoU 0.5, for classes with true objects.

    Raises:
        ValueError: an unknown `iou_type`, an image that is not in the truth, an object without the field
            that is scored, or poses of other than 17 keypoints.
    """
    if iou_type not in PREFIXES:
        raise ValueError(f"iou_type is {iou_type!r}; expected one of {', '.join(PREFIXES)}")
    _check_fields(truth_dict, results_list, iou_type)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = _evaluate(truth_dict, results_list, iou_type)
    names = _KEYPOINT_NAMES if iou_type == "keypoints" else _BOX_NAMES
    values = {
        PREFIXES[iou_type] + name: float(value) if value > -1 else np.nan
        for name, value in zip(names, evaluation.stats, strict=True)
    }
    return values, _details(evaluation, truth_dict)


def _evaluate(truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]], iou_type: IouType) -> COCOeval:
    evaluation = matched(truth, found, iou_type)
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def matched(
    truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]], iou_type: IouType = "bbox"
) -> COCOeval:
    """Match results with true objects, image by image: the one step that looks at boxes.

    Args:
        truth: COCO annotations.
        found: COCO results; may be empty.
        iou_type: "bbox", "segm" or "keypoints".

    Returns:
        A `COCOeval` after `evaluate`: its `evalImgs` are independent of each other.
    """
    # pycocotools writes into every object it is given
    with contextlib.redirect_stdout(io.StringIO()):
        reference = _index(truth, [dict(a) for a in truth["annotations"]])
        detections = reference.loadRes([dict(r) for r in found]) if found else _index(truth, [])
        evaluation = COCOeval(reference, detections, iou_type)
        evaluation.evaluate()
    return evaluation


def _index(truth: Mapping[str, Any], annotations: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {**truth, "annotations": annotations}
    coco.createIndex()
    return coco


def _details(evaluation: COCOeval, truth: Mapping[str, Any]) -> dict[str, Any]:
    titles = {c["id"]: c["name"] for c in truth["categories"]}
    names = [titles[key] for key in evaluation.params.catIds]
    crowdless = [a["category_id"] for a in truth["annotations"] if not a.get("iscrowd", 0)]
    counts = pd.Series(crowdless, dtype="int64").value_counts()
    # axes: IoU threshold, recall point, class, area range (first: all), detections an image (last: most)
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    precision = np.where(precision > -1, precision, np.nan)
    per_class = [
        {
            "name": name,
            "ap": float(precision[:, :, k].mean()),
            "ap_50": float(precision[0, :, k].mean()),
            "n": int(counts.get(key, 0)),
        }
        for k, (key, name) in enumerate(zip(evaluation.params.catIds, names, strict=True))
    ]
    recall = evaluation.params.recThrs.tolist()
    curves = {
        name: {"recall": recall, "precision": precision[0, :, k].tolist()}
        for k, name in enumerate(names)
        if not np.isnan(precision[0, :, k]).any()
    }
    return {"classes": names, "per_class": per_class, "pr_curves": curves}


def _check_fields(truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]], iou_type: IouType) -> None:
    field = _FIELDS[iou_type]
    strangers = {r["image_id"] for r in found} - {image["id"] for image in truth["images"]}
    if strangers:
        raise ValueError(f"results for {len(strangers)} unknown images, such as {sorted(strangers)[:3]}")
    for what, rows in (("true objects", truth["annotations"]), ("results", found)):
        without = sum(field not in row for row in rows)
        if without:
            raise ValueError(f"{without} of {len(rows)} {what} lack {field}, which {iou_type} is scored by")
        if iou_type == "keypoints" and any(len(row["keypoints"]) != 17 * 3 for row in rows):
            raise ValueError(f"{what} have poses of other than COCO's 17 keypoints")


def _image_ids(sample_ids: pd.Series) -> dict[str, int]:
    if not sample_ids.is_unique:
        raise ValueError(f"sample_id {sample_ids[sample_ids.duplicated()].iloc[0]!r} occurs twice")
    return {key: i for i, key in enumerate(sample_ids, start=1)}


def _true_object(
    number: int, row: Mapping[Hashable, Any], ids: Mapping[str, int], n_keypoints: int
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": number,
        "image_id": ids[row["sample_id"]],
        "category_id": int(row["category"]) + 1,
        "bbox": _box(row),
        "area": float(row["area"]),
        "iscrowd": int(row["iscrowd"]),
        "difficult": int(row["difficult"]),
        "annotation_id": int(row["annotation_id"]),
    }
    if isinstance(row["segmentation"], str):
        entry["segmentation"] = json.loads(row["segmentation"])
    if n_keypoints:
        given = isinstance(row["keypoints"], Sequence | np.ndarray)
        entry["keypoints"] = _plain(row["keypoints"]) if given else [0.0] * (3 * n_keypoints)
        entry["num_keypoints"] = sum(v > 0 for v in entry["keypoints"][2::3])
    return entry


def _box(row: Mapping[Hashable, Any]) -> list[float]:
    return [float(row[key]) for key in ("x", "y", "w", "h")]


def _plain(value: Any) -> Any:
    """Make a mask or a pose JSON-able: JSON text, RLE with bytes and arrays are what tables hold."""
    if isinstance(value, str):
        return json.loads(value)
    if isinstance(value, Mapping):
        counts = value["counts"]
        text = counts.decode("ascii") if isinstance(counts, bytes) else counts
        return {"size": [int(n) for n in value["size"]], "counts": text}
    return [float(v) for v in value]
