"""Augmentations that change pixels where they are: boxes, masks and keypoints stay as they are."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from cv_pipelines.config.sections import Positive
from cv_pipelines.data.augment.geometry import Amount, Augment, Probability, Span, between, chance
from cv_pipelines.data.augment.objects import Item

EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
"""Of the RGB values (0..1) of ImageNet's training pixels, as published with fb.resnet.torch."""


def color(
    *,
    brightness: Probability = 0.2,
    contrast: Probability = 0.2,
    saturation: Probability = 0.2,
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0,
) -> Augment:
    """Shift the colours.

    Args:
        brightness: largest change of the factor on all values, 0 to 1.
        contrast: largest change of the factor on the distance from the mean grey, 0 to 1.
        saturation: largest change of the factor on the distance from grey, 0 to 1.
        hue: largest turn of the colour circle, 0 to 0.5.
    """
    return _on_image(v2.ColorJitter(brightness, contrast, saturation, hue))


def pca_color(*, deviation: Amount = 0.1) -> Augment:
    """Add a colour drawn along the main axes of natural colours (Krizhevsky et al., AlexNet, 2012, §4.1).

    Args:
        deviation: of the factor on each axis.
    """
    axes = torch.tensor(EIGENVECTORS) * torch.tensor(EIGENVALUES)

    def change(image: Tensor) -> Tensor:
        """Add one colour to all pixels; to a grey image its grey."""
        added = 255 * (axes @ (deviation * torch.randn(3)))
        added = added if image.shape[0] == 3 else added.mean()[None]
        return (image.float() + added[:, None, None]).round().clamp(0, 255).to(image.dtype)

    return _on_image(change)


def blur(*, most: Annotated[float, Field(ge=0.1)] = 2.0, p: Probability = 0.5) -> Augment:
    """Blur.

    Args:
        most: largest deviation of the Gaussian, in pixels.
        p: probability.
    """

    def change(image: Tensor) -> Tensor:
        """Blur one image, or leave it."""
        if not chance(p):
            return image
        sigma = between(0.1, most)
        side = 2 * max(round(2 * sigma), 1) + 1
        return F.gaussian_blur(image, [side, side], [sigma, sigma])

    return _on_image(change)


def noise(*, most: Amount = 10.0) -> Augment:
    """Add white noise.

    Args:
        most: largest deviation, on 0..255.
    """

    def change(image: Tensor) -> Tensor:
        """Disturb one image."""
        added = torch.randn(image.shape) * between(0, most)
        return (image.float() + added).round().clamp(0, 255).to(image.dtype)

    return _on_image(change)


def erase(*, p: Probability = 0.5, scale: Span = (0.02, 0.33)) -> Augment:
    """Blank a random rectangle (Zhong et al., Random Erasing Data Augmentation, 2020).

    Boxes and masks stay: what is hidden has to be guessed from what is around it.

    Args:
        p: probability.
        scale: smallest and largest share of the area.
    """
    return _on_image(v2.RandomErasing(p, (scale[0], scale[1])))


def rand_augment(*, steps: Positive = 2, magnitude: Annotated[int, Field(ge=0, le=30)] = 9) -> Augment:
    """Apply a few changes of one strength, drawn from fourteen (Cubuk et al., RandAugment, 2020).

    Some of them move pixels, so it is for images without boxes and masks.

    Args:
        steps: how many.
        magnitude: strength, 0 to 30.
    """
    return _on_image(v2.RandAugment(steps, magnitude))


def aug_mix(*, severity: Annotated[int, Field(ge=1, le=10)] = 3, width: Positive = 3) -> Augment:
    """Mix differently changed copies of an image (Hendrycks et al., AugMix, 2020).

    Args:
        severity: strength of each change, 1 to 10.
        width: copies.
    """
    return _on_image(v2.AugMix(severity, width))


def _on_image(change: Any) -> Augment:
    """Return a change of an image as a function of an item."""

    def augment(item: Item) -> Item:
        """Change the image of one item."""
        return item | {"image": tv_tensors.Image(change(item["image"]))}

    return augment
