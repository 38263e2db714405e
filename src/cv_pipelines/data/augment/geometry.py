"""Augmentations that move pixels: image, boxes, mask and keypoints move together.

Each builder gives a function of one item (see `datasets.SampleDataset`). torchvision.transforms.v2 moves what
is marked as image, boxes, mask or keypoints; angles are degrees, lengths shares of the image's side.
Between the steps of a chain, `objects.settle` brings boxes and the objects' masks in order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from cv_pipelines.config.sections import Positive
from cv_pipelines.data.augment.objects import Item, extents, with_masks
from cv_pipelines.data.schema import IGNORE_INDEX

Augment = Callable[[Item], Item]

Above = Annotated[float, Field(gt=0)]
Amount = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[list[Positive], Field(min_length=2, max_length=2)]
Stretch = Annotated[float, Field(ge=1)]
Span = Annotated[Sequence[Above], Field(min_length=2, max_length=2)]
"""What options may be: a parameters file is checked against these before anything runs."""

FILL: dict[Any, Any] = {tv_tensors.Image: 0, tv_tensors.Mask: IGNORE_INDEX}
"""What lies outside the image: black, and void in a mask."""

BILINEAR = v2.InterpolationMode.BILINEAR


def chance(p: float) -> bool:
    """Draw whether something of probability `p` happens."""
    return torch.rand(()).item() < p


def between(low: float, high: float) -> float:
    """Draw a number evenly between two bounds."""
    return low + (high - low) * float(torch.rand(()))


def size_of(item: Item) -> tuple[int, int]:
    """Return height and width of an item's image."""
    height, width = item["image"].shape[-2:]
    return int(height), int(width)


def moved(item: Item, move: Callable[[Any], Any]) -> Item:
    """Apply one movement to image, boxes, mask and keypoints of an item.

    Args:
        item: whose entries move.
        move: gets the image as a plain tensor, for each operation on a marked one costs as much as the work.
    """

    def apply(value: Any) -> Any:
        """Move what is marked."""
        if isinstance(value, tv_tensors.Image):
            return move(value.as_subclass(torch.Tensor)).as_subclass(tv_tensors.Image)
        return move(value) if isinstance(value, tv_tensors.TVTensor) else value

    return {key: apply(value) for key, value in item.items()}


def resize(value: Any, size: Sequence[int]) -> Any:
    """Resize an image (a plain tensor), boxes, a mask or keypoints, as `F.resize` does.

    Torch's kernel for bytes takes half the time where the channels of a pixel lie together, as in decoded
    images; but in a view of such an image, a crop, it sees that only by the stride of the batch.

    Args:
        value: (C, H, W) if it is an image.
        size: height and width of the result, in pixels.
    """
    if isinstance(value, tv_tensors.TVTensor) or value.dtype != torch.uint8:
        return F.resize(value, list(size), antialias=True)
    pixels = value.permute(1, 2, 0)
    if pixels.stride(2) != 1:
        pixels = pixels.contiguous()
    batch = pixels[None].permute(0, 3, 1, 2)
    return torch.nn.functional.interpolate(batch, tuple(size), mode="bilinear", antialias=True)[0]


def mirror(*, p: Probability = 0.5) -> Augment:
    """Mirror left and right.

    Keypoints that have a side swap names: `keypoint_pairs` of the item says which point each becomes.

    Args:
        p: probability.
    """

    def augment(item: Item) -> Item:
        """Mirror one item, or leave it."""
        if not chance(p):
            return item
        item = moved(item, F.horizontal_flip)
        if "keypoints" in item and "keypoint_pairs" in item:
            points, pairs = item["keypoints"], item["keypoint_pairs"]
            item["keypoints"] = tv_tensors.wrap(points.as_subclass(torch.Tensor)[..., pairs, :], like=points)
            if "visibility" in item:
                item["visibility"] = item["visibility"][..., pairs]
        return item

    return augment


def crop(*, size: Size, padding: Annotated[int, Field(ge=0)] = 0) -> Augment:
    """Cut a region of a fixed size at a random place; smaller images are padded.

    Args:
        size: height and width of the result, in pixels.
        padding: pixels added on each side first.
    """
    return _kept(v2.RandomCrop(size, padding=padding or None, pad_if_needed=True, fill=FILL))


def resized_crop(*, size: Size, scale: Span = (0.35, 1.0), ratio: Stretch = 4 / 3) -> Augment:
    """Cut a region of a random size and resize it (Szegedy et al., Going Deeper with Convolutions, 2015, §6).

    Args:
        size: height and width of the result, in pixels.
        scale: smallest and largest share of the area that a crop keeps.
        ratio: largest ratio of the crop's longer to its shorter side.
    """

    def augment(item: Item) -> Item:
        """Cut and resize one item."""
        region = _region(size_of(item), (scale[0], scale[1]), ratio)
        return moved(item, lambda value: resize(F.crop(value, *region), size))

    return augment


