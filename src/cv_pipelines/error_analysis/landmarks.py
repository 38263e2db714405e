"""The errors of landmarks: points far off or taken for those of the other side, presence told wrongly."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cv_pipelines.comparing.landmarks import Pointed
from cv_pipelines.data.datasets import SourceData, keypoint_names
from cv_pipelines.data.landmarks import Landmarks, landmarks_of, predicted_points
from cv_pipelines.data.schema import mirrored_points
from cv_pipelines.error_analysis.form import RIGHT, WORST, Kind, Report, Worst, of_matrix
from cv_pipelines.error_analysis.reconstruction import histogram
from cv_pipelines.error_analysis.slices import slices
from cv_pipelines.metrics.landmarks import SHARES, landmark_scores, point_distances

NEAR, FAR = SHARES

MEANINGS = {
    "other side": "points that are nearer to where their counterpart of the other side is",
    "far off": f"other points farther away than {FAR:.0%} of the object's longer side",
    "near miss": f"other points farther away than {NEAR:.0%} of it",
}


def report(predictions: pd.DataFrame, data: SourceData, measures: pd.DataFrame) -> Report:
    """Report on landmarks; see `error_analysis.analyse.analyse`."""
    names, truth = keypoint_names(data.categories), landmarks_of(data)
    chances, points = predicted_points(predictions, data)
    distances = point_distances(points, truth.points, truth.known)
    values = landmark_scores(distances, truth.sides, truth.spans, chances, truth.present)
    errors, said = 100 * distances / truth.sides[:, None], chances >= 0.5
    kinds = kinds_of(points, distances, truth, mirrored_points(names))
    known = errors[truth.known]
    pointed = Pointed(names, distances, truth.sides, truth.spans, said == truth.present)
    return Report(
        metric="mean_error",
        value=values["mean_error"],
        lower_is_better=True,
        unit="points",
        worst_by="mean error of the points, presence told wrongly first",
        confusion=of_matrix("images", ["object"], _presence(truth.present, said)),
        curves=histogram(known, "distance in % of the image's side", "points") if known.size else None,
        kinds=[_kind(name, mask, errors) for name, mask in kinds.items()],
        worst=_worst(errors, kinds, truth.present, said, data),
        slices=slices(pointed, "mean_error", data, measures),
        absent={"calibration": "a point has no probability"}
        | ({} if known.size else {"curves": "no point is known"}),
    )


def kinds_of(
    points: np.ndarray, distances: np.ndarray, truth: Landmarks, pairs: list[int]
) -> dict[str, np.ndarray]:
    """Return which points are wrong in which way, (N, P) bool a kind; a point is of one kind at most.

    Args:
        points: (N, P, 2) predicted x, y in pixels.
        distances: (N, P) in pixels, NaN where the truth is not known.
        truth: of the samples.
        pairs: which point each becomes in the mirror image.
    """
    shares = np.nan_to_num(distances / truth.spans[:, None])
    other = point_distances(points, truth.points[:, pairs], truth.known[:, pairs])
    paired = np.array(pairs) != np.arange(len(pairs))
    swapped = (shares > NEAR) & paired & (np.nan_to_num(other, nan=np.inf) < np.nan_to_num(distances))
    far = (shares > FAR) & ~swapped
    return dict(zip(MEANINGS, (swapped, far, (shares > NEAR) & ~swapped & ~far), strict=True))


def _presence(present: np.ndarray, said: np.ndarray) -> list[list[int]]:
    """Count images by truth and answer: an object, nothing."""
    return [[int((there & answer).sum()) for answer in (said, ~said)] for there in (present, ~present)]


def _kind(name: str, mask: np.ndarray, errors: np.ndarray) -> Kind:
    """Cost what the mean error would be less if these points lay where they should."""
    count = int(np.isfinite(errors).sum())
    return Kind(name, MEANINGS[name], int(mask.sum()), float(errors[mask].sum()) / max(count, 1))


def _worst(
    errors: np.ndarray, kinds: dict[str, np.ndarray], present: np.ndarray, said: np.ndarray, data: SourceData
) -> list[Worst]:
    known = np.isfinite(errors)
    means = np.divide(
        np.nansum(errors, axis=1), known.sum(axis=1), where=known.any(axis=1), out=np.zeros(len(errors))
    )
    wrong = present != said
    found = []
    for i in np.lexsort((-means, ~wrong))[:WORST]:
        counts = {name: int(mask[i].sum()) for name, mask in kinds.items() if mask[i].any()}
        told = sorted(counts, key=lambda name: -counts[name])
        presence = ["missed" if present[i] else "false alarm"] if wrong[i] else []
        parts = [*presence, *(f"{counts[name]} {name}" for name in told)]
        reason = f"{means[i]:.1f} % off" + (f": {', '.join(parts)}" if parts else "")
        sample = str(data.samples["sample_id"].iat[i])
        found.append(Worst(sample, [*presence, *told] or [RIGHT], float(means[i]), reason))
    return found
