"""Augmentations in common use, each under one name: good first choices for a task."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from cv_pipelines.data.augment import geometry, signals
from cv_pipelines.data.augment.geometry import FILL, Amount, Augment, Probability, Size, Span, Stretch
from cv_pipelines.data.augment.objects import Item, settle


def small_image(
    *,
    padding: Annotated[int, Field(ge=0)] = 1,
    flip: bool = False,
    rotation: Amount = 0.0,
    erase: Probability = 0.0,
) -> Augment:
    """Shift, mirror, turn and partly erase small images (digits, clothes).

    Args:
        padding: largest shift, in pixels.
        flip: mirror half of the images.
        rotation: largest turn, in degrees.
        erase: probability that a random rectangle is blanked (Zhong et al. 2020), 0 to 1.
    """
    erasing = v2.RandomErasing(erase) if erase else None

    def augment(item: Item) -> Item:
        """Augment one image."""
        # Plain tensor operations: a pipeline of transforms costs more than the network on such images.
        image = item["image"].as_subclass(Tensor)
        if flip and torch.rand(()) < 0.5:
            image = image.flip(-1)
        dy, dx = torch.randint(-padding, padding + 1, (2,)).tolist()
        if rotation:
            angle = float(torch.empty(()).uniform_(-rotation, rotation))
            mode = v2.InterpolationMode.BILINEAR
            image = v2.functional.affine_image(image, angle, [dx, dy], 1.0, [0.0, 0.0], mode)
        elif padding:
            padded = torch.nn.functional.pad(image, (padding,) * 4)
            h, w = image.shape[-2:]
            image = padded[:, padding + dy : padding + dy + h, padding + dx : padding + dx + w]
        return item | {"image": tv_tensors.Image(erasing(image) if erasing else image)}

    return augment


def photo(
    *,
    size: Size,
    scale: Span = (0.35, 1.0),
    flip: bool = True,
    color: Probability = 0.2,
) -> Augment:
    """Crop and resize (Szegedy et al. 2015), mirror and recolour photographs.

    Args:
        size: height and width of the result, in pixels.
        scale: smallest and largest share of the area that a crop keeps.
        flip: mirror half of the images.
        color: strength of brightness, contrast and saturation changes, 0 to 1.
    """
    steps: list[Any] = [v2.RandomResizedCrop(size, scale=(scale[0], scale[1]), antialias=True)]
    steps += [v2.RandomHorizontalFlip()] if flip else []
    steps += [v2.ColorJitter(color, color, color)] if color else []
    return v2.Compose(steps)


def scene(
    *,
    crop: Size,
    scale: Span = (0.75, 1.5),
    flip: bool = True,
    color: Probability = 0.2,
) -> Augment:
    """Rescale, crop, mirror and recolour an image and its mask; what lies outside the image is void.

    Args:
        crop: height and width of the result, in pixels.
        scale: smallest and largest factor on the image size.
        flip: mirror half of the images.
        color: strength of brightness, contrast and saturation changes, 0 to 1.
    """
    steps: list[Any] = [
        _Rescale(scale[0], scale[1]),
        v2.RandomCrop(crop, pad_if_needed=True, fill=FILL),
    ]
    steps += [v2.RandomHorizontalFlip()] if flip else []
    steps += [v2.ColorJitter(color, color, color)] if color else []
    return v2.Compose(steps)


class _Rescale(v2.Transform):
    """Resize by a factor drawn between two bounds, whatever the image size."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the factor; the new (height, width) in pixels."""
        factor = self.low + (self.high - self.low) * float(torch.rand(()))
        image = next(i for i in flat_inputs if isinstance(i, tv_tensors.Image))
        return {"size": [round(image.shape[-2] * factor), round(image.shape[-1] * factor)]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Resize one image, box or mask."""
        return self._call_kernel(v2.functional.resize, inpt, size=params["size"], antialias=True)


def boxes(
    *, flip: bool = True, color: Probability = 0.2, crop: bool = True, zoom_out: Stretch = 1.0
) -> Augment:
    """Mirror, recolour and crop an image with its boxes (SSD's crops, Liu et al. 2016 §2.2).

    Args:
        flip: mirror half of the images.
        color: strength of brightness, contrast and saturation changes, 0 to 1.
        crop: cut regions of a minimal overlap with some box.
        zoom_out: largest factor by which half of the images are shrunk into a larger ground; 1 for never.
    """
    steps: list[Any] = [geometry.zoom_out(most=zoom_out)] if zoom_out > 1 else []
    steps += [geometry.overlap_crop()] if crop else []
    steps += [geometry.mirror()] if flip else []
    steps += [v2.ColorJitter(color, color, color)] if color else []

    def augment(item: Item) -> Item:
        """Augment one image with its boxes."""
        for step in steps:
            item = step(item)
        return settle(item)

    return augment


def signal(*, rotation: Amount = 0.15, scale: Amount = 0.1, noise: Amount = 0.05) -> Augment:
    """Turn, scale and disturb a window of tri-axial sensors (as if the phone sat otherwise in the pocket).

    Channels are triples (x, y, z); all triples turn together.

    Args:
        rotation: deviation of the turn's angle about a random axis, in radians.
        scale: deviation of the factor around 1.
        noise: deviation of white noise, in units of each channel's deviation in the window.
    """

    def augment(item: Item) -> Item:
        """Augment one window."""
        x: Tensor = item["signal"]
        turned = (signals.rotation(rotation) @ x.view(-1, 3, x.shape[-1])).view_as(x)
        factor = 1.0 + scale * torch.randn(())
        spread = x.std(dim=1, keepdim=True)
        return item | {"signal": turned * factor + noise * spread * torch.randn_like(x)}

    return augment
