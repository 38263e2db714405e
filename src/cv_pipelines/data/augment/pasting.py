"""Copy-paste: objects of one picture are laid over another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from cv_pipelines.data.augment.geometry import Probability, moved, size_of
from cv_pipelines.data.augment.objects import Item, joined, select, settle, with_masks


@dataclass(frozen=True)
class CopyPaste:
    """Paste objects of another picture (Ghiasi et al., Simple Copy-Paste, 2021).

    Attributes:
        p: probability.
        visible: an object of which a smaller share is left uncovered goes.
        others: how many more samples are needed.
    """

    p: float
    visible: float
    others: int = 1

    def __call__(self, item: Item, others: list[Item]) -> Item:
        """Paste a drawn number of drawn objects at a drawn place, at their own scale.

        Both need `boxes` and `labels`; objects are cut out along `masks`, or along their boxes without any.
        """
        other = _placed(with_masks(others[0]), size_of(item))
        count = len(other["labels"])
        if not count:
            return item
        chosen = torch.zeros(count, dtype=torch.bool)
        chosen[torch.randperm(count)[: int(torch.randint(1, count + 1, ()))]] = True
        top = select(other, chosen) | {"dropped": 0}
        covered = top["masks"].as_subclass(Tensor).bool().any(dim=0)
        below = _behind(with_masks(item), covered, self.visible)
        image = torch.where(covered, top["image"], item["image"])
        mixed = below | joined([below, top]) | {"image": tv_tensors.Image(image)}
        if "mask" in item:
            mixed["mask"] = tv_tensors.Mask(torch.where(covered, top["mask"], item["mask"]))
        return mixed


def copy_paste(*, p: Probability = 0.5, visible: Probability = 0.1) -> CopyPaste:
    """Paste objects of another picture (Ghiasi et al., Simple Copy-Paste, 2021).

    Args:
        p: probability.
        visible: an object of which a smaller share is left uncovered goes.
    """
    return CopyPaste(p, visible)


def _placed(item: Item, size: tuple[int, int]) -> Item:
    """Cut or pad a picture to a size, at a drawn place."""
    spare = [have - want for have, want in zip(size_of(item), size, strict=True)]
    top, left = (int(torch.randint(min(room, 0), max(room, 0) + 1, ())) for room in spare)
    return settle(moved(item, lambda value: F.crop(value, top, left, *size)))


def _behind(item: Item, covered: Tensor, visible: float) -> Item:
    """Cut what is covered out of the masks of an item, and drop objects that are hardly seen any more."""
    before = item["masks"].as_subclass(Tensor)
    after = before * ~covered
    kept = after.sum(dim=(1, 2)) >= visible * before.sum(dim=(1, 2))
    return select(item | {"masks": tv_tensors.Mask(after)}, kept)
