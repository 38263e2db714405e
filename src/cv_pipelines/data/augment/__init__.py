"""Augmentations by name: one declarative list, applied alike to image, boxes, mask and keypoints.

Each builder's keyword arguments are the options of a parameters file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torchvision.transforms import v2

from cv_pipelines.config import Named
from cv_pipelines.data.augment import color, geometry, mixing, presets, signals
from cv_pipelines.data.augment.geometry import Augment, Item
from cv_pipelines.data.augment.mixing import Mixer, fires, unmixed_labels

CUTTING = ("photo", "resized_crop")
PICTURES = ("autoencoder", "classification", "gan")
ALL = (*PICTURES, "detection", "segmentation")

AUGMENTS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "amplitude": (signals.amplitude, ("activity",)),
    "aug_mix": (color.aug_mix, PICTURES),
    "blur": (color.blur, ALL),
    "boxes": (presets.boxes, ("detection",)),
    "color": (color.color, ALL),
    "crop": (geometry.crop, ALL),
    "cutmix": (mixing.cutmix, ("classification",)),
    "dropout": (signals.dropout, ("activity",)),
    "erase": (color.erase, ALL),
    "jitter": (signals.jitter, ("activity",)),
    "mirror": (geometry.mirror, ALL),
    "mixup": (mixing.mixup, ("classification",)),
    "mosaic": (mixing.mosaic, ("detection",)),
    "noise": (color.noise, ALL),
    "orientation": (signals.orientation, ("activity",)),
    "overlap_crop": (geometry.overlap_crop, ("detection",)),
    "pca_color": (color.pca_color, ALL),
    "photo": (presets.photo, ("classification",)),
    "rand_augment": (color.rand_augment, PICTURES),
    "rescale": (geometry.rescale, ALL),
    "resized_crop": (geometry.resized_crop, ALL),
    "rotate": (geometry.rotate, ALL),
    "scene": (presets.scene, ("segmentation",)),
    "shear": (geometry.shear, ALL),
    "shift": (geometry.shift, ALL),
    "signal": (presets.signal, ("activity",)),
    "small_image": (presets.small_image, PICTURES),
    "stretch": (geometry.stretch, ALL),
    "time_warp": (signals.time_warp, ("activity",)),
    "turn": (signals.turn, ("activity",)),
    "warp": (geometry.warp, ALL),
    "zoom_out": (geometry.zoom_out, ("detection",)),
}
"""Name to builder, and to the tasks whose targets it keeps right."""


class Chain:
    """Augmentations one after the other.

    Args:
        steps: names and options, in order.

    Attributes:
        cuts: whether the first step cuts a region out of the whole image and resizes that, so that the image
            must not be resized before it.
    """

    def __init__(self, steps: Sequence[Named]) -> None:
        self.steps: list[Augment | Mixer] = [AUGMENTS[step.name][0](**step.options) for step in steps]
        self.cuts = bool(steps) and steps[0].name in CUTTING
        self.mixes = any(isinstance(step, Mixer) for step in self.steps)

    def __call__(self, item: Item, another: Callable[[], Item]) -> Item:
        """Augment one item.

        Args:
            item: as the dataset reads it.
            another: draws one more item of the dataset, for steps that mix.
        """
        item = self._apply(item, another, len(self.steps))
        if self.mixes and "other_label" not in item:
            item = item | unmixed_labels(item)
        return drop_degenerate(item) if "boxes" in item else item

    def _apply(self, item: Item, another: Callable[[], Item], count: int) -> Item:
        for place, step in enumerate(self.steps[:count]):
            if not isinstance(step, Mixer):
                item = step(item)
            elif fires(step):
                others = [self._apply(another(), another, place) for _ in range(step.others)]
                item = step(item, others)
        return item


def drop_degenerate(item: Item) -> Item:
    """Drop boxes with a side below two pixels, with their labels; `dropped` counts them."""
    before = len(item["boxes"])
    inside = v2.functional.clamp_bounding_boxes(item["boxes"])
    boxes, kept = v2.functional.sanitize_bounding_boxes(inside, min_size=2)
    dropped = before - int(torch.count_nonzero(kept))
    return item | {"boxes": boxes, "labels": item["labels"][kept], "dropped": dropped}
