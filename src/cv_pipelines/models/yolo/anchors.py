"""Anchors, the box shapes that predictions start from: found by k-means, judged by what they can reach."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from cv_pipelines.errors import AnchorError
from cv_pipelines.models.yolo.letterbox import Resize

ITERATIONS = 300
"""Most rounds of k-means; it settles long before."""

Matches = Callable[[Tensor, Tensor], Tensor]
"""Maps sizes (N, 2) and anchors (K, 2) to (N, K) bool: whether a rule lets an anchor learn a box."""


def shape_iou(sizes: Tensor, anchors: Tensor) -> Tensor:
    """Return the IoU of boxes that share a centre, (N, K), 0 to 1.

    Args:
        sizes: (N, 2) width, height.
        anchors: (K, 2) width, height.
    """
    shared = torch.minimum(sizes[:, None], anchors[None]).prod(dim=2)
    areas = sizes.prod(dim=1)[:, None] + anchors.prod(dim=1)[None]
    return shared / (areas - shared)


def overlaps_enough(sizes: Tensor, anchors: Tensor, least: float = 0.5) -> Tensor:
    """Apply the rule of YOLOv3: box and anchor, with a common centre, have at least this IoU."""
    return shape_iou(sizes, anchors) >= least


def like_enough(sizes: Tensor, anchors: Tensor, largest: float = 4.0) -> Tensor:
    """Apply the rule of YOLOv5: no side of box or anchor is this many times the other's."""
    ratio = sizes[:, None] / anchors[None]
    return torch.maximum(ratio, 1 / ratio).amax(dim=2) < largest


def mean_iou(sizes: Tensor, anchors: Tensor) -> float:
    """Return the mean IoU of boxes with their closest anchor (Redmon & Farhadi 2017, table 1), 0 to 1."""
    return float(shape_iou(sizes, anchors).amax(dim=1).mean())


def best_recall(sizes: Tensor, anchors: Tensor, matches: Matches) -> float:
    """Return the share of boxes that at least one anchor may learn, 0 to 1.

    Args:
        sizes: (N, 2) width, height; at least one.
        anchors: (K, 2) width, height.
        matches: the rule.
    """
    return float(matches(sizes, anchors).any(dim=1).float().mean())


def in_input(sizes: np.ndarray, images: np.ndarray, size: int, resize: Resize = "letterbox") -> Tensor:
    """Return the sizes that boxes have in the input; boxes without area are left out.

    Args:
        sizes: (N, 2) width and height of each box, in pixels of its image.
        images: (N, 2) width and height of that image.
        size: side of the input, in pixels.
        resize: how images are brought to it.

    Returns:
        (M, 2) float32.
    """
    scaled = sizes * (size / (images if resize == "stretch" else images.max(axis=1, keepdims=True)))
    return torch.from_numpy(scaled[(scaled > 0).all(axis=1)].astype(np.float32))


def find_anchors(sizes: Tensor, count: int, seed: int = 0) -> Tensor:
    """Cluster box shapes by k-means with the distance 1 - IoU (Redmon & Farhadi 2017 §2).

    The first centres are drawn as in k-means++ (Arthur & Vassilvitskii 2007), by that distance.

    Args:
        sizes: (N, 2) width and height in pixels, above 0.
        count: how many anchors.
        seed: of the drawing.

    Returns:
        (count, 2) width and height, the smallest area first.

    Raises:
        AnchorError: there are fewer different shapes than anchors.
    """
    kinds = len(sizes.unique(dim=0))  # type: ignore[no-untyped-call]
    if kinds < count:
        raise AnchorError(f"{count} anchors: the boxes have only {kinds} different shapes; that is the most")
    generator = torch.Generator().manual_seed(seed)
    centres = _first_centres(sizes, count, generator)
    nearest = torch.full((len(sizes),), -1)
    for _ in range(ITERATIONS):
        overlap, now = shape_iou(sizes, centres).max(dim=1)
        for empty in set(range(count)) - set(now.unique().tolist()):  # type: ignore[no-untyped-call]
            now[overlap.argmin()] = empty  # it takes the box that is served worst
            overlap[overlap.argmin()] = 1.0
        if torch.equal(now, nearest):
            break
        nearest = now
        centres = torch.stack([sizes[nearest == k].mean(dim=0) for k in range(count)])
    return centres[centres.prod(dim=1).argsort()]


def _first_centres(sizes: Tensor, count: int, generator: torch.Generator) -> Tensor:
    chosen = [int(torch.randint(len(sizes), (), generator=generator))]
    while len(chosen) < count:
        distance = (1 - shape_iou(sizes, sizes[chosen]).amax(dim=1)).clamp(min=0)
        distance[chosen] = 0.0
        chosen.append(int(torch.multinomial(distance.square(), 1, generator=generator)))
    return sizes[chosen]


def check_anchors(sizes: Tensor, anchors: Tensor, matches: Matches, least: float) -> float:
    """Return the best recall of anchors on the boxes that are to be learnt.

    Args:
        sizes: (N, 2) width and height in pixels of the input.
        anchors: (K, 2) width, height.
        matches: the rule by which an anchor may learn a box.
        least: recall that they have to reach, 0 to 1.

    Raises:
        AnchorError: they do not, or they fit no box at all.
    """
    if len(sizes) == 0:
        return 1.0
    recall = best_recall(sizes, anchors, matches)
    if recall < least or recall == 0:
        typical = " × ".join(f"{side:.1f}" for side in sizes.median(dim=0).values)
        raise AnchorError(
            f"model.anchors: {anchors.round(decimals=1).tolist()} fit the {len(sizes)} boxes of the train "
            f"split badly: best recall {recall:.3f}, expected at least {max(least, 1 / len(sizes)):.3f} "
            f"(model.least_recall); mean IoU with the closest anchor {mean_iou(sizes, anchors):.3f}; the "
            f"median box is {typical} pixels of the model's input. `kedro cv anchors` finds better ones"
        )
    return recall
