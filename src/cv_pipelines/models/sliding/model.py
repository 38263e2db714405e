"""A sliding-window detector, as before proposals and anchors: window by window, scale by scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_iou, clip_boxes_to_image

from cv_pipelines.config.sections import Share
from cv_pipelines.config.suppression import Suppression
from cv_pipelines.models.detector import Count, Size, check_channels
from cv_pipelines.models.sliding.network import STRIDE, WINDOW, WindowClassifier
from cv_pipelines.models.suppression import suppress

Targets = list[dict[str, Tensor]]


@dataclass(frozen=True)
class Learning:
    """Which windows are learned from.

    Attributes:
        object_iou: a window that overlaps an object by this much is of its class; so is each object's best.
        ground_iou: one that overlaps all objects by less is background.
        hard_negatives: windows of the background, the worst, for each one with an object.
    """

    object_iou: float
    ground_iou: float
    hard_negatives: int


class SlidingWindow(nn.Module):
    """Images are resized so that objects of each of several sides fill the window, and it slides over them.

    A detection is the square in the middle of a window, without the context around it.

    Args:
        classifier: of windows; the last output is the background.
        sides: of the objects that are looked for, in pixels of the image.
        context: of a window's side, how much lies around the object, on each side.
        convolutional: the classifier slides as a convolution; else every window is cut out.
        learning: which windows are learned from.
        rule: how detections are chosen.
    """

    def __init__(
        self,
        classifier: WindowClassifier,
        sides: Sequence[float],
        context: float,
        convolutional: bool,
        learning: Learning,
        rule: Suppression,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.sides, self.context, self.convolutional = tuple(sides), context, convolutional
        self.learning, self.rule = learning, rule

    def forward(
        self, images: list[Tensor], targets: Targets | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """In training, map images and targets to the loss; else images to detections.

        Args:
            images: (3, H, W) float each, normalised; sizes may differ.
            targets: a dict an image with `boxes` (N, 4) XYXY in pixels and `labels` (N,) int64.

        Returns:
            Losses by name, or a dict an image with `boxes` (K, 4) in its own pixels, `labels`, `scores`, 0 to
            1, strongest first.
        """
        seen = self.windows(images)
        if not self.training:
            return [self._detect(*pair, image.shape[-2:]) for pair, image in zip(seen, images, strict=True)]
        assert targets is not None
        pairs = zip(seen, targets, strict=True)
        parts = [self._loss(logits, boxes, target) for (logits, boxes), target in pairs]
        count = sum(number for _, number in parts)
        return {"loss_classifier": torch.stack([loss for loss, _ in parts]).sum() / count}

    def windows(self, images: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Return, of each image, the logits (N, classes + 1) and the squares (N, 4) of all windows."""
        scales = [self._at_scale(images, side) for side in self.sides]
        return [
            (torch.cat([logits for logits, _ in own]), torch.cat([boxes for _, boxes in own]))
            for own in zip(*scales, strict=True)
        ]

    def _at_scale(self, images: list[Tensor], side: float) -> list[tuple[Tensor, Tensor]]:
        margin = round(WINDOW * self.context)
        factor = (WINDOW - 2 * margin) / side
        small = [_resized(image, factor) for image in images]
        fields = [tuple(_windows(length + 2 * margin) for length in one.shape[-2:]) for one in small]
        rows, columns = (max(field[axis] for field in fields) for axis in (0, 1))
        canvas = images[0].new_zeros(
            len(images), 3, WINDOW + STRIDE * (rows - 1), WINDOW + STRIDE * (columns - 1)
        )
        for one, place in zip(small, canvas, strict=True):
            height, width = one.shape[-2:]
            place[:, margin : margin + height, margin : margin + width] = one
        look = self.classifier.convolved if self.convolutional else self.classifier.cropped
        logits = look(canvas).float()
        found = []
        for image, one, (own_rows, own_columns), all_logits in zip(
            images, small, fields, logits, strict=True
        ):
            ratio = [image.shape[axis] / one.shape[axis] for axis in (2, 1)]
            boxes = _squares(own_rows, own_columns, WINDOW - 2 * margin).to(image.device)
            found.append(
                (all_logits[:own_rows, :own_columns].flatten(0, 1), boxes * boxes.new_tensor(ratio * 2))
            )
        return found

    def _loss(self, logits: Tensor, boxes: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, int]:
        """Return the sum of the cross-entropy over the windows to learn from, and how many they are."""
        true, background = target["boxes"].to(boxes), logits.shape[1] - 1
        labels = torch.full((len(boxes),), background, device=boxes.device)
        if len(true):
            overlaps = box_iou(boxes, true)
            overlap, which = overlaps.max(dim=1)
            labels[overlap >= self.learning.ground_iou] = -1
            sure = overlap >= self.learning.object_iou
            labels[sure] = target["labels"][which[sure]]
            labels[overlaps.argmax(dim=0)] = target["labels"]
        objects, ground = labels.clamp(max=background) != background, labels == background
        objects &= labels >= 0
        losses = F.cross_entropy(logits, labels.clamp_min(0), reduction="none")
        wanted = self.learning.hard_negatives * max(int(objects.sum()), 1)
        worst = losses[ground].topk(min(wanted, int(ground.sum()))).values
        return losses[objects].sum() + worst.sum(), int(objects.sum()) + len(worst)

    def _detect(self, logits: Tensor, boxes: Tensor, size: Sequence[int]) -> dict[str, Tensor]:
        scores = logits.softmax(dim=1)[:, :-1]
        labels = torch.arange(scores.shape[1], device=boxes.device).repeat(len(boxes))
        places = clip_boxes_to_image(boxes, (size[0], size[1])).repeat_interleave(scores.shape[1], dim=0)
        kept, kept_scores = suppress(places, scores.flatten(), labels, self.rule)
        return {"boxes": places[kept], "labels": labels[kept], "scores": kept_scores}


