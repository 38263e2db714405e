"""How well the one object of an image is classified and localised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cv_pipelines.metrics.boxes import iou

_SIDES = ["x", "y", "w", "h"]


def localization_scores(
    sample_ids: Sequence[str], annotations: pd.DataFrame, predictions: pd.DataFrame, threshold: float
) -> dict[str, float]:
    """Judge the surest detection of each image, where no image has more than one object.

    An image is right if the class is and the box overlaps the object's by an IoU of at least 0.5 (ILSVRC's
    rule of localisation, Russakovsky et al. 2015 §4.2), or if there is neither an object nor a detection.

    Args:
        sample_ids: of the scored samples.
        annotations: rows of `data.schema.ANNOTATIONS` of them.
        predictions: columns `boxes.PREDICTION_COLUMNS` of them; may be empty.
        threshold: detections with a lower score are left out.

    Returns:
        `localization_accuracy`, the share of the images that are right, and `localization_iou`, the mean IoU
        of the surest box with the object whatever its class, 0 where nothing is found, over the images with
        one (NaN without any); 0..1. Nothing where an image has several objects or a crowd region.
    """
    if annotations["sample_id"].duplicated().any() or annotations["iscrowd"].any():
        return {}
    strong = predictions[predictions["score"] >= threshold].sort_values("score", ascending=False)
    found = strong.drop_duplicates("sample_id").set_index("sample_id")
    true = annotations.set_index("sample_id")
    right, overlaps = [], []
    for sample_id in sample_ids:
        there, seen = sample_id in true.index, sample_id in found.index
        overlap, same = 0.0, there == seen
        if there and seen:
            one, other = found.loc[sample_id], true.loc[sample_id]
            boxes = (np.asarray(row[_SIDES], dtype=float)[None] for row in (one, other))
            overlap, same = float(iou(*boxes)[0, 0]), one["category"] == other["category"]
        right.append(same and (overlap >= 0.5 or not there))
        overlaps += [overlap] if there else []
    return {
        "localization_accuracy": float(np.mean(right)) if right else float("nan"),
        "localization_iou": float(np.mean(overlaps)) if overlaps else float("nan"),
    }
