"""SSD (Liu et al. 2016): torchvision's, on the maps of EfficientNet-Lite0 and coarser ones after them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD, SSDHead

from cv_pipelines.models.detector import NORMALISED, STRIDES, Count, Detector, Share, check_channels
from cv_pipelines.models.efficientnet import Weights, encoder


class L2Norm(nn.Module):
    """Scales the features of a place to unit length, then each channel by a learned factor.

    ParseNet (Liu et al. 2015 §3.3), which SSD puts on its finest map. The factor starts at the root of the
    channels, which gives features of size 1 (the paper's 20 gives its 512 channels about the same).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, 1, 1), channels**0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return functional.normalize(x) * self.weight


class MapsBackbone(nn.Module):
    """The encoder's maps and coarser ones, each half as large as the one before; nothing flows back down.

    Every map of the encoder is normalised: they come from linear layers and differ in size by two orders.

    Args:
        weights: of the encoder.
        first_stride: of the finest map: 4, 8 or 16.
        extra_widths: channels of the maps after the one of stride 32.
    """

    def __init__(self, weights: Weights, first_stride: int, extra_widths: Sequence[int]) -> None:
        super().__init__()
        self.encoder = encoder(weights)
        self.first = STRIDES.index(first_stride)
        widths: list[int] = self.encoder.feature_info.channels()[self.first :]  # type: ignore[union-attr,operator]
        self.norms = nn.ModuleList(L2Norm(width) for width in widths)
        self.extras = nn.ModuleList()
        self.out_channels = [*widths, *extra_widths]
        for before, after in zip(self.out_channels[len(widths) - 1 :], extra_widths, strict=False):
            self.extras.append(_halving(before, after))

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Map (B, 3, H, W) to maps, finest first."""
        maps = [norm(m) for norm, m in zip(self.norms, self.encoder(x)[self.first :], strict=True)]
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return OrderedDict((str(level), m) for level, m in enumerate(maps))


def _halving(before: int, after: int) -> nn.Module:
    """Make the paper's two layers that lead to a map of half the size."""
    layers = nn.Sequential(
        nn.Conv2d(before, after // 2, 1), nn.ReLU(), nn.Conv2d(after // 2, after, 3, 2, 1), nn.ReLU()
    )
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layers


def build(
    in_channels: int,
    n_classes: int,
    *,
    weights: Weights = "packaged",
    size: Count = 320,
    first_stride: Literal[4, 8, 16] = 8,
    extra_widths: Sequence[Annotated[int, Field(ge=2)]] = (256, 256),
    box_scales: Sequence[Share] = (0.1, 0.9),
    box_ratios: Sequence[Annotated[float, Field(gt=1)]] = (2.0, 3.0),
    match_iou: Share = 0.5,
    hard_negatives: Annotated[float, Field(gt=0)] = 3.0,
    score_threshold: Share = 0.05,
    nms_threshold: Share = 0.45,
    max_detections: Count = 100,
) -> Detector:
    """Build the detector.

    Args:
        in_channels: must be 3.
        n_classes: object classes.
        weights: `packaged` for ImageNet's encoder, `none` for a random start.
        size: side of the square that every image is resized to, in pixels.
        first_stride: stride of the finest map: 4, 8 or 16.
        extra_widths: channels of the maps after the one of stride 32, each half as large as the one before.
        box_scales: side of the finest and of the coarsest map's default boxes, shares of the image's; the
            others lie evenly between (equation 4 of the paper).
        box_ratios: the longer over the shorter side of default boxes that are no squares.
        match_iou: a default box that overlaps an object by this much is to find it, 0 to 1.
        hard_negatives: default boxes without an object, the worst, that are learned from for each with one.
        score_threshold: detections below are dropped, 0 to 1.
        nms_threshold: IoU above which the weaker of two boxes of a class is dropped, 0 to 1.
        max_detections: kept an image.

    Raises:
        ValueError: the images are not RGB.
    """
    check_channels("ssd", in_channels)
    backbone = MapsBackbone(weights, first_stride, extra_widths)
    widths = backbone.out_channels
    first, last = box_scales
    scales = [first + (last - first) * k / max(len(widths) - 1, 1) for k in range(len(widths))]
    boxes = DefaultBoxGenerator([list(box_ratios)] * len(widths), scales=[*scales, 1.0])
    net = SSD(
        backbone,
        boxes,
        (size, size),
        n_classes + 1,
        head=SSDHead(widths, boxes.num_anchors_per_location(), n_classes + 1),
        iou_thresh=match_iou,
        positive_fraction=1 / (1 + hard_negatives),
        score_thresh=score_threshold,
        nms_thresh=nms_threshold,
        detections_per_img=max_detections,
        **NORMALISED,
    )
    return Detector(net, heads=["head"], numbers=range(1, n_classes + 1))
