"""What several models say of one sample, made into one: means of probabilities, fused boxes.

Probabilities are averaged, not logits: the mean is again a distribution, and its log loss is never above the
mean of the models' own (Jensen's inequality; Lakshminarayanan et al. 2017 §2.4), whatever each model's scale.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from torch import Tensor

from cv_pipelines.metrics.boxes import iou, xyxy_to_xywh


@dataclass(frozen=True)
class Detections:
    """What a detector finds in one image.

    Attributes:
        corners: (N, 4) float64 x1, y1, x2, y2 in image pixels.
        labels: (N,) int class indices.
        scores: (N,) float, 0 to 1.
        segmentations: a mask each, as `data.encoding.encode_segmentation` packs it; None where only boxes
            are found. What is mirrored or fused has none.
        keypoints: (N, P, 3) float64 x, y in image pixels and visibility; None where none are found.
    """

    corners: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    segmentations: list[str] | None = None
    keypoints: np.ndarray | None = None

    def mirrored(self, width: int) -> Self:
        """Return the same boxes in the image mirrored left to right, which is `width` pixels wide."""
        x1, y1, x2, y2 = self.corners.T
        return type(self)(np.stack([width - x2, y1, width - x1, y2], axis=1), self.labels, self.scores)


def weighted_mean(outputs: Iterable[Tensor], weights: Sequence[float]) -> Tensor:
    """Average equally shaped tensors, one in memory at a time beside the sum; one alone stays as it is.

    Args:
        outputs: a tensor a model, such as probabilities.
        weights: above 0, one a model; their sum does not matter.

    Raises:
        ValueError: the numbers of outputs and weights differ, or there is none.
    """
    shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    total: Tensor | None = None
    for output, share in zip(outputs, shares.tolist(), strict=True):
        total = output * share if total is None else total + output.to(total.device) * share
    if total is None:
        raise ValueError("nothing to average")
    return total


def weighted_boxes(found: Sequence[Detections], weights: Sequence[float], overlap: float) -> Detections:
    """Fuse the boxes of several detectors (Weighted Boxes Fusion, Solovyev, Wang & Gabruseva 2021 §3).

    In order of weighted score, a box joins the fused box of its class that it overlaps most, if that is above
    `overlap`, or starts a new one. A fused box has the mean corners of its boxes, weighted by their scores
    (eq. 2 and 3), and their mean score (eq. 1) times the share of the detectors that have a box in it
    (eq. 4): what one of two detectors has missed gets half the score. Several boxes of one detector do not
    count as agreement, as in the authors' later `box_and_model_avg`. Boxes without area are left out. The
    order of the detectors changes nothing; what one alone found stays as it is.

    Args:
        found: the boxes of one image, by each detector.
        weights: above 0, one a detector.
        overlap: IoU, 0 to 1; 0.55 in the paper.

    Returns:
        Fused boxes, highest score first.

    Raises:
        ValueError: the numbers of detectors and weights differ.
    """
    if len(found) != len(weights):
        raise ValueError(f"{len(weights)} weights for {len(found)} detectors")
    if len(found) == 1:
        return found[0]
    pool = _Pool.of(found, weights)
    clusters: dict[int, list[list[int]]] = {}
    fused: dict[int, np.ndarray] = {}
    for place, label in enumerate(pool.labels.tolist()):
        groups, corners = clusters.setdefault(label, []), fused.setdefault(label, np.zeros((0, 4)))
        overlaps = iou(xyxy_to_xywh(pool.corners[place : place + 1]), xyxy_to_xywh(corners))[0]
        best = int(overlaps.argmax()) if len(overlaps) else -1
        if best >= 0 and overlaps[best] > overlap:
            groups[best].append(place)
            corners[best] = pool.mean_corners(groups[best])
        else:
            groups.append([place])
            fused[label] = np.concatenate([corners, pool.corners[place : place + 1]])
    return _gathered(pool, clusters, fused)


@dataclass(frozen=True)
class _Pool:
    """The boxes of all detectors, highest weighted score first."""

    corners: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    weights: np.ndarray  # a box's, its detector's share of all weights
    owners: np.ndarray  # index of its detector

    @classmethod
    def of(cls, found: Sequence[Detections], weights: Sequence[float]) -> Self:
        """Pool what several detectors found in an image, best first."""
        shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
        counts = [len(one.scores) for one in found]
        corners = np.concatenate([np.reshape(one.corners, (-1, 4)) for one in found]).astype(np.float64)
        labels = np.concatenate([one.labels for one in found]).astype(np.int64)
        scores = np.concatenate([one.scores for one in found]).astype(np.float64)
        own, owners = np.repeat(shares, counts), np.repeat(np.arange(len(found)), counts)
        # ties go by place, so that no detector's turn decides
        order = np.lexsort((*corners.T[::-1], own, -scores * own))
        order = order[(corners[order, 2:] > corners[order, :2]).all(axis=1)]
        return cls(corners[order], labels[order], scores[order], own[order], owners[order])

    def mean_corners(self, group: list[int]) -> np.ndarray:
        """Average the corners of a cluster by score and weight."""
        parts = self.scores[group] * self.weights[group]
        return np.average(self.corners[group], axis=0, weights=parts if parts.any() else None)

    def score(self, group: list[int]) -> float:
        """Average the scores of a cluster, times the share of the detectors that are in it."""
        _, first = np.unique(self.owners[group], return_index=True)
        present = float(self.weights[group][first].sum())
        return float(np.average(self.scores[group], weights=self.weights[group])) * min(present, 1.0)


def _gathered(pool: _Pool, clusters: dict[int, list[list[int]]], fused: dict[int, np.ndarray]) -> Detections:
    labels = [label for label, groups in sorted(clusters.items()) for _ in groups]
    scores = np.array([pool.score(group) for _, groups in sorted(clusters.items()) for group in groups])
    corners = np.concatenate([np.zeros((0, 4)), *(boxes for _, boxes in sorted(fused.items()))])
    order = np.argsort(-scores, kind="stable")
    return Detections(corners[order], np.array(labels, dtype=np.int64)[order], scores[order])
