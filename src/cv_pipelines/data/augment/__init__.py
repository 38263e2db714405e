"""Augmentations by name: one declarative list, applied alike to image, boxes, mask and keypoints.

Each builder's keyword arguments are the options of a parameters file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cv_pipelines.config import Named
from cv_pipelines.data.augment import color, geometry, mixing, pasting, presets, signals
from cv_pipelines.data.augment.geometry import Augment
from cv_pipelines.data.augment.mixing import LabelMixer, Mixer, fires, unmixed_labels
from cv_pipelines.data.augment.objects import Item, settle

CUTTING = ("photo", "resized_crop")
PICTURES = ("autoencoder", "classification", "gan")
ALL = (*PICTURES, "detection", "landmarks", "segmentation")

AUGMENTS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "amplitude": (signals.amplitude, ("activity",)),
    "aug_mix": (color.aug_mix, PICTURES),
    "blur": (color.blur, ALL),
    "boxes": (presets.boxes, ("detection",)),
    "color": (color.color, ALL),
    "copy_paste": (pasting.copy_paste, ("detection",)),
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
        needs_masks: whether some step wants the objects' masks.
    """

    def __init__(self, steps: Sequence[Named]) -> None:
        self.steps: list[Augment | Mixer] = [AUGMENTS[step.name][0](**step.options) for step in steps]
        self.cuts = bool(steps) and steps[0].name in CUTTING
        self.mixes_labels = any(isinstance(step, LabelMixer) for step in self.steps)
        self.needs_masks = any(isinstance(step, pasting.CopyPaste) for step in self.steps)

    def __call__(self, item: Item, another: Callable[[], Item]) -> Item:
        """Augment one item; where it has boxes, `dropped` counts those that were lost.

        Args:
            item: as the dataset reads it.
            another: draws one more item of the dataset, for steps that mix.
        """
        item = self._apply(settle(item), another, self.steps)
        return item | unmixed_labels(item) if self.mixes_labels and "other_label" not in item else item

    def _apply(self, item: Item, another: Callable[[], Item], steps: Sequence[Augment | Mixer]) -> Item:
        for place, step in enumerate(steps):
            # A label stands for two classes at most, so samples whose labels are mixed are not mixed again.
            if isinstance(step, LabelMixer) and "other_label" in item:
                continue
            if not isinstance(step, Mixer):
                item = settle(step(item))
            elif fires(step):
                before = [early for early in steps[:place] if not isinstance(early, LabelMixer)]
                others = [self._apply(settle(another()), another, before) for _ in range(step.others)]
                item = settle(step(item, others))
        return item
