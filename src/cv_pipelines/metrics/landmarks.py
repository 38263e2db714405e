"""How near predicted points come to the true ones; points that nobody has marked count nowhere."""

from __future__ import annotations

import numpy as np

SHARES = (0.1, 0.2)
"""Of the object's longer side: distances up to which a point counts as found (Yang & Ramanan 2013 §7)."""


def point_distances(predicted: np.ndarray, truth: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return (N, P) distances in pixels; NaN where the truth is not known.

    Args:
        predicted: (N, P, 2) x, y in pixels.
        truth: the same shape.
        known: (N, P) bool.

    Raises:
        ValueError: shapes differ.
    """
    if predicted.shape != truth.shape or predicted.shape[:2] != known.shape:
        raise ValueError(
            f"shapes {predicted.shape}, {truth.shape}, {known.shape}; expected (N, P, 2), (N, P)"
        )
    return np.where(known, np.hypot(*np.moveaxis(predicted - truth, -1, 0)), np.nan)


def landmark_scores(
    distances: np.ndarray, sides: np.ndarray, spans: np.ndarray, chances: np.ndarray, present: np.ndarray
) -> dict[str, float]:
    """Score points and presence.

    Args:
        distances: (N, P) in pixels, NaN where the truth is not known.
        sides: (N,) of the image, in pixels.
        spans: (N,) longer side of the object's box, in pixels; NaN where there is none.
        chances: (N,) predicted probability that there is an object.
        present: (N,) bool, whether there is one.

    Returns:
        `mean_error`, the mean distance over all known points in % of the image's side; `pck_10` and `pck_20`,
        the share of the known points within a tenth and a fifth of the object's longer side; and
        `presence_accuracy`, the share of the images with the right answer to whether there is an object. NaN
        where there is nothing to average.
    """
    known = np.isfinite(distances)
    shares = (distances / spans[:, None])[known]
    return {
        "mean_error": _mean(100 * (distances / sides[:, None])[known]),
        **{f"pck_{round(100 * share)}": _mean(shares <= share) for share in SHARES},
        "presence_accuracy": _mean((chances >= 0.5) == present),
    }


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
