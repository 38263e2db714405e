"""Samples beside what a model said of them, as gallery items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.ndimage import binary_erosion

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.encoding import decode_png, decode_segmentation
from cv_pipelines.metrics.mask_errors import KINDS, kind_map
from cv_pipelines.plots.gallery import GalleryItem
from cv_pipelines.plots.kinds import kind_color
from cv_pipelines.plots.rasters import Box
from cv_pipelines.plots.samples import boxes_of, label_of, limbs_of, mask_of, picture_of, poses_of
from cv_pipelines.plots.theme import PREDICTION_RGB, RGB, TRUTH_RGB
from cv_pipelines.plots.waves import wave_picture

MIN_SCORE = 0.3
"""Detections below are not drawn."""

MOST_BOXES = 12
"""Of an image with more detections the surest so many are drawn."""


READING = {
    "detection": "Solid boxes are true objects, pink where they were missed. Dashed boxes are detections in "
    f"the colour of their kind, blue where they are right; of many, the {MOST_BOXES} surest.",
    "segmentation": "The image, the truth, the prediction, the wrong pixels in the colour of their kind.",
    "landmarks": "Rings are true points, discs predicted ones; lines join them. No discs: nobody was seen.",
    "autoencoder": "Left the image, right what was made of it.",
    "gan": "Left the generated image, right the real one that is nearest to it.",
}
"""What the pictures of worst samples show, by task."""


def predicted_item(
    task: str, data: SourceData, index: int, rows: pd.DataFrame | None, note: str
) -> GalleryItem:
    """Return a sample with truth and prediction.

    Args:
        task: of images: classification, detection, landmarks or segmentation.
        data: the scored split.
        index: of the sample.
        rows: its predictions; None where a detector found nothing.
        note: on the sample.
    """
    image, name = picture_of(data, index), str(data.samples["sample_id"].iat[index])
    if task == "detection":
        return GalleryItem(
            image if rows is None else _with_masks(image, rows),
            title=f"{name}: {note}",
            truth_boxes=boxes_of(data, index),
            predicted_boxes=[] if rows is None else _predicted_boxes(data, rows),
            predicted_poses=[] if rows is None else _predicted_poses(rows),
            limbs=limbs_of(data),
        )
    assert rows is not None
    if task == "landmarks":
        return GalleryItem(
            image,
            title=f"{name}: {note}",
            truth_poses=poses_of(data, index),
            predicted_poses=_predicted_poses(rows, 0.5),
            limbs=limbs_of(data),
        )
    if task == "segmentation":
        mask = decode_png(rows["mask"].iat[0])
        return GalleryItem(
            image, title=f"{name}: {note}", truth_mask=mask_of(data, index), predicted_mask=mask
        )
    return GalleryItem(
        image,
        title=name,
        truth=label_of(data, index),
        prediction=said(data, rows),
        correct=is_right(data, index, rows),
    )


def _predicted_boxes(data: SourceData, rows: pd.DataFrame) -> list[Box]:
    names = data.categories.names("objects")
    strong = rows[rows["score"] >= MIN_SCORE]
    columns = strong[["x", "y", "w", "h", "category", "score"]].itertuples(index=False)
    return [Box(x, y, w, h, names[int(c)], float(s)) for x, y, w, h, c, s in columns]


def _with_masks(image: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
    """Tint what lies in the mask of a detection that is sure enough, and draw the mask's edge."""
    if "segmentation" not in rows:
        return image
    tinted = np.stack([image] * 3, axis=-1) if image.ndim == 2 else image.copy()
    for text in rows[(rows["score"] >= MIN_SCORE) & rows["segmentation"].notna()]["segmentation"]:
        inside = decode_segmentation(text, *image.shape[:2]).astype(bool)
        edge = inside & ~binary_erosion(inside)
        tinted[inside] = tinted[inside] // 2 + np.array(PREDICTION_RGB, np.uint8) // 2
        tinted[edge] = PREDICTION_RGB
    return tinted


def _predicted_poses(rows: pd.DataFrame, threshold: float = MIN_SCORE) -> list[np.ndarray]:
    """Return the points of what is sure enough, (P, 3) each."""
    if "keypoints" not in rows:
        return []
    found = rows[(rows["score"] >= threshold) & rows["keypoints"].notna()]["keypoints"]
    return [np.asarray(pose, np.float64).reshape(-1, 3) for pose in found]


