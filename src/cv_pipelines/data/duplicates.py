"""Samples that occur twice: with the same bytes, or (across splits) looking the same to a person."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pandas as pd

from cv_pipelines.data.schema import SPLITS

BITS = 64

NEAR = 3
"""Bits in which the hashes of look-alikes may differ."""

COLUMNS = ["split", "sample_id", "other_split", "other_id", "distance"]
CHUNK = 20_000


def exact_duplicates(samples: pd.DataFrame) -> pd.DataFrame:
    """Find samples whose content is that of an earlier one, within and across splits.

    Args:
        samples: the manifest.

    Returns:
        `split`, `sample_id` of the first with that content (train before val before test), `other_split`,
        `other_id` of another one, and `same_labels`, whether both have the same classes; a row for every
        sample that is not the first. Pairs of different splits come first, then those of different classes.
    """
    some = samples[samples["content_hash"].duplicated(keep=False)]
    rank = some["split"].map(SPLITS.index)
    some = some.assign(rank=rank).sort_values("rank", kind="stable")
    labels = some["labels"].map(lambda row: tuple(row) if row is not None else ())
    first = some.groupby("content_hash", sort=False)[["split", "sample_id"]].transform("first")
    same = labels == labels.groupby(some["content_hash"], sort=False).transform("first")
    found = pd.DataFrame(
        {
            "split": first["split"],
            "sample_id": first["sample_id"],
            "other_split": some["split"],
            "other_id": some["sample_id"],
            "same_labels": same.astype(bool),
        }
    )[some["content_hash"].duplicated(keep="first")]
    within = found["split"] == found["other_split"]
    order = within.astype(int) * 2 + found["same_labels"].astype(int)
    return found.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)


def near_duplicates(samples: pd.DataFrame, hashes: pd.Series, distance: int = NEAR) -> pd.DataFrame:
    """Find pairs of samples in different splits whose perceptual hashes differ in few bits.

    Two hashes of 64 bits that differ in at most d of them agree wholly in one of d + 1 bands of bits, so only
    pairs that share a band are compared (Manku, Jain and Das Sarma, Detecting Near-Duplicates for Web
    Crawling, WWW 2007, §3).

    Args:
        samples: the manifest: `sample_id`, `split`.
        hashes: of the samples, in their order; 16 hex digits, or null where there is none.
        distance: the most bits in which a pair may differ.

    Returns:
        `split`, `sample_id`, `other_split`, `other_id`, `distance`, a row a pair, the closest first.
    """
    known = hashes.notna().to_numpy()
    values = np.array([int(text, 16) for text in hashes[known]], np.uint64)
    split = samples["split"].to_numpy(object)[known]
    ids = samples["sample_id"].to_numpy(object)[known]
    found = []
    for one, other in combinations(SPLITS, 2):
        a, b = np.flatnonzero(split == one), np.flatnonzero(split == other)
        for start in range(0, len(b), CHUNK):
            pairs = _close_pairs(values, a, b[start : start + CHUNK], distance)
            first, second, apart = pairs.T
            found.append(
                pd.DataFrame(
                    {
                        "split": one,
                        "sample_id": ids[first],
                        "other_split": other,
                        "other_id": ids[second],
                        "distance": apart,
                    }
                )
            )
    table = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=COLUMNS)
    return table.sort_values(["distance", "sample_id", "other_id"], kind="stable", ignore_index=True)


def _close_pairs(values: np.ndarray, a: np.ndarray, b: np.ndarray, distance: int) -> np.ndarray:
    """Return (P, 3) int64: position in `values` of either side, and the bits in which they differ."""
    edges = np.linspace(0, BITS, distance + 2).astype(int)
    pairs = []
    for low, high in pairwise(edges.tolist()):
        band = (values >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        left = pd.DataFrame({"band": band[a], "a": a})
        right = pd.DataFrame({"band": band[b], "b": b})
        both = left.merge(right, on="band")
        apart = np.bitwise_count(values[both["a"]] ^ values[both["b"]])
        close = apart <= distance
        columns = (both["a"][close], both["b"][close], apart[close])
        pairs.append(np.column_stack(columns).astype(np.int64))
    return np.unique(np.concatenate(pairs), axis=0)


def count_by_pair(pairs: pd.DataFrame) -> dict[str, int]:
    """Count, by pair of splits, the samples of the second that look like one of the first."""
    grouped = pairs.groupby(["split", "other_split"])["other_id"].nunique()
    return {f"{one}|{other}": int(count) for (one, other), count in grouped.items()}
