"""Drift: how far a new version of a source lies from an old one, in classes, sizes, light and motion.

With many samples every difference is significant, so what is judged is how large a difference is: distances
between distributions, 0 (the same) to 1 (nothing in common), and no p-values.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from cv_pipelines.data.schema import Categories
from cv_pipelines.errors import DataLimitError, SourceError

MEASURED = ("manifest.parquet", "measures.parquet")
OBJECTS = ("annotations", "quarantine")
NUMBERS = ("facts", "statistics")


@dataclass(frozen=True)
class Version:
    """One version of a source: what a drift is measured between.

    Attributes:
        samples: the manifest.
        annotations: its objects.
        measures: see `measures.measure`.
        categories: its class lists.
        quarantine: its defects.
        pixels: of each mask class in the train split.
        channels: names of the channels of its signals.
    """

    samples: pd.DataFrame
    annotations: pd.DataFrame
    measures: pd.DataFrame
    categories: Categories
    quarantine: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["reason"]))
    pixels: list[int] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)


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
        annotations, quarantine = (pd.read_parquet(tables / f"{n}.parquet") for n in OBJECTS)
        facts, statistics = (json.loads((prepared / f"{n}.json").read_text(encoding="utf8")) for n in NUMBERS)
        categories = Categories.model_validate_json((tables / "categories.json").read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{data}: no version of {source!r} to compare ({error})") from None
    told = statistics.get("pixels", []), facts.get("channels", [])
    return Version(samples, annotations, measures, categories, quarantine, *told)


def keep_version(data: Path, source: str, folder: Path) -> None:
    """Copy what a comparison needs of a source, so that `load_version` loads it from there later.

    Args:
        data: a data folder.
        source: name of the source.
        folder: of the copy; what lay there before is replaced at the end.
    """
    fresh = folder.with_name(folder.name + ".writing")
    shutil.rmtree(fresh, ignore_errors=True)
    names = {
        "02_intermediate": [*(f"{name}.parquet" for name in OBJECTS), "categories.json"],
        "05_model_input": [*MEASURED, *(f"{name}.json" for name in NUMBERS)],
    }
    for layer, files in names.items():
        place = fresh / layer / source
        place.mkdir(parents=True)
        for file in files:
            shutil.copyfile(data / layer / source / file, place / file)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def drift(old: Version, new: Version, most: float | None = None) -> dict[str, Any]:
    """Measure the distances between two versions.

    Args:
        old: the version compared with.
        new: the version judged.
        most: the largest distance that is allowed, or None.

    Returns:
        `samples`: how many there are, were added, removed or changed in content; `distances`: name to
        distance, the largest first. `classes`, `objects` and `pixels` are total variation distances of the
        shares of classes by name; all others are Kolmogorov and Smirnov's distance of a measure (largest
        difference of the two cumulative shares). The former also stand as `shares`: name to (old, new), the
        latter as `medians`: (old, new). `appeared` and `vanished` are classes by kind, `defects` reasons with
        their count (old, new); `limit` is `most`, `beyond` the names of the distances that pass it.
    """
    told = {kind: _shares(count(old), count(new)) for kind, count in COUNTS.items()}
    distances = {name: _variation(pairs) for name, pairs in told.items() if pairs}
    before, after = values(old), values(new)
    common = [name for name in before if name in after and len(before[name]) and len(after[name])]
    for name in common:
        distances[name] = float(ks_2samp(before[name], after[name], method="asymp").statistic)
    ordered = dict(sorted(distances.items(), key=lambda item: (-item[1], item[0])))
    reasons = old.quarantine["reason"].value_counts(), new.quarantine["reason"].value_counts()
    return {
        "samples": _changes(old.samples, new.samples),
        "distances": ordered,
        "shares": told,
        "medians": {n: (float(np.median(before[n])), float(np.median(after[n]))) for n in common},
        "appeared": {kind: [n for n, (a, b) in row.items() if b > a == 0] for kind, row in told.items()},
        "vanished": {kind: [n for n, (a, b) in row.items() if a > b == 0] for kind, row in told.items()},
        "defects": {
            str(r): tuple(int(c.get(r, 0)) for c in reasons) for r in reasons[0].index.union(reasons[1].index)
        },
        "limit": most,
        "beyond": [name for name, value in ordered.items() if most is not None and value > most],
    }


def values(version: Version) -> dict[str, np.ndarray]:
    """Return what is compared by its distribution: name to one number a sample or object."""
    samples = version.samples
    numbers = version.measures.select_dtypes("number")
    found = {_named(str(name), version.channels): column.to_numpy() for name, column in numbers.items()}
    pictures = samples[(samples["width"] > 0) & (samples["height"] > 0)]
    if len(pictures):
        found["image width"] = pictures["width"].to_numpy()
        found["image height"] = pictures["height"].to_numpy()
        objects = version.annotations.merge(pictures[["sample_id", "width", "height"]], on="sample_id")
        found["object size"] = np.sqrt(
            objects["w"] * objects["h"] / (objects["width"] * objects["height"])
        ).to_numpy()
        found["object aspect"] = (objects["w"] / objects["h"]).to_numpy()
        counts = objects["sample_id"].value_counts().reindex(pictures["sample_id"], fill_value=0)
        found["objects in an image"] = counts.to_numpy() if len(objects) else np.empty(0)
    return found


def _named(measure: str, channels: list[str]) -> str:
    """Say `mean of body_acc_x` for `mean_0`."""
    kind, _, channel = measure.rpartition("_")
    known = kind in {"mean", "deviation"} and channel.isdecimal() and int(channel) < len(channels)
    return f"{kind} of {channels[int(channel)]}" if known else measure


def enforce_drift(name: str, found: dict[str, Any]) -> None:
    """Refuse a drift beyond its limit.

    Args:
        name: of the source.
        found: as `drift` gives it.

    Raises:
        DataLimitError: names the distances beyond it.
    """
    if found["beyond"]:
        told = ", ".join(f"{one} {found['distances'][one]:.3f}" for one in found["beyond"])
        raise DataLimitError(f"limits.drift is passed by {told}; allowed is at most {found['limit']}", name)


def _classes(version: Version) -> pd.Series:
    names = version.categories.names("labels")
    labels = version.samples["labels"].explode().dropna()
    return labels.map(lambda label: names[int(label)]).value_counts()


def _objects(version: Version) -> pd.Series:
    names = version.categories.names("objects")
    return version.annotations["category"].map(lambda category: names[int(category)]).value_counts()


def _pixels(version: Version) -> pd.Series:
    names = version.categories.names("mask")
    return pd.Series(dict(zip(names, version.pixels, strict=False)), dtype=np.float64)


COUNTS = {"classes": _classes, "objects": _objects, "pixels": _pixels}
"""What is compared by the shares of classes."""


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
