"""FCOS (Tian et al. 2019), anchor-free: torchvision's, on an EfficientNet-Lite0 feature pyramid."""

from __future__ import annotations

from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection import FCOS
from torchvision.models.detection.fcos import FCOSHead
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from cv_pipelines.models.detector import (
    NORMALISED,
    STRIDES,
    PyramidBackbone,
    PyramidDetector,
    check_channels,
    pyramid_anchors,
)
from cv_pipelines.models.efficientnet import Weights


class FCOSDetector(PyramidDetector):
    """torchvision's FCOS, which can also say what it sees before it chooses among boxes."""

    def dense(self, x: Tensor) -> Tensor:
        """See `PyramidDetector`."""
        net = cast(FCOS, self.net)
        found = net.head(list(net.backbone(x).values()))
        # The root of the product of both sigmoids, by their logarithms: a runtime whose sigmoid is off by
        # 1e-7 near 0, as onnxruntime's is, would be off by 3e-4 after a root.
        scores = torch.exp((log_sigmoid(found["cls_logits"]) + log_sigmoid(found["bbox_ctrness"])) / 2)
        return torch.cat([found["bbox_regression"], scores], dim=2)


def log_sigmoid(x: Tensor) -> Tensor:
    """Compute log(sigmoid(x)) by operations that stay exact for very negative x in every exported form."""
    return -F.softplus(-x)


def build(
    in_channels: int,
    n_classes: int,
    *,
    weights: Weights = "packaged",
    min_size: int = 320,
    max_size: int = 512,
    first_stride: int = 8,
    width: Annotated[int, Field(gt=0, multiple_of=32)] = 96,
    head_convs: int = 2,
    extra_levels: bool = False,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    max_detections: int = 100,
) -> FCOSDetector:
    """Build the detector.

    Args:
        in_channels: must be 3.
        n_classes: object classes.
        weights: `packaged` for ImageNet's encoder, `none` for a random start.
        min_size: shorter image side after the resize, in pixels.
        max_size: limit of the longer side, in pixels.
        first_stride: stride of the finest pyramid level: 4, 8 or 16.
        width: channels of pyramid and head, a multiple of 32 (the head's group norm has 32 groups).
        head_convs: convolutions in each branch of the head.
        extra_levels: add strides 64 and 128 for large objects in large images.
        score_threshold: detections below are dropped, 0 to 1.
        nms_threshold: IoU above which the weaker of two boxes of a class is dropped, 0 to 1.
        max_detections: kept an image.

    Raises:
        ValueError: the images are not RGB.
    """
    check_channels("fcos", in_channels)
    extra = LastLevelP6P7(width, width) if extra_levels else None
    levels = len(STRIDES) - STRIDES.index(first_stride) + 2 * extra_levels
    net = FCOS(
        PyramidBackbone(weights, first_stride, width, extra),
        n_classes,
        min_size=min_size,
        max_size=max_size,
        anchor_generator=pyramid_anchors(first_stride, levels, scale=1.0, octaves=1, ratios=[1.0]),
        head=FCOSHead(width, 1, n_classes, head_convs),
        score_thresh=score_threshold,
        nms_thresh=nms_threshold,
        detections_per_img=max_detections,
        **NORMALISED,
    )
    return FCOSDetector(net, n_classes, [first_stride * 2**level for level in range(levels)], anchors=1)
