"""The errors of generators, from the embeddings of real and generated images."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import pairwise_distances_argmin_min
from sklearn.neighbors import NearestNeighbors

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.error_analysis.form import RIGHT, WORST, Kind, Report, Worst
from cv_pipelines.error_analysis.reconstruction import BINS, histogram_line
from cv_pipelines.metrics.generative import frechet_distance, on_manifold

MEANINGS = {
    "unlike any": "a generated image further from all real ones than these are from their neighbours",
    "not covered": "a real image further from all generated ones than these are from their neighbours",
}
_NONE_GIVEN = "a generated image is of no given sample, so there is no truth to hold it against"


def report(predictions: pd.DataFrame, data: SourceData, measures: pd.DataFrame) -> Report:
    """Report on a generator; see `error_analysis.analyse.analyse`.

    An image's nearest neighbour and its likeness to real ones are those of the embedder's features
    (Kynkäänniemi et al. 2019 §2).
    """
    del data, measures
    sets = dict(list(predictions.groupby("set")))
    real, fake = (
        np.stack(list(sets[name]["embedding"])).astype(np.float64) for name in ("real", "generated")
    )
    value = frechet_distance(real, fake)
    kept = {"unlike any": on_manifold(real, fake), "not covered": on_manifold(fake, real)}
    without = {
        "unlike any": (real, fake[kept["unlike any"]]),
        "not covered": (real[kept["not covered"]], fake),
    }
    kinds = [
        Kind(kind, MEANINGS[kind], int((~mask).sum()), _gain(value, *without[kind]))
        for kind, mask in kept.items()
    ]
    nearest, distance = pairwise_distances_argmin_min(fake, real)
    among = NearestNeighbors(n_neighbors=1).fit(real).kneighbors()[0][:, 0]
    edges = np.histogram_bin_edges(np.concatenate([distance, among]), BINS)
    lines = [histogram_line(distance, edges, "generated"), histogram_line(among, edges, "real")]
    title = "Distance to the nearest real image"
    return Report(
        metric=f"fid_{predictions['embedder'].iat[0]}",
        value=value,
        unit="images",
        worst_by="distance to the nearest real image, in the embedder's features",
        lower_is_better=True,
        curves={"title": title, "x": "distance", "y": "images", "lines": lines},
        kinds=kinds,
        worst=_worst(sets, nearest, distance, kept["unlike any"]),
        absent={"confusion": _NONE_GIVEN, "calibration": _NONE_GIVEN, "slices": _NONE_GIVEN},
    )


def _gain(value: float, real: np.ndarray, fake: np.ndarray) -> float:
    """Return how much smaller the distance were; NaN where too few images are left to tell."""
    return value - frechet_distance(real, fake) if min(len(real), len(fake)) > 1 else float("nan")


def _worst(
    sets: dict[str, pd.DataFrame], nearest: np.ndarray, distance: np.ndarray, alike: np.ndarray
) -> list[Worst]:
    made, real = sets["generated"]["sample_id"].tolist(), sets["real"]["sample_id"].tolist()
    return [
        Worst(
            made[i],
            [RIGHT if alike[i] else "unlike any"],
            float(distance[i]),
            f"distance {distance[i]:.2f}",
            beside=real[nearest[i]],
        )
        for i in np.argsort(-distance, kind="stable")[:WORST]
    ]
