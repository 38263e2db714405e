"""Augmentations that mix several samples; each says how many more it needs, and is given them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from cv_pipelines.data.augment.geometry import Above, Probability, Size, chance, moved, resize, size_of
from cv_pipelines.data.augment.objects import Item, joined, settle
from cv_pipelines.data.augment.pasting import CopyPaste


@dataclass(frozen=True)
class Mixup:
    """Blend two images and their labels (Zhang et al., mixup, 2018).

    Attributes:
        alpha: of the Beta distribution that the weight is drawn from.
        p: probability.
        others: how many more samples are needed.
    """

    alpha: float
    p: float
    others: int = 1

    def __call__(self, item: Item, others: list[Item]) -> Item:
        """Blend; the other image is resized to the first."""
        weight = float(torch.distributions.Beta(self.alpha, self.alpha).sample())
        image, other = item["image"], _image_of_size(others[0], size_of(item))
        blend = weight * image.float() + (1 - weight) * other.float()
        mixed = tv_tensors.Image(blend.round().to(image.dtype))
        return item | {"image": mixed} | mixed_labels(item, others[0], weight)


@dataclass(frozen=True)
class Cutmix:
    """Paste a rectangle of another image; the labels mix by area (Yun et al., CutMix, 2019).

    Attributes:
        alpha: of the Beta distribution that the share of the first image is drawn from.
        p: probability.
        others: how many more samples are needed.
    """

    alpha: float
    p: float
    others: int = 1

    def __call__(self, item: Item, others: list[Item]) -> Item:
        """Paste; the other image is resized to the first."""
        height, width = size_of(item)
        share = (1 - float(torch.distributions.Beta(self.alpha, self.alpha).sample())) ** 0.5
        tall, wide = round(share * height), round(share * width)
        y, x = int(torch.randint(height - tall + 1, ())), int(torch.randint(width - wide + 1, ()))
        image = item["image"].as_subclass(Tensor).clone()
        other = _image_of_size(others[0], (height, width))
        image[:, y : y + tall, x : x + wide] = other[:, y : y + tall, x : x + wide]
        weight = 1 - tall * wide / (height * width)
        return item | {"image": tv_tensors.Image(image)} | mixed_labels(item, others[0], weight)


@dataclass(frozen=True)
class Mosaic:
    """Tile four images with their boxes around a drawn point (Bochkovskiy et al., YOLOv4, 2020, §3.3).

    Attributes:
        size: height and width of the result, in pixels.
        p: probability.
        others: how many more samples are needed.
    """

    size: tuple[int, int]
    p: float
    others: int = 3

    def __call__(self, item: Item, others: list[Item]) -> Item:
        """Tile; each image is scaled to cover its tile, and cut to it from the middle."""
        height, width = self.size
        middle = [round(side * (0.25 + 0.5 * float(torch.rand(())))) for side in (height, width)]
        rows, columns = ((0, middle[0]), (middle[0], height)), ((0, middle[1]), (middle[1], width))
        places = [(row, column) for row in rows for column in columns]
        parts = [_tiled(one, place, self.size) for one, place in zip([item, *others], places, strict=True)]
        # Outside its tile a part is 0.
        pixels = {key: sum(part[key].as_subclass(Tensor) for part in parts) for key in _pixel_keys(item)}
        whole = {key: tv_tensors.wrap(value, like=item[key]) for key, value in pixels.items()}
        return item | joined(parts) | whole


LabelMixer = Mixup | Cutmix
Mixer = LabelMixer | Mosaic | CopyPaste


def mixup(*, alpha: Above = 0.2, p: Probability = 1.0) -> Mixup:
    """Blend two images and their labels (Zhang et al., mixup, 2018).

    Args:
        alpha: of the Beta distribution that the weight is drawn from.
        p: probability.
    """
    return Mixup(alpha, p)


def cutmix(*, alpha: Above = 1.0, p: Probability = 1.0) -> Cutmix:
    """Paste a rectangle of another image; the labels mix by area (Yun et al., CutMix, 2019).

    Args:
        alpha: of the Beta distribution that the share of the first image is drawn from.
        p: probability.
    """
    return Cutmix(alpha, p)


def mosaic(*, size: Size, p: Probability = 1.0) -> Mosaic:
    """Tile four images with their boxes around a drawn point (Bochkovskiy et al., YOLOv4, 2020, §3.3).

    Args:
        size: height and width of the result, in pixels.
        p: probability.
    """
    return Mosaic((size[0], size[1]), p)


def unmixed_labels(item: Item) -> Item:
    """Return the label keys of an item that is not mixed, in the form of one that is."""
    return mixed_labels(item, item, 1.0)


def mixed_labels(item: Item, other: Item, weight: float) -> Item:
    """Return the label keys of a mixture: `label`, `other_label` and the weight of the first.

    Labels of many classes at once are numbers already and are mixed themselves.
    """
    if "label" not in item:
        return {}
    if isinstance(item["label"], Tensor):
        return {"label": weight * item["label"] + (1 - weight) * other["label"]}
    return {"other_label": other["label"], "label_weight": weight}


def fires(mixer: Mixer) -> bool:
    """Draw whether a mixture happens."""
    return chance(mixer.p)


def _image_of_size(item: Item, size: tuple[int, int]) -> Tensor:
    image: Any = item["image"]
    return image if size_of(item) == size else F.resize(image, list(size), antialias=True)


def _pixel_keys(item: Item) -> list[str]:
    return [key for key in ("image", "mask") if key in item]


def _tiled(item: Item, place: tuple[tuple[int, int], tuple[int, int]], whole: tuple[int, int]) -> Item:
    """Bring an item to its place, ((top, bottom), (left, right)), on an empty ground of the whole size."""
    (top, bottom), (left, right) = place
    size = (bottom - top, right - left)
    factor = max(want / have for want, have in zip(size, size_of(item), strict=True))
    scaled = [max(round(have * factor), want) for want, have in zip(size, size_of(item), strict=True)]
    cut = [(have - want) // 2 for want, have in zip(size, scaled, strict=True)]
    part = settle(moved(item, lambda value: F.crop(resize(value, scaled), *cut, *size)))
    return moved(part, lambda value: F.pad(value, [left, top, whole[1] - right, whole[0] - bottom]))
