"""Why a detector's average precision is not 1: six kinds of error and what each costs (Bolya et al. 2020).

Matching is that of `coco_backends.matched` at IoU 0.5, so what is explained is the `map_50` of the scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cv_pipelines.metrics import coco_backends, coco_form
from cv_pipelines.metrics.boxes import iou

FOUND = "found"
KINDS = ("class", "location", "both", "duplicate", "background", "missed")
"""The six kinds of Bolya et al. 2020 §2.2; all but the last are kinds of false detections."""

LOW, HIGH = 0.1, 0.5
"""Overlaps (IoU): from the first on a detection is near an object, from the second on it is at its place."""

_SIDES = ["x", "y", "w", "h"]
_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Split:
    """Every detection and every object of a data set, with what became of it.

    Attributes:
        detections: the rows that count, surest first: `sample_id`, `category`, `score`, `x`, `y`, `w`, `h`,
            `kind` (`FOUND` or one of `KINDS` but "missed") and `object`, the row of `objects` that it found,
            or that it would find if its error were mended (-1 for none).
        objects: all but crowd regions: `sample_id`, `category`, `x`, `y`, `w`, `h`, `found`, and `missed` for
            those that no mended place or class of a detection would find.
        n_classes: number of classes.
    """

    detections: pd.DataFrame
    objects: pd.DataFrame
    n_classes: int

    def precision(self) -> float:
        """Return the average precision as it is, mean over the classes with objects; NaN without any."""
        return _mean_precision(self, self.detections, self.detections["kind"].eq(FOUND).to_numpy())

    def cost(self, kind: str) -> float:
        """Return how much higher average precision were without the errors of one kind, 0..1.

        A wrong class or place is mended where its object is not found yet, by the surest such detection; any
        further one, and whatever is a duplicate, background or both, is taken away. Missed objects are not
        asked for (Bolya et al. 2020 §2.3). A class of which nothing is left to be found has a precision of 1
        if nothing was wrongly found either, else 0.

        Args:
            kind: one of `KINDS`.
        """
        return self.without(kind) - self.precision()

    def without(self, *kinds: str) -> float:
        """Return the average precision with all errors of some kinds mended at once."""
        rows = self.detections
        hit, keep = rows["kind"].eq(FOUND).to_numpy().copy(), np.ones(len(rows), dtype=bool)
        category = rows["category"].to_numpy().copy()
        wrong = rows["kind"].isin(kinds).to_numpy()
        mendable = wrong & rows["kind"].isin(["class", "location"]).to_numpy()
        targets = rows["object"].to_numpy()
        mended = self._first_of_each(np.flatnonzero(mendable), targets)
        keep[wrong] = False
        keep[mended], hit[mended] = True, True
        category[mended] = self.objects["category"].to_numpy()[targets[mended]]
        changed = rows.assign(category=category)[keep]
        asked = ~self.objects["missed"].to_numpy() if "missed" in kinds else None
        return _mean_precision(self, changed, hit[keep], asked)

    def _first_of_each(self, rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the surest of these detections for each object that is not found."""
        open_ = rows[~self.objects["found"].to_numpy()[targets[rows]]]
        _, first = np.unique(targets[open_], return_index=True)
        return open_[first]


def split(truth: dict[str, Any], evaluation: Any, predictions: pd.DataFrame) -> Split:
    """Say of every detection what it is, and of every object whether it was found.

    A detection that is no hit is, by the first of these that fits (overlaps with the objects of its image):
    "location", if it overlaps one of its class by `LOW` to `HIGH`; "class", if one of another class by `HIGH`
    or more; "duplicate", if one of its class by `HIGH` or more, which a surer one has found; "background", if
    none by more than `LOW`; else "both". Those that lie on crowd regions count as nothing.

    Args:
        truth: what `coco_form.ground_truth` gave.
        evaluation: what `coco_backends.matched` gave for it and the predictions.
        predictions: the detections that were matched, in that order.
    """
    objects, place_of = _objects(truth)
    rows, matches = _matches(evaluation, place_of)
    detections = predictions.iloc[rows][["sample_id", "category", "score", *_SIDES]].reset_index(drop=True)
    kinds = np.full(len(detections), FOUND, dtype=object)
    here = dict(objects.groupby("sample_id").indices)
    for sample, own in detections.groupby("sample_id", sort=False).indices.items():
        wrong = own[matches[own] < 0]
        kinds[wrong], matches[wrong] = _kinds(detections.iloc[wrong], objects, here.get(sample))
    found = np.zeros(len(objects), dtype=bool)
    found[matches[kinds == FOUND]] = True
    missed = ~found
    missed[matches[np.isin(kinds, ["class", "location"])]] = False
    detections, objects = (
        detections.assign(kind=kinds, object=matches),
        objects.assign(found=found, missed=missed),
    )
    return Split(detections, objects, len(truth["categories"]))


