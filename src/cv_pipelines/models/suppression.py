"""Which of a detector's overlapping boxes are kept, and with which score: one function for all detectors.

A detector answers at many places, and several answers are of one object. Non-maximum suppression keeps the
surest of them; where objects of a class truly overlap, it also loses some. Soft ways lower scores instead.
Weighted box fusion, which averages boxes of several models or views, is `tasks.fusion`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_iou

from cv_pipelines.config.suppression import Suppression


def suppress(
    boxes: Tensor, scores: Tensor, labels: Tensor, rule: Suppression | None = None
) -> tuple[Tensor, Tensor]:
    """Choose among the boxes of one image.

    Args:
        boxes: (N, 4) float, x1, y1, x2, y2 in pixels.
        scores: (N,) float, 0 to 1.
        labels: (N,) int, the class of each box.
        rule: how; `Suppression()` if not given.

    Returns:
        (K,) int64 indices of the kept boxes, surest first, and (K,) their scores. Among boxes of one score
        the first of the N is the surer one.
    """
    rule = rule or Suppression()
    order = torch.argsort(scores, descending=True, stable=True)
    order = order[scores[order] >= rule.score_threshold][: rule.candidates]
    boxes, kept_scores = boxes[order].float(), scores[order]
    groups = labels[order] if rule.by_class else torch.zeros_like(order)
    if rule.name == "nms":
        kept = batched_nms(boxes, kept_scores.float(), groups, 0.5 if rule.overlap is None else rule.overlap)
        # batched_nms says nothing of the order among equal scores
        kept = kept.sort().values[: rule.max_detections]
        return order[kept], kept_scores[kept]
    if rule.name == "soft_nms":
        kept_scores = _soft(boxes, kept_scores, groups, rule)
    elif rule.name == "matrix_nms":
        kept_scores = _matrix(boxes, kept_scores, groups, rule)
    final = torch.argsort(kept_scores, descending=True, stable=True)
    final = final[kept_scores[final] >= rule.score_threshold][: rule.max_detections]
    return order[final], kept_scores[final]


def suppressed(found: dict[str, Tensor], rule: Suppression) -> dict[str, Tensor]:
    """Choose among what a detector found in one image, and whatever it says of each box.

    Args:
        found: `boxes` (N, 4), `labels` (N,), `scores` (N,), and any other tensor with a row a box, such as
            `masks` or `keypoints`.
        rule: how.

    Returns:
        The same keys with K rows, surest first.
    """
    kept, scores = suppress(found["boxes"], found["scores"], found["labels"], rule)
    return {name: scores if name == "scores" else values[kept] for name, values in found.items()}


def _overlaps(boxes: Tensor, groups: Tensor) -> Tensor:
    """Return the (N, N) IoU of boxes of one group; 0 between groups."""
    same = groups[:, None] == groups[None]
    # boxes without area have an IoU of 0 / 0 with each other
    return torch.nan_to_num(box_iou(boxes, boxes)) * same


def _kept_share(overlap: Tensor, rule: Suppression) -> Tensor:
    """Return what is left of a score where a surer box overlaps by so much."""
    if rule.kernel == "linear":
        return 1 - overlap
    return torch.exp(-(overlap**2) / (0.5 if rule.sigma is None else rule.sigma))


def _soft(boxes: Tensor, scores: Tensor, groups: Tensor, rule: Suppression) -> Tensor:
    """Lower scores box by box: the surest that is left stays, and lowers all that are not chosen yet."""
    overlap = _overlaps(boxes, groups)
    share = _kept_share(overlap, rule)
    if rule.kernel == "linear":
        share = torch.where(overlap >= (0.3 if rule.overlap is None else rule.overlap), share, 1.0)
    scores, left = scores.clone(), torch.ones_like(scores, dtype=torch.bool)
    for _ in range(len(scores)):
        best = torch.where(left, scores, -1.0).argmax()
        if scores[best] < rule.score_threshold:
            break
        left[best] = False
        scores = torch.where(left, scores * share[best], scores)
    return scores


def _matrix(boxes: Tensor, scores: Tensor, groups: Tensor, rule: Suppression) -> Tensor:
    """Lower all scores at once; boxes are in order of score (Wang et al. 2020, eq. 4 and 5).

    Box i lowers a less sure box j by f(o_ij), but as much less as i itself is likely to be suppressed, which
    is f(o_ki) for the surer k that overlaps i most: the score of j is multiplied by the least
    f(o_ij) / f(o_ki).
    """
    if not len(scores):
        return scores
    overlap = _overlaps(boxes, groups).triu(diagonal=1)  # of (surer, less sure)
    most = overlap.max(dim=0).values
    own = _kept_share(most, rule).clamp_min(torch.finfo(overlap.dtype).tiny)
    factors = _kept_share(overlap, rule) / own[:, None]
    # no pair: those on and below the diagonal
    factors = torch.where(torch.ones_like(factors, dtype=torch.bool).triu(1), factors, 1.0)
    return scores * factors.min(dim=0).values.clamp_max(1.0)
