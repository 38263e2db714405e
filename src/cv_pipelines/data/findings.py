"""What a data report says in numbers: how much of what there is, how balanced, how large, how clean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.duplicates import count_by_pair
from cv_pipelines.data.schema import SPLITS
from cv_pipelines.data.splits import shared_by_pair
from cv_pipelines.data.statistics import class_counts

QUANTILES = {"min": 0.0, "p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}

AREAS = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}
"""COCO's bounds of area in pixels, by which its scores are told apart."""


def summarise(
    data: SourceData,
    quarantine: pd.DataFrame,
    facts: dict[str, Any],
    measures: pd.DataFrame,
    repeats: pd.DataFrame,
    alike: pd.DataFrame,
) -> dict[str, Any]:
    """Gather the report's numbers, all of which can be written as JSON.

    Args:
        data: all splits; `statistics` may hold `pixels`.
        quarantine: see `schema.QUARANTINE`.
        facts: of the reader and of the splits.
        measures: see `measures.measure`.
        repeats: see `duplicates.exact_duplicates`.
        alike: see `duplicates.near_duplicates`.
    """
    counts = {str(s): int((data.samples["split"] == s).sum()) for s in SPLITS}
    counts = {split: count for split, count in counts.items() if count}
    names = data.categories.names("labels")
    classes = {s: dict(zip(names, class_counts(data.only(s)), strict=True)) for s in counts}
    reasons = quarantine.groupby(["reason", "action"]).size().reset_index(name="n")
    return {
        "splits": counts,
        "classes": classes,
        "balance": {split: balance(row) for split, row in classes.items() if row},
        "pixels": pixel_shares(data),
        "objects": object_numbers(data),
        "sizes": image_sizes(data.samples),
        "groups": {s: int(data.samples.loc[data.samples["split"] == s, "group"].nunique()) for s in counts},
        "leakage": shared_by_pair(data.samples),
        "duplicates": count_by_pair(repeats),
        "label_conflicts": int((~repeats["same_labels"].astype(bool)).sum()),
        "near_duplicates": count_by_pair(alike),
        "hashed": int(measures["phash"].notna().sum()) if "phash" in measures else 0,
        "measures": mean_measures(data.samples, measures),
        "quarantine": reasons.to_dict("records"),
        "facts": facts,
    }


def balance(counts: dict[str, int]) -> dict[str, float]:
    """Return how evenly samples are spread over classes.

    Returns:
        `smallest` and `largest` class (samples), `ratio` of both (a class without samples counts as one),
        and `evenness`: the entropy of the shares over its largest possible value, 1 where all are equal.
    """
    values = np.array(list(counts.values()), np.float64)
    shares = values[values > 0] / max(values.sum(), 1)
    entropy = float(-(shares * np.log(shares)).sum())
    return {
        "smallest": int(values.min()),
        "largest": int(values.max()),
        "ratio": float(values.max() / max(values.min(), 1)),
        "evenness": entropy / np.log(len(values)) if len(values) > 1 else 1.0,
    }


def pixel_shares(data: SourceData) -> dict[str, float]:
    """Return the share of each mask class in the pixels of the train split, void left out."""
    pixels = data.statistics.get("pixels", [])
    total = max(sum(pixels), 1)
    names = data.categories.names("mask")
    return {name: count / total for name, count in zip(names, pixels, strict=False)}


def object_numbers(data: SourceData) -> dict[str, Any]:
    """Return how many objects there are, of what class, size and shape; `{"n": 0}` if there are none.

    Returns:
        `n`, `crowd`, `difficult`; `classes`: split to class to objects; `without`: split to samples without
        an object; `areas`: objects by COCO's bounds in pixels; quantiles of `aspect` (width over height),
        `size` (√ of the share of the image) and of the objects `an_image`.
    """
    rows = data.annotations
    if rows.empty:
        return {"n": 0}
    columns = ["sample_id", "split", "width", "height"]
    joined = rows.merge(data.samples[columns], on="sample_id", how="inner")
    names = data.categories.names("objects")
    shares = joined["w"] * joined["h"] / (joined["width"] * joined["height"]).clip(lower=1)
    an_image = joined["sample_id"].value_counts().reindex(data.samples["sample_id"], fill_value=0)
    splits = [s for s in SPLITS if (data.samples["split"] == s).any()]
    empty = set(an_image.index[an_image == 0])
    return {
        "n": len(rows),
        "crowd": int(rows["iscrowd"].sum()),
        "difficult": int(rows["difficult"].sum()),
        "classes": {s: _by_class(joined.loc[joined["split"] == s, "category"], names) for s in splits},
        "without": {
            s: len(empty & set(data.samples.loc[data.samples["split"] == s, "sample_id"])) for s in splits
        },
        "areas": {k: int(((rows["area"] >= a) & (rows["area"] < b)).sum()) for k, (a, b) in AREAS.items()},
        "aspect": quantiles(joined["w"] / joined["h"]),
        "size": quantiles(np.sqrt(shares)),
        "an_image": quantiles(an_image),
    }


def _by_class(categories: pd.Series, names: list[str]) -> dict[str, int]:
    counts = np.bincount(categories.to_numpy(np.int64), minlength=len(names))
    return dict(zip(names, counts.tolist(), strict=True))


def image_sizes(samples: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return quantiles of `width` and `height` in pixels, and of `aspect`; nothing for signals."""
    some = samples[(samples["width"] > 0) & (samples["height"] > 0)]
    if some.empty:
        return {}
    sides = {side: quantiles(some[side]) for side in ("width", "height")}
    return sides | {"aspect": quantiles(some["width"] / some["height"])}


def quantiles(values: pd.Series | np.ndarray) -> dict[str, float]:
    """Return smallest, largest, median and some quantiles of at least one number."""
    found = np.quantile(np.asarray(values, np.float64), list(QUANTILES.values()))
    return dict(zip(QUANTILES, found.tolist(), strict=True))


def mean_measures(samples: pd.DataFrame, measures: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return the mean of every measure, by split."""
    numbers = measures.select_dtypes("number")
    means = numbers.groupby(samples["split"].to_numpy(object)).mean()
    return {str(split): row.astype(float).to_dict() for split, row in means.iterrows()}