def _objects(truth: dict[str, Any]) -> tuple[pd.DataFrame, dict[int, int]]:
    """Return the objects that are to be found, and the row of each one's id."""
    names = {image["id"]: image["sample_id"] for image in truth["images"]}
    kept = [a for a in truth["annotations"] if not a["iscrowd"]]
    rows = [(names[a["image_id"]], a["category_id"] - 1, *a["bbox"]) for a in kept]
    table = pd.DataFrame(rows, columns=["sample_id", "category", *_SIDES])
    return table.astype({"category": int}), {a["id"]: row for row, a in enumerate(kept)}


def _matches(evaluation: Any, place_of: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the predictions that count, surest first, and the object each one found (or -1)."""
    all_areas = len(evaluation.params.areaRng)
    images = len(evaluation.params.imgIds)
    entries = [
        entry
        for number, entry in enumerate(evaluation.evalImgs)
        if entry is not None and number // images % all_areas == 0
    ]
    if not entries:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    ids = np.concatenate([np.asarray(entry["dtIds"], dtype=np.int64) for entry in entries])
    scores = np.concatenate([np.asarray(entry["dtScores"], dtype=np.float64) for entry in entries])
    matched = np.concatenate([entry["dtMatches"][0] for entry in entries]).astype(np.int64)
    counted = np.concatenate([entry["dtIgnore"][0] for entry in entries]) == 0
    order = np.argsort(-scores, kind="mergesort")
    order = order[counted[order]]
    found = [place_of[one] if one else -1 for one in matched[order]]
    return ids[order] - 1, np.asarray(found, dtype=np.int64)


def _kinds(
    wrong: pd.DataFrame, objects: pd.DataFrame, here: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the kind of each false detection of an image, and the object that it is about."""
    kinds = np.full(len(wrong), "background", dtype=object)
    about = np.full(len(wrong), -1, dtype=np.int64)
    if here is None or not len(wrong):
        return kinds, about
    near = objects.iloc[here]
    overlap = iou(wrong[_SIDES].to_numpy(), near[_SIDES].to_numpy())
    same = wrong["category"].to_numpy()[:, None] == near["category"].to_numpy()[None]
    own, other = np.where(same, overlap, 0.0), np.where(same, 0.0, overlap)
    best_own, best_other = own.max(axis=1), other.max(axis=1)
    kinds[np.maximum(best_own, best_other) > LOW] = "both"
    kinds[best_own >= HIGH] = "duplicate"
    kinds[best_other >= HIGH] = "class"
    kinds[(best_own >= LOW) & (best_own < HIGH)] = "location"
    targets = np.where(kinds == "class", other.argmax(axis=1), own.argmax(axis=1))
    aimed = np.isin(kinds, ["class", "location", "duplicate"])
    about[aimed] = here[targets[aimed]]
    return kinds, about


def _mean_precision(
    split: Split, detections: pd.DataFrame, hit: np.ndarray, asked: np.ndarray | None = None
) -> float:
    category, objects = detections["category"].to_numpy(), split.objects["category"].to_numpy()
    there = np.bincount(objects, minlength=split.n_classes)
    wanted = there if asked is None else np.bincount(objects[asked], minlength=split.n_classes)
    values = [
        average_precision(hit[category == c], int(wanted[c]))
        if wanted[c]
        else float(not (category == c).any())
        for c in np.flatnonzero(there)
    ]
    return float(np.mean(values)) if values else float("nan")


def average_precision(hit: np.ndarray, objects: int) -> float:
    """Return COCO's average precision: the mean over 101 recalls of the best precision from there on.

    Args:
        hit: (D,) bool, whether each detection found an object, surest first.
        objects: how many there are to be found, above 0.
    """
    hits = np.cumsum(hit)
    precision = hits / np.arange(1, len(hit) + 1)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(envelope[np.searchsorted(hits / objects, _RECALLS, side="left")].mean())


def matched_split(truth: dict[str, Any], predictions: pd.DataFrame) -> tuple[Split, Any]:
    """Match detections and split them; see `split`.

    Args:
        truth: what `coco_form.ground_truth` gave.
        predictions: columns sample_id, category, score, x, y, w, h; may be empty.

    Returns:
        The split, and the `COCOeval` that it is of.
    """
    results = coco_form.results(predictions, truth) if len(predictions) else []
    evaluation = coco_backends.matched(truth, results)
    return split(truth, evaluation, predictions), evaluation
