"""Carving validation and test splits out of train, and proving that no split leaks into another.

What moves together: all samples of a group (subject, video) and all samples with the same content. The choice
depends on the seed and the groups' names alone, not on the order of the rows.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from heapq import heapify, heappop, heappush
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cv_pipelines.config import SplitRule
from cv_pipelines.data.schema import SPLITS
from cv_pipelines.errors import ConfigError, LeakageError


def assign_splits(
    samples: pd.DataFrame, *, validation: SplitRule | None, test: SplitRule | None, seed: int
) -> pd.DataFrame:
    """Carve "test" and then "val" out of "train", each only if there is a rule and no such split yet.

    Shares are met as closely as whole groups permit, in total and for each class (a sample's first label):
    exactly, up to rounding, where groups are single samples. A group or content that also occurs in a split
    that is there already stays in train, so that a carved split is clean of it. No split is left empty.

    A share is of what is in train at that moment, so validation's is of what test has left. By "sample", only
    equal content stays together: `check_leakage` then refuses groups of several samples that fell apart.

    Args:
        samples: see `schema.SAMPLES`; not changed.
        validation: rule for "val", or none.
        test: rule for "test", or none.
        seed: same seed and same samples, same splits, whatever the order of the rows.

    Returns:
        A copy of `samples` with `split` set.

    Raises:
        ConfigError: train has too few groups for the splits that are asked for.
        LeakageError: it has enough groups, but equal content, or an official split, ties them together.
    """
    rules = {"test": test, "val": validation}
    present = set(samples["split"])
    wanted = {name: rule for name, rule in rules.items() if rule is not None and name not in present}
    split = samples["split"].to_numpy(dtype=object).copy()
    for index, (name, rule) in enumerate(wanted.items()):
        split[_carve(samples, split, name, rule, len(wanted) - index, seed)] = name
    return samples.assign(split=split)


def _carve(
    samples: pd.DataFrame, split: np.ndarray, name: str, rule: SplitRule, leave: int, seed: int
) -> np.ndarray:
    """Return the row positions that go to `name`; at least `leave` blocks stay in train."""
    rows = np.flatnonzero(split == "train")
    others = samples[split != "train"]
    train = samples.iloc[rows]
    units = train["group" if rule.by == "group" else "sample_id"]
    if units.nunique() <= leave:
        raise ConfigError(
            f"cannot carve {name!r} out of train by {rule.by}: {units.nunique()} {rule.by}(s) in train; "
            f"expected more than {leave}"
        )
    blocks = _blocks(units, train["content_hash"])
    count = int(blocks.max()) + 1
    shared = units.isin(set(others[units.name])) | train["content_hash"].isin(set(others["content_hash"]))
    tied = set(blocks[shared.to_numpy()].tolist())
    if count <= leave or len(tied) == count:
        raise LeakageError(
            f"cannot carve {name!r} out of train: equal content or an official split ties its "
            f"{units.nunique()} {rule.by}s together ({', '.join(sorted(set(units))[:5])}, …)"
        )
    order = [b for b in _shuffled(units, blocks, f"{seed}:{name}") if b not in tied]
    chosen = _choose(order, blocks, _first_labels(train), rule.share, min(len(order), count - leave))
    return rows[np.isin(blocks, chosen)]


def _blocks(units: pd.Series, hashes: pd.Series) -> np.ndarray:
    """Number the sets of samples that must move together: same unit, same content, or linked by both."""
    a, firsts = pd.factorize(units)
    b, seconds = pd.factorize(hashes)
    size = len(firsts) + len(seconds)
    links = coo_array((np.ones(len(a), dtype=bool), (a, b + len(firsts))), shape=(size, size))
    component = connected_components(links, directed=False)[1]
    return np.unique(component[a], return_inverse=True)[1]


def _shuffled(units: pd.Series, blocks: np.ndarray, key: str) -> list[int]:
    """Return the block numbers in an order drawn from the key and the blocks' first unit names."""
    names = units.groupby(blocks).min()
    digests = [hashlib.blake2b(f"{key}:{n}".encode(), digest_size=8).digest() for n in names]
    return sorted(range(len(digests)), key=digests.__getitem__)


def _first_labels(samples: pd.DataFrame) -> np.ndarray:
    """Return each sample's first label, (N,) int64, or -1 where it has none."""
    return np.array([labels[0] if len(labels) else -1 for labels in samples["labels"]], dtype=np.int64)


def _choose(order: list[int], blocks: np.ndarray, labels: np.ndarray, share: float, most: int) -> list[int]:
    """Take blocks, in order, that bring the class counts closer to their targets, then fill up the total.

    Closeness of counts is the squared distance over classes. Filling up takes the block that harms the class
    counts least, as long as the total comes closer to its target. At least one block and at most `most` are
    taken.
    """
    contents: dict[int, Counter[int]] = {block: Counter() for block in order}
    for block, label in zip(blocks.tolist(), labels.tolist(), strict=True):
        if block in contents:
            contents[block][label] += 1
    missing = _targets(labels, share)

    def change(block: int) -> int:
        """Return by how much taking a block changes the squared distance to the targets."""
        return sum(n * (n - 2 * missing[label]) for label, n in contents[block].items())

    chosen: list[int] = []
    for block in order:
        if len(chosen) < most and change(block) < 0:
            chosen.append(block)
            missing.subtract(contents[block])
    taken = set(chosen)
    rest = [block for block in order if block not in taken]
    heap = [(change(block), rank) for rank, block in enumerate(rest)]
    heapify(heap)
    while heap and len(chosen) < most and (short := missing.total()) > 0:
        block = rest[(top := heappop(heap))[1]]
        # Counts only grow, so a score taken earlier is a lower bound: what still leads after renewal is best.
        if (now := change(block)) > top[0]:
            heappush(heap, (now, top[1]))
        elif contents[block].total() < 2 * short:
            chosen.append(block)
            missing.subtract(contents[block])
    return chosen or [min(order, key=change)]


def _targets(labels: np.ndarray, share: float) -> Counter[int]:
    """Return class to wanted count, integers that sum to the rounded share (largest remainder)."""
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * share
    targets = np.floor(exact).astype(np.int64)
    rest = round(len(labels) * share) - int(targets.sum())
    targets[np.argsort(targets - exact, kind="stable")[:rest]] += 1
    return Counter(dict(zip(classes.tolist(), targets.tolist(), strict=True)))


def check_leakage(samples: pd.DataFrame, official: set[tuple[str, str]]) -> dict[str, Any]:
    """Look for groups and contents that two splits share.

    Args:
        samples: see `schema.SAMPLES`.
        official: pairs of splits whose border the data set's authors drew, in either order; what these
            share is reported only.

    Returns:
        "train|val", … (each pair of splits that are there) to {"official", "shared_groups", "shared_contents"
        (counts), "groups", "samples" (the first five names, the samples being those with shared content)}.

    Raises:
        LeakageError: a pair of our own making shares something; names the first five groups and samples.
    """
    accepted = {"|".join(sorted(pair, key=SPLITS.index)) for pair in official}
    facts = {pair: {"official": pair in accepted, **found} for pair, found in shared_by_pair(samples).items()}
    leaks = {k: f for k, f in facts.items() if not f["official"] and (f["groups"] or f["samples"])}
    if leaks:
        told = (
            f"{pair} share {f['shared_groups']} group(s) {f['groups']} "
            f"and {f['shared_contents']} content(s) of samples {f['samples']}"
            for pair, f in leaks.items()
        )
        raise LeakageError("; ".join(told) + "; expected none in splits that are not official")
    return facts


def shared_by_pair(samples: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return what each pair of splits shares, "train|val", …; see `check_leakage` for the keys."""
    present = [split for split in SPLITS if (samples["split"] == split).any()]
    parts = {split: samples[samples["split"] == split] for split in present}
    return {"|".join(pair): _shared(parts[pair[0]], parts[pair[1]]) for pair in combinations(present, 2)}


def _shared(one: pd.DataFrame, other: pd.DataFrame) -> dict[str, Any]:
    groups = sorted(set(one["group"]) & set(other["group"]))
    contents = set(one["content_hash"]) & set(other["content_hash"])
    ids = [i for part in (one, other) for i in part.loc[part["content_hash"].isin(contents), "sample_id"]]
    return {
        "shared_groups": len(groups),
        "shared_contents": len(contents),
        "groups": groups[:5],
        "samples": ids[:5],
    }
