"""What the YOLOs share as detectors of the task: lists of images in, losses or detections out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cv_pipelines.models.yolo.letterbox import Frame, Resize, in_squares
from cv_pipelines.models.yolo.selection import Selection


@dataclass(frozen=True)
class Truths:
    """The objects of a batch, one after the other.

    Attributes:
        image: (N,) int64, which image of the batch each belongs to.
        boxes: (N, 4) XYXY in pixels of the network's input; every side is above 0.
        labels: (N,) int64 classes.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor

    @property
    def centres(self) -> Tensor:
        """(N, 2) x, y."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2

    @property
    def sizes(self) -> Tensor:
        """(N, 2) width, height."""
        return self.boxes[:, 2:] - self.boxes[:, :2]

    def where(self, chosen: Tensor) -> Truths:
        """Return some of the objects, by index or by mask."""
        return Truths(self.image[chosen], self.boxes[chosen], self.labels[chosen])


def gathered(targets: Sequence[dict[str, Tensor]], frames: Sequence[Frame]) -> Truths:
    """Put the objects of a batch one after the other; boxes without area are left out.

    Args:
        targets: `boxes` (N, 4) XYXY in the image's own pixels and `labels` (N,) of each image.
        frames: where each image lies in the input.
    """
    boxes = [frame.to_square(target["boxes"].float()) for target, frame in zip(targets, frames, strict=True)]
    image = [torch.full((len(one),), k, device=one.device) for k, one in enumerate(boxes)]
    labels = torch.cat([target["labels"] for target in targets])
    truths = Truths(torch.cat(image), torch.cat(boxes), labels)
    return truths.where((truths.sizes > 0).all(dim=1))


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU (…,) of each box with its counterpart; all with all would be the square of their number.

    Args:
        a: (…, 4) XYXY.
        b: (…, 4) XYXY, of some area.
    """
    shared = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    areas = [(box[..., 2:] - box[..., :2]).prod(dim=-1) for box in (a, b)]
    both = shared.clamp(min=0).prod(dim=-1)
    return both / (areas[0] + areas[1] - both)


def largest_at_each(places: Tensor, sizes: Tensor) -> Tensor:
    """Return the indices of the objects that get their place: the largest, where several claim one.

    Args:
        places: (N,) int64, what each object claims.
        sizes: (N, 2) width and height.
    """
    order = sizes.prod(dim=1).argsort(descending=True, stable=True)
    claimed, which = places[order].unique(return_inverse=True)  # type: ignore[no-untyped-call]
    rank = torch.arange(len(order), device=places.device)
    first = rank.new_full((len(claimed),), len(order)).scatter_reduce(0, which, rank, "amin")
    return order[first]


class Yolo(nn.Module):
    """A detector whose network maps a batch of squares to predictions of fixed places.

    Args:
        size: side of the network's input, in pixels.
        resize: how images are brought to it.
        selection: what makes detections of predictions.
    """

    def __init__(self, size: int, resize: Resize, selection: Selection) -> None:
        super().__init__()
        self.size, self.resize, self.selection = size, resize, selection

    def predictions(self, x: Tensor) -> Tensor:
        """Map (B, 3, size, size) to what the network says of each image."""
        raise NotImplementedError

    def losses(self, predictions: Tensor, truths: Truths) -> dict[str, Tensor]:
        """Return the parts of the loss by name."""
        raise NotImplementedError

    def decode(self, predictions: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes (B, P, 4) XYXY in pixels of the input and scores (B, P, classes), 0 to 1."""
        raise NotImplementedError

    def dense(self, x: Tensor) -> Tensor:
        """Return what is found at every place, before any choice among boxes that overlap.

        Args:
            x: (B, 3, size, size), normalised.

        Returns:
            (B, P, 4 + classes): boxes XYXY as shares of the side; then the score of each class, 0 to 1.
        """
        boxes, scores = self.decode(self.predictions(x))
        return torch.cat([boxes / self.size, scores], dim=2)

    def rule(self) -> dict[str, Any]:
        """Say how boxes are chosen from what `dense` returns."""
        selection = self.selection
        return {
            "score_threshold": selection.score_threshold,
            "candidates": selection.candidates,
            "overlap": selection.nms_threshold,
            "most": selection.max_detections,
        }

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """In training, map images and targets to losses; else images to detections.

        Args:
            images: (3, H, W) float each, normalised; sizes may differ.
            targets: a dict an image with `boxes` (N, 4) XYXY in its own pixels and `labels` (N,) int64.

        Returns:
            Losses by name, or a dict an image with `boxes` (K, 4) in its own pixels, `labels`, `scores`.

        Raises:
            ValueError: training without targets.
        """
        x, frames = in_squares(images, self.size, self.resize)
        predictions = self.predictions(x)
        # In reduced precision squares and exponentials overflow, and coordinates have no digits left.
        with torch.autocast(x.device.type, enabled=False):
            if self.training:
                if targets is None:
                    raise ValueError("a detector needs targets in training; expected a dict an image")
                return self.losses(predictions.float(), gathered(targets, frames))
            boxes, scores = self.decode(predictions.float())
            found = [self.selection(*one) for one in zip(boxes, scores, strict=True)]
        return [
            one | {"boxes": frame.to_image(one["boxes"])} for one, frame in zip(found, frames, strict=True)
        ]
