"""Classification with localisation: is there an object, of which class, and where? One answer an image.

The output is that of the field's courses: p_c, the box's centre and sides, the classes. The box is learned as
in Sermanet et al. 2014 (OverFeat, arXiv 1312.6229, §4.2): by squared error, on a classifier's features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from cv_pipelines.models.detector import Count, check_channels
from cv_pipelines.models.efficientnet import Weights, encoder
from cv_pipelines.models.yolo.letterbox import Frame, Resize, in_squares

Share = Annotated[float, Field(ge=0, le=1)]
Targets = Sequence[dict[str, Tensor]]


class Localizer(nn.Module):
    """Encoder and two linear layers that see the whole image: p_c, four numbers of a box, C classes.

    Images are stretched to a square.

    Args:
        features: the encoder.
        head: from its last map to 1 + 4 + C numbers.
        size: side that images are stretched to, in pixels.
        alpha: share of the classes' loss, 0 to 1.
        score_threshold: below, nothing is found.
    """

    resize: Resize = "stretch"

    def __init__(
        self, features: nn.Module, head: nn.Module, size: int, alpha: float, score_threshold: float
    ) -> None:
        super().__init__()
        self.encoder, self.head = features, head
        self.size, self.alpha, self.score_threshold = size, alpha, score_threshold

    def forward(
        self, images: list[Tensor], targets: Targets | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """In training, map images and targets to losses; else images to at most one detection each.

        Args:
            images: (3, H, W) float each, normalised; sizes may differ.
            targets: a dict an image with `boxes` (N, 4) XYXY in pixels and `labels` (N,) int64; of several
                objects the largest is learned.

        Returns:
            Losses by name, or a dict an image with `boxes` (K, 4) in its own pixels, `labels`, `scores`, 0 to
            1; K is 0 or 1. The score is p_c times the class's probability.
        """
        x, frames = in_squares(images, self.size, self.resize)
        if self.training:
            assert targets is not None
            return self._losses(self._numbers(x), _wanted(targets, frames, self.size))
        return [self._found(*one) for one in zip(frames, self.dense(x)[:, 0], strict=True)]

    def dense(self, x: Tensor) -> Tensor:
        """Return the one answer an image, however unsure it is.

        Args:
            x: (B, 3, size, size), normalised.

        Returns:
            (B, 1, 4 + classes): the box XYXY as shares of the side; then p_c times the probability of each
            class, 0 to 1, which is 0 where the box has no area.
        """
        numbers = self._numbers(x)
        centre, sides = numbers[:, 1:3], numbers[:, 3:5]
        scores = (
            numbers[:, :1].sigmoid() * numbers[:, 5:].softmax(dim=1) * (sides > 0).all(dim=1, keepdim=True)
        )
        return torch.cat([centre - sides / 2, centre + sides / 2, scores], dim=1)[:, None]

    def rule(self) -> dict[str, Any]:
        """Say how the answer is made of what `dense` returns: the best class, if it is sure enough."""
        return {"score_threshold": self.score_threshold, "candidates": 1, "overlap": 1.0, "most": 1}

    def _numbers(self, x: Tensor) -> Tensor:
        numbers: Tensor = self.head(self.encoder(x)[-1])
        return numbers.float()

    def _losses(self, numbers: Tensor, wanted: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        """Return α times the cross-entropy of p_c and class and 1 − α times the squared error of the box.

        Means over images. Where there is no object, class and box do not matter.
        """
        there, box, classes = numbers[:, 0], numbers[:, 1:5], numbers[:, 5:]
        is_there, true, labels = wanted
        entropy = F.binary_cross_entropy_with_logits(there, is_there.float(), reduction="none")
        entropy = entropy + F.cross_entropy(classes, labels, reduction="none") * is_there
        error = (box - true).square().sum(dim=1) * is_there
        return {"classes": self.alpha * entropy.mean(), "box": (1 - self.alpha) * error.mean()}

    def _found(self, frame: Frame, answer: Tensor) -> dict[str, Tensor]:
        score, label = answer[4:].max(dim=0)
        kept = slice(None) if score > self.score_threshold else slice(0)
        boxes = frame.to_image(answer[None, :4] * self.size)
        return {"boxes": boxes[kept], "labels": label[None][kept], "scores": score[None][kept]}


def _wanted(targets: Targets, frames: Sequence[Frame], size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return, of each image's largest object: whether there is one, its box and its class.

    A box (B, 4) is centre x, y and width, height, as shares of the image's sides.
    """
    device = targets[0]["boxes"].device
    is_there = torch.zeros(len(targets), dtype=torch.bool, device=device)
    boxes, labels = torch.zeros(len(targets), 4, device=device), torch.zeros_like(is_there, dtype=torch.long)
    for k, (target, frame) in enumerate(zip(targets, frames, strict=True)):
        if not len(target["boxes"]):
            continue
        corners = frame.to_square(target["boxes"].float()) / size
        sides = corners[:, 2:] - corners[:, :2]
        largest = sides.prod(dim=1).argmax()
        is_there[k], labels[k] = True, target["labels"][largest]
        boxes[k] = torch.cat([corners[largest, :2] + sides[largest] / 2, sides[largest]])
    return is_there, boxes, labels


def build(
    in_channels: int,
    n_classes: int,
    *,
    weights: Weights = "packaged",
    size: Annotated[int, Field(gt=0, multiple_of=32)] = 224,
    width: Count = 64,
    hidden: Count = 256,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
    alpha: Share = 0.5,
    score_threshold: Share = 0.05,
) -> Localizer:
    """Build the model.

    Args:
        in_channels: must be 3.
        n_classes: object classes.
        weights: `packaged` for ImageNet's encoder, `none` for a random start.
        size: side of the square that every image is stretched to, in pixels.
        width: channels that the encoder's last map is brought to.
        hidden: outputs of the first linear layer.
        dropout: after it, 0 to 1.
        alpha: share of the classes' loss; the box's has the rest.
        score_threshold: detections below are dropped, 0 to 1.

    Raises:
        ValueError: the images are not RGB.
    """
    check_channels("localizer", in_channels)
    features = encoder(weights)
    channels = int(features.feature_info.channels()[-1])  # type: ignore[union-attr,operator]
    head = nn.Sequential(
        nn.Conv2d(channels, width, 1),
        nn.Flatten(),
        nn.Linear(width * (size // 32) ** 2, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, 5 + n_classes),
    )
    return Localizer(features, head, size, alpha, score_threshold)