def said(data: SourceData, rows: pd.DataFrame) -> str:
    """Return what a classifier said of a sample, in words."""
    probabilities = np.asarray(rows["probabilities"].iat[0])
    names = data.categories.names("labels")
    if data.categories.multi_label:
        return ", ".join(names[i] for i in np.flatnonzero(probabilities >= 0.5)) or "nothing"
    best = int(probabilities.argmax())
    return f"{names[best]} ({probabilities[best]:.2f})"


def is_right(data: SourceData, index: int, rows: pd.DataFrame) -> bool:
    """Tell whether a classifier is right about a sample."""
    labels = list(data.samples["labels"].iat[index])
    probabilities = np.asarray(rows["probabilities"].iat[0])
    if data.categories.multi_label:
        return sorted(labels) == np.flatnonzero(probabilities >= 0.5).tolist()
    return bool(probabilities.argmax() == labels[0])


def worst_items(
    data: SourceData, predictions: pd.DataFrame, errors: Mapping[str, Any], count: int
) -> list[GalleryItem]:
    """Return the first of a report's worst samples with what is wrong about them.

    Args:
        data: the scored split.
        predictions: of the first seed.
        errors: `errors.json`.
        count: most samples.
    """
    order = {sample: index for index, sample in enumerate(data.samples["sample_id"])}
    found = dict(list(predictions.groupby("sample_id", sort=False))) if len(predictions) else {}
    return [_worst_item(errors["task"], data, order, found, entry) for entry in errors["worst"][:count]]


def kind_colors_of(errors: Mapping[str, Any]) -> dict[str, RGB]:
    """Return the colours to explain beside worst samples: those of boxes and of error maps."""
    if errors["task"] == "segmentation":
        return {kind: kind_color(kind) for kind in KINDS}
    if errors["task"] == "detection":
        return {kind: kind_color(kind) for kind in ("found", *(k["kind"] for k in errors["kinds"]))}
    return {}


def _worst_item(
    task: str,
    data: SourceData,
    order: Mapping[str, int],
    found: Mapping[str, pd.DataFrame],
    entry: Mapping[str, Any],
) -> GalleryItem:
    sample, told = entry["sample_id"], f"{entry['sample_id']}: {entry['reason']}"
    if task == "gan":
        made, near = (decode_png(found[i]["image"].iat[0]) for i in (sample, entry["beside"]))
        return GalleryItem(_side_by_side(made, near), title=told)
    index, rows = order[sample], found.get(sample)
    if task == "autoencoder":
        assert rows is not None
        original, rebuilt = picture_of(data, index), decode_png(rows["image"].iat[0])
        return GalleryItem(_side_by_side(original, rebuilt), title=told)
    if data.kind == "signal":
        assert rows is not None
        picture = np.asarray(wave_picture(data.read(index).numpy()))
        return GalleryItem(picture, title=sample, truth=label_of(data, index), prediction=said(data, rows))
    if task == "detection":
        truths = [_box(b) for b in entry["boxes"] if b["score"] is None]
        guesses = [_box(b) for b in entry["boxes"] if b["score"] is not None][:MOST_BOXES]
        return GalleryItem(picture_of(data, index), told, truths, guesses[::-1])  # the surest on top
    item = predicted_item(task, data, index, rows, entry["reason"])
    if item.truth_mask is None or item.predicted_mask is None:
        return item
    return GalleryItem(
        item.image,
        title=told,
        truth_mask=item.truth_mask,
        predicted_mask=item.predicted_mask,
        error_map=kind_map(item.predicted_mask, item.truth_mask),
    )


def _box(box: Mapping[str, Any]) -> Box:
    color = TRUTH_RGB if box["kind"] == "object" else kind_color(box["kind"])
    return Box(box["x"], box["y"], box["w"], box["h"], box["name"], box["score"], color)


def _side_by_side(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Join two pictures by a white line; where they differ in height, the lower one has white below."""
    flat = [a if a.ndim == 3 else np.repeat(a[..., None], 3, axis=2) for a in (one, other)]
    tall = max(a.shape[0] for a in flat)
    padded = [np.pad(a, ((0, tall - a.shape[0]), (0, 0), (0, 0)), constant_values=255) for a in flat]
    line = np.full((tall, max(flat[0].shape[1] // 16, 1), 3), 255, np.uint8)
    return np.concatenate([padded[0], line, padded[1]], axis=1)
