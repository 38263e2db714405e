"""Drift: how far a new version of a source lies from an old one, in classes, sizes, light and motion.

With many samples every difference is significant, so what is judged is how large a difference is: distances
between distributions, 0 (the same) to 1 (nothing in common), and no p-values.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from cv_pipelines.data.schema import Categories
from cv_pipelines.errors import DataLimitError, SourceError

MEASURED = ("manifest.parquet", "measures.parquet")


@dataclass(frozen=True)
class Version:
    """One version of a source: what a drift is measured between.

    Attributes:
        samples: the manifest.
        annotations: its objects.
        measures: see `measures.measure`.
        categories: its class lists.
    """

    samples: pd.DataFrame
    annotations: pd.DataFrame
    measures: pd.DataFrame
    categories: Categories


def load_version(data: Path, source: str) -> Version:
    """Load what a data folder holds of a source.

    Args:
        data: a folder such as this project's `data`, of another checkout or as DVC brings it.
        source: name of the source.

    Raises:
        SourceError: a table is missing or cannot be read; names it.
    """
    tables, prepared = data / "02_intermediate" / source, data / "05_model_input" / source
    try:
        samples, measures = (pd.read_parquet(prepared / name) for name in MEASURED)
        annotations = pd.read_parquet(tables / "annotations.parquet")
        categories = Categories.model_validate_json((tables / "categories.json").read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{data}: no version of {source!r} to compare ({error})") from None
    return Version(samples, annotations, measures, categories)


def drift(old: Version, new: Version) -> dict[str, Any]:
    """Measure the distances between two versions.

    Returns:
        `samples`: how many there are, were added, removed or changed in content; `distances`: name to
        distance, the largest first. `classes` and `objects` are total variation distances of the shares of
        classes by name; all others are Kolmogorov and Smirnov's distance of a measure (largest difference of
        the two cumulative shares). `classes` and `objects` also stand beside it as `shares`: name to (old,
        new).
    """
    shares = {"classes": (_classes(old), _classes(new)), "objects": (_objects(old), _objects(new))}
    told = {name: _shares(*pair) for name, pair in shares.items()}
    distances = {name: _variation(pairs) for name, pairs in told.items() if pairs}
    before, after = values(old), values(new)
    for name in before.keys() & after.keys():
        if len(before[name]) and len(after[name]):
            distances[name] = float(ks_2samp(before[name], after[name], method="asymp").statistic)
    ordered = sorted(distances.items(), key=lambda item: (-item[1], item[0]))
    return {"samples": _changes(old.samples, new.samples), "distances": dict(ordered), "shares": told}


def values(version: Version) -> dict[str, np.ndarray]:
    """Return what is compared by its distribution: name to one number a sample or object."""
    samples = version.samples
    found = {name: column.to_numpy() for name, column in version.measures.select_dtypes("number").items()}
    pictures = samples[(samples["width"] > 0) & (samples["height"] > 0)]
    if len(pictures):
        found["image width"] = pictures["width"].to_numpy()
        found["image height"] = pictures["height"].to_numpy()
        objects = version.annotations.merge(pictures[["sample_id", "width", "height"]], on="sample_id")
        found["object size"] = np.sqrt(
            objects["w"] * objects["h"] / (objects["width"] * objects["height"])
        ).to_numpy()
        counts = objects["sample_id"].value_counts().reindex(pictures["sample_id"], fill_value=0)
        found["objects in an image"] = counts.to_numpy() if len(objects) else np.empty(0)
    return {str(name): column for name, column in found.items()}


def enforce_drift(found: dict[str, Any], most: float | None) -> None:
    """Refuse a drift.

    Args:
        found: as `drift` gives it.
        most: the largest distance that is allowed, or None.

    Raises:
        DataLimitError: names the distances beyond it.
    """
    beyond = {k: v for k, v in found["distances"].items() if most is not None and v > most}
    if beyond:
        told = ", ".join(f"{name} {value:.3f}" for name, value in beyond.items())
        raise DataLimitError(f"drift: {told}; allowed is at most {most}")


def _classes(version: Version) -> pd.Series:
    names = version.categories.names("labels")
    labels = version.samples["labels"].explode().dropna()
    return labels.map(lambda label: names[int(label)]).value_counts()


def _objects(version: Version) -> pd.Series:
    names = version.categories.names("objects")
    return version.annotations["category"].map(lambda category: names[int(category)]).value_counts()


def _shares(old: pd.Series, new: pd.Series) -> dict[str, tuple[float, float]]:
    table = pd.concat([old / max(old.sum(), 1), new / max(new.sum(), 1)], axis=1).fillna(0.0)
    return {str(name): (float(a), float(b)) for name, a, b in table.itertuples(name=None)}


def _variation(shares: dict[str, tuple[float, float]]) -> float:
    return sum(abs(a - b) for a, b in shares.values()) / 2


def _changes(old: pd.DataFrame, new: pd.DataFrame) -> dict[str, int]:
    both = old[["sample_id", "content_hash"]].merge(
        new[["sample_id", "content_hash"]], on="sample_id", suffixes=("_old", "_new")
    )
    changed = int((both["content_hash_old"] != both["content_hash_new"]).sum())
    added, removed = len(new) - len(both), len(old) - len(both)
    return {"old": len(old), "new": len(new), "added": added, "removed": removed, "changed": changed}
