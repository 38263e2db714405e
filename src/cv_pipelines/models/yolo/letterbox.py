"""Images of any size in one batch of squares, and boxes there and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import clip_boxes_to_image

Resize = Literal["letterbox", "stretch"]


@dataclass(frozen=True)
class Frame:
    """Where an image lies in the square that the network sees.

    Attributes:
        width: of the image, in pixels.
        height: of the image, in pixels.
        scale: factors on x and y.
        offset: of the image's left and upper side from the square's, in pixels of the square.
    """

    width: int
    height: int
    scale: tuple[float, float]
    offset: tuple[int, int]

    def to_square(self, boxes: Tensor) -> Tensor:
        """Move (N, 4) boxes XYXY from the image's pixels to the square's."""
        return boxes * boxes.new_tensor(self.scale * 2) + boxes.new_tensor(self.offset * 2)

    def to_image(self, boxes: Tensor) -> Tensor:
        """Move (N, 4) boxes XYXY from the square's pixels to the image's, and cut them to it."""
        moved = (boxes - boxes.new_tensor(self.offset * 2)) / boxes.new_tensor(self.scale * 2)
        return clip_boxes_to_image(moved, (self.height, self.width))


def frame_of(width: int, height: int, size: int, resize: Resize) -> tuple[Frame, tuple[int, int]]:
    """Place an image in a square.

    Args:
        width: of the image, in pixels.
        height: of the image, in pixels.
        size: side of the square, in pixels.
        resize: `letterbox` keeps the ratio of the sides and centres the image; `stretch` fills the square.

    Returns:
        The frame, and the (height, width) that the image gets: at least one pixel each.
    """
    longer = size / max(width, height)
    factors = (longer, longer) if resize == "letterbox" else (size / width, size / height)
    wide, tall = max(round(width * factors[0]), 1), max(round(height * factors[1]), 1)
    # Sides are whole pixels: what they make of the factors is what boxes have to follow.
    frame = Frame(width, height, (wide / width, tall / height), ((size - wide) // 2, (size - tall) // 2))
    return frame, (tall, wide)


def in_squares(images: Sequence[Tensor], size: int, resize: Resize) -> tuple[Tensor, list[Frame]]:
    """Bring normalised images to one size; what they leave free of their square is 0, the mean colour.

    Args:
        images: (C, H, W) float each; at least one.
        size: side of the squares, in pixels.
        resize: see `frame_of`.

    Returns:
        (B, C, size, size), and where each image lies.
    """
    batch = images[0].new_zeros(len(images), images[0].shape[0], size, size)
    frames = []
    for image, square in zip(images, batch, strict=True):
        frame, (tall, wide) = frame_of(image.shape[2], image.shape[1], size, resize)
        left, top = frame.offset
        square[:, top : top + tall, left : left + wide] = _resized(image, (tall, wide))
        frames.append(frame)
    return batch, frames


def _resized(image: Tensor, shape: tuple[int, int]) -> Tensor:
    if image.shape[1:] == torch.Size(shape):
        return image
    return F.interpolate(image[None], shape, mode="bilinear", align_corners=False, antialias=True)[0]
