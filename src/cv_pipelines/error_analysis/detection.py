"""The errors of detectors, from saved boxes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from cv_pipelines.comparing.detection import Detected
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.error_analysis.form import RIGHT, WORST, Kind, Report, Worst, of_matrix
from cv_pipelines.error_analysis.slices import slices
from cv_pipelines.metrics import coco_form
from cv_pipelines.metrics.classification import calibration_error, reliability
from cv_pipelines.metrics.detection_errors import FOUND, HIGH, KINDS, LOW, Split, matched_split

DRAWN = 0.3
"""Detections below are neither drawn nor counted in the confusion and in the list of the worst."""

COLUMNS = ["sample_id", "category", "score", "x", "y", "w", "h"]

MEANINGS = {
    "class": f"at the place of an object (IoU {HIGH:g} or more), but of another class",
    "location": f"near an object of its class (IoU {LOW:g} to {HIGH:g}), but not at its place",
    "both": "near an object, but of another class and not at its place",
    "duplicate": "at the place of an object of its class that a surer detection has found",
    "background": f"where no object is (IoU {LOW:g} at most)",
    "missed": "an object that no detection found, nor would if its class or place were right",
}


def report(predictions: pd.DataFrame, data: SourceData, measures: pd.DataFrame) -> Report:
    """Report on a detector; see `error_analysis.analyse.analyse`."""
    predictions = predictions.reindex(columns=COLUMNS).astype({"category": int})
    truth = coco_form.ground_truth(data.samples, data.annotations, data.categories)
    split, evaluation = matched_split(truth, predictions)
    names = data.categories.names("objects")
    rows = split.detections
    bins = reliability(rows["score"].to_numpy(), rows["kind"].eq(FOUND).to_numpy())
    absent = {} if bins else {"calibration": "nothing was detected"}
    return Report(
        metric="map_50",
        value=split.precision(),
        unit="detections and missed objects",
        worst_by=f"F1 of the image's detections from {DRAWN:g} on; among equals, by the number of errors",
        confusion=of_matrix("objects and detections", names, confusion(split).tolist()),
        calibration={"bins": bins, "ece": calibration_error(bins)} if bins else None,
        curves=_curves(split, names),
        kinds=[Kind(kind, MEANINGS[kind], count(split, kind), split.cost(kind)) for kind in KINDS],
        worst=_worst(split, names),
        slices=slices(Detected(evaluation, data), "map_50", data, measures),
        absent=absent,
    )


def count(split: Split, kind: str) -> int:
    """Return how many errors of a kind there are, whatever their score."""
    return int(split.objects["missed"].sum() if kind == "missed" else split.detections["kind"].eq(kind).sum())


def confusion(split: Split) -> np.ndarray:
    """Count what objects were taken for, by detections from `DRAWN` on.

    Each object counts once in its row and each detection once in its column: an object that was found on the
    diagonal, one that a detection of another class lies on (the surest) as taken for that class, any other as
    taken for nothing; what is left of the detections was nothing.

    Returns:
        (C + 1, C + 1) int64, rows are the truth, "nothing" last.
    """
    n = split.n_classes
    counts = np.zeros((n + 1, n + 1), dtype=np.int64)
    rows = split.detections[split.detections["score"] >= DRAWN]
    true = split.objects["category"].to_numpy()
    left, free = np.ones(len(rows), dtype=bool), np.ones(len(true), dtype=bool)
    category, target = rows["category"].to_numpy(), rows["object"].to_numpy()
    for kind in (FOUND, "class"):
        for row in np.flatnonzero(rows["kind"] == kind):  # surest first
            if free[target[row]]:
                counts[true[target[row]], category[row]] += 1
                left[row] = free[target[row]] = False
    np.add.at(counts, (n, category[left]), 1)
    np.add.at(counts, (true[free], n), 1)
    return counts


def _curves(split: Split, names: list[str]) -> dict[str, Any]:
    recalls = np.linspace(0.0, 1.0, 101)
    rows, objects = split.detections, split.objects["category"].to_numpy()
    lines = []
    for c in np.unique(objects):
        hit = rows.loc[rows["category"] == c, "kind"].eq(FOUND).to_numpy()
        there = int((objects == c).sum())
        hits = np.cumsum(hit)
        precision = np.maximum.accumulate((hits / np.arange(1, len(hit) + 1))[::-1])[::-1]
        best = np.append(precision, 0.0)[np.searchsorted(hits / there, recalls, side="left")]
        line = {"name": names[c], "area": float(best.mean()), "n": there}
        lines.append(line | {"x": recalls.tolist(), "y": best.tolist()})
    return {"title": f"At IoU {HIGH:g}", "x": "recall", "y": "precision", "lines": lines}


def _worst(split: Split, names: list[str]) -> list[Worst]:
    """List images with any error, those with the lowest F1 and of these the ones with most errors first."""
    strong = split.detections[split.detections["score"] >= DRAWN]
    found = dict(list(strong.groupby("sample_id", sort=False)))
    objects = dict(list(split.objects.groupby("sample_id", sort=False)))
    nothing = (split.detections.iloc[:0], split.objects.iloc[:0])
    entries = []
    for sample in {**objects, **found}:
        entry, errors = _image(sample, found.get(sample, nothing[0]), objects.get(sample, nothing[1]), names)
        if errors:
            entries.append((entry.score, -errors, sample, entry))
    return [entry for *_, entry in sorted(entries, key=lambda e: e[:3])[:WORST]]


def _image(sample: str, found: pd.DataFrame, objects: pd.DataFrame, names: list[str]) -> tuple[Worst, int]:
    hits = found[found["kind"] == FOUND]
    touched = found[found["kind"].isin([FOUND, "class", "location"])]["object"]
    missed = ~objects.index.isin(touched)
    counts = Counter(found.loc[found["kind"] != FOUND, "kind"])
    counts["missed"] += int(missed.sum())
    told = [(kind, n) for kind, n in counts.most_common() if n]
    there = len(found) + len(objects)
    f1 = 2 * len(hits) / there if there else 1.0
    boxes = [_box(row, names) for row in found.to_dict("records")]
    truths = objects.assign(kind=np.where(missed, "missed", "object"))
    boxes += [_box(row, names) for row in truths.to_dict("records")]
    reason = f"{len(hits)} of {len(objects)} found; " + ", ".join(f"{n} {kind}" for kind, n in told)
    return Worst(sample, [kind for kind, _ in told] or [RIGHT], f1, reason, boxes), sum(counts.values())


def _box(row: dict[Any, Any], names: list[str]) -> dict[str, Any]:
    box = {side: round(float(row[side]), 2) for side in ("x", "y", "w", "h")}
    score = round(float(row["score"]), 4) if "score" in row else None
    return box | {"name": names[int(row["category"])], "score": score, "kind": row["kind"]}
