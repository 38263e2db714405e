"""The objects of an item: what it holds an entry an object of is kept, dropped and counted together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

Item = dict[str, Any]

PER_OBJECT = ("boxes", "labels", "masks", "keypoints", "visibility")
"""Keys with an entry an object: (K, 4) XYXY, (K,), (K, H, W) of 0 and 1, (K, P, 2), (K, P)."""

SMALLEST = 2
"""Pixels: a box with a shorter side shows nothing."""


def settle(item: Item) -> Item:
    """Bring the objects of an item in order after a change; an item without boxes stays as it is.

    Masks keep 0 and 1, boxes shrink to what their masks still show and to the image, degenerate boxes go
    with all that belongs to them, points outside the image become invisible.
    """
    if "boxes" not in item:
        return item
    item = drop_degenerate(_fitted(item) if "masks" in item else item)
    if "visibility" in item and "keypoints" in item:
        height, width = item["keypoints"].canvas_size
        x, y = item["keypoints"].as_subclass(Tensor).unbind(-1)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        item = item | {"visibility": torch.where(inside, item["visibility"], 0)}
    return item


def drop_degenerate(item: Item) -> Item:
    """Cut boxes to the image, drop those with a side below two pixels; `dropped` counts them."""
    inside = F.clamp_bounding_boxes(item["boxes"])
    _, kept = F.sanitize_bounding_boxes(inside, min_size=SMALLEST)
    return select(item | {"boxes": inside}, kept)


def select(item: Item, kept: Tensor) -> Item:
    """Keep some objects with all that belongs to them; `dropped` grows by the number of the others.

    Args:
        item: with boxes.
        kept: (K,) bool.
    """
    dropped = item.get("dropped", 0) + int(torch.count_nonzero(~kept))
    return item | {key: _like(item[key][kept], item[key]) for key in _keys(item)} | {"dropped": dropped}


def joined(items: Sequence[Item]) -> Item:
    """Return the objects of several items of one image size, under the keys that the first one has."""
    found = {key: _like(torch.cat([item[key] for item in items]), items[0][key]) for key in _keys(items[0])}
    return found | {"dropped": sum(item.get("dropped", 0) for item in items)}


def with_masks(item: Item) -> Item:
    """Return an item whose objects have masks: the boxes' rectangles where it has none."""
    return item if "masks" in item else item | {"masks": rectangles(item["boxes"])}


def rectangles(boxes: tv_tensors.BoundingBoxes) -> tv_tensors.Mask:
    """Return each box as a mask, (K, H, W) uint8, of all pixels that it touches."""
    x1, y1, x2, y2 = boxes.as_subclass(Tensor).unbind(1)
    rows, columns = (torch.arange(side) for side in boxes.canvas_size)
    tall = (rows >= y1.floor()[:, None]) & (rows < y2.ceil()[:, None])
    wide = (columns >= x1.floor()[:, None]) & (columns < x2.ceil()[:, None])
    return tv_tensors.Mask((tall[:, :, None] & wide[:, None]).to(torch.uint8))


def extents(masks: Tensor) -> Tensor:
    """Return the tight box of each mask, (K, 4) float32 XYXY; zeros for an empty one.

    Args:
        masks: (K, H, W); what is not 0 counts.
    """
    shown = masks.as_subclass(Tensor) != 0
    (x1, x2), (y1, y2) = _span(shown.any(dim=1)), _span(shown.any(dim=2))
    return torch.stack([x1, y1, x2, y2], dim=1).float()


def _span(shown: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the true values of each row of (K, L) begin and end."""
    some, counts = shown.any(dim=1), shown.to(torch.uint8)
    end = shown.shape[1] - counts.flip(1).argmax(dim=1)
    return torch.where(some, counts.argmax(dim=1), 0), torch.where(some, end, 0)


def _fitted(item: Item) -> Item:
    # Movements fill what lies outside the image with void, which is no object.
    masks = tv_tensors.Mask((item["masks"] == 1).to(torch.uint8))
    tight, corners = extents(masks), item["boxes"].as_subclass(Tensor)
    both = [torch.maximum(corners[:, :2], tight[:, :2]), torch.minimum(corners[:, 2:], tight[:, 2:])]
    return item | {"masks": masks, "boxes": _like(torch.cat(both, dim=1), item["boxes"])}


def _keys(item: Item) -> list[str]:
    return [key for key in PER_OBJECT if key in item]


def _like(value: Tensor, like: Tensor) -> Tensor:
    return tv_tensors.wrap(value, like=like) if isinstance(like, tv_tensors.TVTensor) else value
