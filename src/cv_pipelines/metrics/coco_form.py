"""COCO's JSON form (Lin et al. 2014) of our tables, and of predictions.

COCO wants integer image ids: image k (1, 2, …) is the k-th row of `samples`, and its `sample_id` stands
beside the id in the file, so the mapping travels with it. Category ids are the contiguous index + 1,
annotation ids count from 1 (pycocotools takes a match with id 0 for none). `difficult` objects are ordinary
objects here, for COCO knows no such mark; crowd regions are neither misses nor make a match a false positive.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cv_pipelines.metrics.boxes import check_predictions
from cv_pipelines.metrics.coco_backends import IouType

if TYPE_CHECKING:
    from cv_pipelines.data.schema import Categories

FIELDS: dict[IouType, str] = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
"""The field of an object or a result that is scored."""

_SIDES = ["x", "y", "w", "h"]


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
            `keypoints` (3K floats). Rows with a null there have no mask or no pose and are left out.
        truth: what `ground_truth` gave.
        iou_type: which field is wanted.

    Raises:
        ValueError: a column is missing, a sample or category is unknown, or a number is not finite.
    """
    ids = {image["sample_id"]: image["id"] for image in truth["images"]}
    check_predictions(predictions, ids.keys(), len(truth["categories"]))
    field = FIELDS[iou_type]
    if iou_type == "bbox":
        values = predictions[_SIDES].to_numpy(dtype=np.float64).tolist()
    elif field not in predictions.columns:
        raise ValueError(f"predictions lack {field}, which {iou_type} is scored by")
    else:
        predictions = predictions[predictions[field].notna()]
        values = [_plain(value) for value in predictions[field]]
    columns = (predictions[name].tolist() for name in ("sample_id", "category", "score"))
    return [
        {"image_id": ids[key], "category_id": int(category) + 1, field: value, "score": float(score)}
        for key, category, score, value in zip(*columns, values, strict=True)
    ]


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
    return [float(row[key]) for key in _SIDES]


def _plain(value: Any) -> Any:
    """Make a mask or a pose JSON-able: JSON text, RLE with bytes and arrays are what tables hold."""
    if isinstance(value, str):
        return json.loads(value)
    if isinstance(value, Mapping):
        counts = value["counts"]
        text = counts.decode("ascii") if isinstance(counts, bytes) else counts
        return {"size": [int(n) for n in value["size"]], "counts": text}
    return [float(v) for v in value]
