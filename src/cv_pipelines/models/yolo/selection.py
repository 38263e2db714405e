"""The detections of an image, out of what is found at all places of a grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms


@dataclass(frozen=True)
class Selection:
    """Thresholds, and non-maximum suppression within each class.

    Attributes:
        score_threshold: detections below are dropped, 0 to 1.
        nms_threshold: IoU above which the weaker of two boxes of a class is dropped, 0 to 1.
        candidates: so many of the best enter the suppression.
        max_detections: kept an image.
    """

    score_threshold: float
    nms_threshold: float
    candidates: int
    max_detections: int

    def __call__(self, boxes: Tensor, scores: Tensor) -> dict[str, Tensor]:
        """Choose detections; a place may give one of several classes.

        Args:
            boxes: (P, 4) XYXY.
            scores: (P, classes), 0 to 1.

        Returns:
            `boxes` (K, 4), `labels` (K,), `scores` (K,), best first.
        """
        places, labels = torch.nonzero(scores > self.score_threshold, as_tuple=True)
        found = scores[places, labels]
        best = found.topk(min(self.candidates, len(found))).indices
        places, labels, found = places[best], labels[best], found[best]
        kept = batched_nms(boxes[places], found, labels, self.nms_threshold)[: self.max_detections]
        return {"boxes": boxes[places[kept]], "labels": labels[kept], "scores": found[kept]}