def _resized(image: Tensor, factor: float) -> Tensor:
    """Resize an image; a side keeps at least a pixel."""
    size = [max(round(length * factor), 1) for length in image.shape[-2:]]
    return F.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=True)[0]


def _windows(length: int) -> int:
    """Return how many windows, `STRIDE` apart, it takes to see all of a length; the last may reach beyond."""
    return max(-(-(length - WINDOW) // STRIDE), 0) + 1


def _squares(rows: int, columns: int, side: int) -> Tensor:
    """Return the objects' squares (rows × columns, 4) XYXY, in pixels of the resized image."""
    tops, lefts = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    corners = torch.stack([lefts, tops], dim=-1).flatten(0, 1) * float(STRIDE)
    return torch.cat([corners, corners + side], dim=1)


def build(
    in_channels: int,
    n_classes: int,
    *,
    sides: Annotated[Sequence[Size], Field(min_length=1)] = (32.0, 64.0, 128.0, 256.0),
    context: Annotated[float, Field(ge=0, le=0.3)] = 0.12,
    width: Count = 16,
    hidden: Count = 64,
    sliding: Literal["convolution", "crops"] = "convolution",
    object_iou: Share = 0.55,
    ground_iou: Share = 0.4,
    hard_negatives: Count = 3,
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.05,
    nms_threshold: Share = 0.3,
    candidates: Count = 1000,
    max_detections: Count = 100,
) -> SlidingWindow:
    """Build the detector.

    Args:
        in_channels: must be 3.
        n_classes: object classes.
        sides: of the objects that are looked for, in pixels of the image; one more scale for each.
        context: of a window's side, how much lies around the object, on each side; 0 to 0.3.
        width: channels of the first convolution; the others have twice as many.
        hidden: outputs of the first linear layer.
        sliding: `convolution` looks at all windows of a scale in one pass, `crops` cuts out each one; both
            say the same of an image.
        object_iou: a window that overlaps an object by this much is of its class; so is each object's best.
        ground_iou: a window that overlaps all objects by less is background.
        hard_negatives: windows of the background, the worst, that are learned from for each with an object.
        score_threshold: detections below are dropped, 0 to 1.
        nms_threshold: IoU above which the weaker of two boxes of a class is dropped, 0 to 1.
        candidates: so many of the best enter that suppression.
        max_detections: kept an image.

    Raises:
        ValueError: the images are not RGB.
    """
    check_channels("sliding_window", in_channels)
    return SlidingWindow(
        WindowClassifier(n_classes + 1, width, hidden),
        sides,
        context,
        sliding == "convolution",
        Learning(object_iou, ground_iou, hard_negatives),
        Suppression(
            name="nms",
            overlap=nms_threshold,
            score_threshold=score_threshold,
            candidates=candidates,
            max_detections=max_detections,
        ),
    )
