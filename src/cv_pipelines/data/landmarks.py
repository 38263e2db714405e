"""The one object of an image whose points are looked for: the largest that shows any."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cv_pipelines.data.datasets import PackedObjects, SourceData


def main_object(corners: np.ndarray, known: np.ndarray) -> int:
    """Return which object counts: the one of the largest box among those with a known point, or among all.

    Args:
        corners: (K, 4) XYXY, K > 0.
        known: (K, P) bool.
    """
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    some = known.any(axis=1)
    return int(np.where(some | ~some.any(), areas, -1.0).argmax())


@dataclass(frozen=True)
class Landmarks:
    """The truth of N samples.

    Attributes:
        present: (N,) bool, whether there is an object.
        points: (N, P, 2) float64 x, y in pixels; zeros where unknown.
        known: (N, P) bool.
        spans: (N,) float64, the longer side of the object's box in pixels; NaN without an object.
        sides: (N,) float64, the image's side in pixels: the root of its area.
    """

    present: np.ndarray
    points: np.ndarray
    known: np.ndarray
    spans: np.ndarray
    sides: np.ndarray


def landmarks_of(data: SourceData) -> Landmarks:
    """Return the truth of a source's samples, in their order; crowds and difficult objects are left out.

    Raises:
        ConfigError: no class has keypoints, or classes have different ones.
    """
    objects = PackedObjects(data, points=True)
    count, points = len(data.samples), len(objects.pairs)
    present, spans = np.zeros(count, bool), np.full(count, np.nan)
    poses = np.zeros((count, points, 3))
    for index in range(count):
        corners, _ = objects.of(index)
        if len(corners):
            found = objects.poses(index)
            chosen = main_object(corners, found[..., 2] > 0)
            left, top, right, bottom = corners[chosen].tolist()
            present[index], spans[index] = True, max(right - left, bottom - top)
            poses[index] = found[chosen]
    known = poses[..., 2] > 0
    sizes = data.samples[["width", "height"]].to_numpy(np.float64)
    sides = np.sqrt(sizes.prod(axis=1))
    return Landmarks(present, np.where(known[..., None], poses[..., :2], 0.0), known, spans, sides)


def predicted_points(predictions: pd.DataFrame, data: SourceData) -> tuple[np.ndarray, np.ndarray]:
    """Return what was predicted for each sample, in the order of the source.

    Args:
        predictions: `sample_id`, `score`, `keypoints` (3P floats: x, y in pixels, 1), a row a sample.
        data: the scored samples.

    Returns:
        (N,) probability that there is an object, and (N, P, 2) x, y in pixels.
    """
    rows = predictions.set_index("sample_id").loc[data.samples["sample_id"]]
    points = np.array([np.asarray(row, np.float64) for row in rows["keypoints"]])
    return rows["score"].to_numpy(np.float64), points.reshape(len(rows), -1, 3)[..., :2]