def _region(size: tuple[int, int], scale: tuple[float, float], ratio: float) -> tuple[int, int, int, int]:
    """Draw top, left, height and width of a region; the middle square of the image if ten drawings miss it.

    v2.RandomResizedCrop draws the same with small tensors, which takes as long as the cut and the resize.
    """
    height, width = size
    for share, shape, down, right in torch.rand(10, 4).tolist():
        area = (scale[0] + (scale[1] - scale[0]) * share) * height * width
        aspect = ratio ** (2 * shape - 1)
        tall, wide = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < tall <= height and 0 < wide <= width:
            return int(down * (height - tall + 1)), int(right * (width - wide + 1)), tall, wide
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def overlap_crop() -> Augment:
    """Cut a region that overlaps some box by a drawn share (Liu et al., SSD, 2016, §2.2)."""
    step = _kept(v2.RandomIoUCrop())
    # Without a box torchvision tries in vain for long.
    return lambda item: step(item) if len(item["boxes"]) else item


def zoom_out(*, most: Stretch = 2.0, p: Probability = 0.5) -> Augment:
    """Shrink the image into a larger grey ground (Liu et al., SSD, 2016, §3.6).

    Args:
        most: largest factor.
        p: probability.
    """
    fill: dict[Any, Any] = {tv_tensors.Image: 127, tv_tensors.Mask: IGNORE_INDEX}
    return _kept(v2.RandomZoomOut(fill=fill, side_range=(1.0, most), p=p))


def rescale(*, low: Above = 0.75, high: Above = 1.5) -> Augment:
    """Resize by one factor for both sides.

    Args:
        low: smallest factor.
        high: largest factor.
    """

    def augment(item: Item) -> Item:
        """Resize one item."""
        factor = between(low, high)
        return _resized(item, factor, factor)

    return augment


def stretch(*, most: Stretch = 1.3) -> Augment:
    """Resize by a factor of its own for each side.

    Args:
        most: largest factor; its inverse is the smallest.
    """

    def augment(item: Item) -> Item:
        """Resize one item."""
        tall, wide = (math.exp(between(-math.log(most), math.log(most))) for _ in range(2))
        return _resized(item, tall, wide)

    return augment


def _resized(item: Item, tall: float, wide: float) -> Item:
    height, width = size_of(item)
    size = [max(round(height * tall), 1), max(round(width * wide), 1)]
    return moved(item, lambda value: resize(value, size))


def rotate(*, degrees: Amount = 10.0) -> Augment:
    """Turn about the middle.

    Args:
        degrees: largest angle to either side.
    """

    def augment(item: Item) -> Item:
        """Turn one item."""
        return _affine(item, angle=between(-degrees, degrees))

    return augment


def shift(*, most: Probability = 0.1) -> Augment:
    """Move up, down and to the sides.

    Args:
        most: largest move, as a share of the side.
    """

    def augment(item: Item) -> Item:
        """Move one item by whole pixels."""
        height, width = size_of(item)
        moves = [round(between(-most, most) * width), round(between(-most, most) * height)]
        return _affine(item, translate=moves)

    return augment


def shear(*, degrees: Amount = 10.0) -> Augment:
    """Slant along both sides.

    Args:
        degrees: largest angle to either side.
    """

    def augment(item: Item) -> Item:
        """Slant one item."""
        return _affine(item, shear=[between(-degrees, degrees), between(-degrees, degrees)])

    return augment


def _affine(
    item: Item, angle: float = 0.0, translate: Sequence[int] = (0, 0), shear: Sequence[float] = (0.0, 0.0)
) -> Item:
    def move(value: Any) -> Any:
        """Move image, boxes, mask or keypoints."""
        smooth = {} if isinstance(value, tv_tensors.TVTensor) else {"interpolation": BILINEAR}
        fill = FILL.get(type(value), 0)
        return F.affine(value, angle, list(translate), 1.0, list(shear), fill=fill, **smooth)

    return moved(item, move)


def warp(*, strength: Amount = 0.02, smoothness: Above = 0.2) -> Augment:
    """Warp locally, as through uneven glass (Ronneberger et al., U-Net, 2015, §3.1).

    Movements are drawn on a coarse grid and change smoothly between its knots.

    Args:
        strength: deviation of the movement of a knot, as a share of the longer side.
        smoothness: distance of the knots, as a share of the longer side; several times the strength, or the
            image folds.
    """

    def augment(item: Item) -> Item:
        """Warp one item."""
        field = _waves(size_of(item), strength, smoothness)

        def move(value: Any) -> Any:
            """Move image, boxes, mask or keypoints."""
            return F.elastic(value, field, fill=FILL.get(type(value), 0))

        if "boxes" not in item:
            return moved(item, move)
        # The sides of a box bend, so its corners do not tell where its object ends: a mask does.
        found = moved(with_masks(item), move)
        tight = extents(found["masks"] == 1)
        found["boxes"] = tv_tensors.wrap(tight, like=found["boxes"])
        return found if "masks" in item else {key: found[key] for key in item}

    return augment


def _waves(size: tuple[int, int], strength: float, smoothness: float) -> torch.Tensor:
    """Draw a smooth field of displacements, (1, H, W, 2) as x, y in halves of the image's sides."""
    longer = max(size)
    knots = [max(round(side / (smoothness * longer)), 1) + 1 for side in size]
    drawn = strength * longer * torch.randn(1, 2, *knots)
    pixels = torch.nn.functional.interpolate(drawn, size, mode="bicubic", align_corners=True)
    return pixels.permute(0, 2, 3, 1) * 2 / torch.tensor([size[1], size[0]])


def _kept(step: v2.Transform) -> Augment:
    """Return a transform of torchvision as a function of an item."""

    def augment(item: Item) -> Item:
        """Transform one item."""
        found: Item = step(item)
        return found

    return augment
