"""Figures of detectors: COCO's average precision and recall of weighted images.

pycocotools matches detections with objects image by image, and no image's matches depend on another's. So
images are matched once, and a resample only weighs their hits and false alarms before precision and recall
are accumulated. That is exact: with whole weights the figures are those that pycocotools gives for a data set
in which images repeat (up to the order of equal scores), at a small part of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from cv_pipelines.comparing.figures import Figures, Measured, mean_of_known, ratio
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.metrics import coco_backends, coco_form

SIZES = {"small, below 32² pixels": 1, "medium": 2, "large, above 96² pixels": 3}
"""COCO's area ranges beside that of all objects."""

EVERY = tuple(range(10))
_ASKED: dict[str, tuple[bool, tuple[int, ...], int, int]] = {
    # name: of recall, IoU thresholds (0: 0.5, 5: 0.75), area range, detections an image
    "map": (False, EVERY, 0, 100),
    "map_50": (False, (0,), 0, 100),
    "map_75": (False, (5,), 0, 100),
    "map_small": (False, EVERY, 1, 100),
    "map_medium": (False, EVERY, 2, 100),
    "map_large": (False, EVERY, 3, 100),
    "ar_1": (True, EVERY, 0, 1),
    "ar_10": (True, EVERY, 0, 10),
    "ar_100": (True, EVERY, 0, 100),
    "ar_small": (True, EVERY, 1, 100),
    "ar_medium": (True, EVERY, 2, 100),
    "ar_large": (True, EVERY, 3, 100),
}
CELLS = 2_000_000
"""Weights of detections that are held at a time."""


def figures(predictions: pd.DataFrame, data: SourceData) -> Figures:
    """Make the figures of a detector; see `comparing.figures.figures`."""
    truth = coco_form.ground_truth(data.samples, data.annotations, data.categories)
    results = coco_form.results(predictions, truth) if len(predictions) else []
    return Detected(coco_backends.matched(truth, results), data)


@dataclass(frozen=True)
class Matches:
    """What was found of one class, at one area range; surest detection first.

    Attributes:
        image: (D,) index of the image.
        rank: (D,) place among the image's detections of the class, from 0.
        hit: (T, D) whether it found an object, at each IoU threshold.
        counted: (T, D) whether it is a hit or a false alarm; what finds a crowd, or an object of another
            size, is neither.
        objects: (N,) objects to be found in each image.
    """

    image: np.ndarray
    rank: np.ndarray
    hit: np.ndarray
    counted: np.ndarray
    objects: np.ndarray


class Detected(Figures):
    """Detections matched with objects.

    Args:
        evaluation: a `COCOeval` after `evaluate`.
        data: the samples, in the order of COCO's image ids.
    """

    metrics: ClassVar = tuple(_ASKED)
    beside: ClassVar = ("map_50",)

    def __init__(self, evaluation: Any, data: SourceData) -> None:
        self.classes = data.categories.names("objects")
        self.recalls = evaluation.params.recThrs
        n, areas, entries = len(data.samples), len(evaluation.params.areaRng), evaluation.evalImgs
        parts = [_gathered(entries[start : start + n]) for start in range(0, len(entries), n)]
        # they come class by class, and of a class area range by area range
        self.found = [parts[start : start + areas] for start in range(0, len(parts), areas)]
        self.counts = [int(areas[0].objects.sum()) for areas in self.found]
        self.size_counts = {
            name: int(sum(of_class[a].objects.sum() for of_class in self.found)) for name, a in SIZES.items()
        }

    def measure(self, metric: str, weights: np.ndarray) -> Measured:
        """Return a figure of each resample, overall and by class."""
        return self._measure(*_ASKED[metric], weights)

    def sizes(self, metric: str, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return a figure of the objects of each of COCO's sizes."""
        recall, thresholds, _, most = _ASKED[metric]
        return {name: self._measure(recall, thresholds, a, most, weights)[0] for name, a in SIZES.items()}

    def _measure(
        self, recall: bool, thresholds: tuple[int, ...], area: int, most: int, weights: np.ndarray
    ) -> Measured:
        of_class = self._recall if recall else self._precision
        columns = []
        for areas in self.found:
            found = areas[area]
            if not found.objects.any():  # nothing to be found: undefined, however it is weighed
                columns.append(np.full(len(weights), np.nan))
                continue
            rows = max(CELLS // max(len(found.image), 1), 1)
            parts = [
                np.mean([of_class(found, t, most, weights[i : i + rows]) for t in thresholds], axis=0)
                for i in range(0, len(weights), rows)
            ]
            columns.append(np.concatenate(parts))
        classes = np.stack(columns, axis=1)
        return mean_of_known(classes), classes

    def _recall(self, found: Matches, threshold: int, most: int, weights: np.ndarray) -> np.ndarray:
        hits = found.image[found.hit[threshold] & (found.rank < most)]
        return ratio(weights[:, hits].sum(axis=1), weights @ found.objects)

    def _precision(self, found: Matches, threshold: int, most: int, weights: np.ndarray) -> np.ndarray:
        """Average the best precision at or beyond each recall point, as `COCOeval.accumulate` does."""
        counted = found.counted[threshold] & (found.rank < most)
        hit: np.ndarray = found.hit[threshold][counted]
        drawn = weights[:, found.image[counted]]
        objects = weights @ found.objects
        # precision is highest right at a hit: what lies between hits decides nothing
        hits = np.cumsum(drawn[:, hit], axis=1)
        precision = hits / (np.cumsum(drawn, axis=1)[:, hit] + np.spacing(1))
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = np.divide(hits, objects[:, None], out=np.zeros_like(hits), where=objects[:, None] > 0)
        # each recall point belongs to the first hit that reaches it
        reached = np.searchsorted(self.recalls, recall, side="right")
        means = (best * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(self.recalls)
        return np.where(objects > 0, means, np.nan)


def _gathered(entries: list[dict[str, Any] | None]) -> Matches:
    """Join the images' matches of one class and area range."""
    known = [(image, entry) for image, entry in enumerate(entries) if entry is not None]
    objects = np.zeros(len(entries))
    for image, entry in known:
        objects[image] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
    if not known:
        nothing = np.zeros(0, dtype=np.int64)
        none = np.zeros((len(EVERY), 0), dtype=bool)
        return Matches(nothing, nothing, none, none, objects)
    scores = np.concatenate([entry["dtScores"] for _, entry in known])
    order = np.argsort(-scores, kind="mergesort")
    images = np.concatenate([np.full(len(entry["dtScores"]), image) for image, entry in known])
    rank = np.concatenate([np.arange(len(entry["dtScores"])) for _, entry in known])
    matched = np.concatenate([entry["dtMatches"] for _, entry in known], axis=1)[:, order] > 0
    counted = np.concatenate([entry["dtIgnore"] for _, entry in known], axis=1)[:, order] == 0
    return Matches(images[order], rank[order], matched & counted, counted, objects)
