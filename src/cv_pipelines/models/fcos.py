"""FCOS (Tian et al. 2019), anchor-free: torchvision's, on an EfficientNet-Lite0 feature pyramid."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from cv_pipelines.models.efficientnet import Weights, encoder

STRIDES = (2, 4, 8, 16, 32)


class PyramidBackbone(nn.Module):
    """A timm encoder and a feature pyramid (Lin et al. 2017); maps are named by level."""

    def __init__(self, weights: Weights, first_level: int, out_channels: int, extra_levels: bool) -> None:
        super().__init__()
        self.encoder = encoder(weights)
        self.first = first_level
        widths: list[int] = self.encoder.feature_info.channels()[first_level:]  # type: ignore[union-attr,operator]
        extra = LastLevelP6P7(out_channels, out_channels) if extra_levels else None
        self.fpn = FeaturePyramidNetwork(widths, out_channels, extra)
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Map (B, 3, H, W) to the pyramid's maps, finest first."""
        maps = self.encoder(x)[self.first :]
        pyramid: OrderedDict[str, Tensor] = self.fpn(OrderedDict((str(i), m) for i, m in enumerate(maps)))
        return pyramid


class Detector(nn.Module):
    """torchvision's FCOS; `encoder` is the part that pretraining starts."""

    def __init__(self, fcos: FCOS) -> None:
        super().__init__()
        self.fcos = fcos

    def forward(
        self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """In training, map images and targets (boxes XYXY, labels) to losses; else images to detections.

        Args:
            images: (3, H, W) float each, normalised; sizes may differ.
            targets: a dict an image with `boxes` (N, 4) and `labels` (N,) int64.

        Returns:
            Losses by name, or a dict an image with `boxes` (K, 4) in its own pixels, `labels`, `scores`.
        """
        found: dict[str, Tensor] | list[dict[str, Tensor]] = self.fcos(images, targets)
        return found

    def dense(self, x: Tensor) -> Tensor:
        """Return what is found at every place of every level, before any choice among overlapping boxes.

        Args:
            x: (B, 3, H, W) normalised, resized as `rule` says; sides divisible by 32.

        Returns:
            (B, places, 4 + classes): distances of the place to the left, upper, right and lower side of its
            box, in strides of its level; then the score of each class, 0 to 1.
        """
        found = self.fcos.head(list(self.fcos.backbone(x).values()))
        scores = torch.sqrt(found["cls_logits"].sigmoid() * found["bbox_ctrness"].sigmoid())
        return torch.cat([found["bbox_regression"], scores], dim=2)

    def rule(self) -> dict[str, Any]:
        """Say how images are resized, and how boxes are chosen from what `dense` returns."""
        fcos = self.fcos
        return {
            "shorter_side": fcos.transform.min_size[-1],
            "longer_side": fcos.transform.max_size,
            "strides": [size for (size,) in fcos.anchor_generator.sizes],
            "score_threshold": fcos.score_thresh,
            "candidates": fcos.topk_candidates,
            "overlap": fcos.nms_thresh,
            "most": fcos.detections_per_img,
        }


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
) -> Detector:
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
    if in_channels != 3:
        raise ValueError(f"fcos reads RGB images; the source gives {in_channels} channels")
    backbone = PyramidBackbone(weights, STRIDES.index(first_stride), width, extra_levels)
    levels = len(STRIDES) - STRIDES.index(first_stride) + 2 * extra_levels
    sizes = tuple((first_stride * 2**level,) for level in range(levels))
    fcos = FCOS(
        backbone,
        n_classes,
        min_size=min_size,
        max_size=max_size,
        image_mean=[0.0, 0.0, 0.0],  # images come normalised
        image_std=[1.0, 1.0, 1.0],
        anchor_generator=AnchorGenerator(sizes, ((1.0,),) * levels),
        head=FCOSHead(width, 1, n_classes, head_convs),
        score_thresh=score_threshold,
        nms_thresh=nms_threshold,
        detections_per_img=max_detections,
    )
    return Detector(fcos)
