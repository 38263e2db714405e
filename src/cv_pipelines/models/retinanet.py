"""RetinaNet (Lin et al. 2017, focal loss): torchvision's, on an EfficientNet-Lite0 feature pyramid."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from cv_pipelines.models.detector import (
    NORMALISED,
    STRIDES,
    Count,
    PyramidBackbone,
    PyramidDetector,
    Ratios,
    Share,
    Size,
    check_channels,
    pyramid_anchors,
)
from cv_pipelines.models.efficientnet import Weights


class RetinaNetDetector(PyramidDetector):
    """torchvision's RetinaNet, which can also say what it sees before it chooses among boxes."""

    def dense(self, x: Tensor) -> Tensor:
        """See `PyramidDetector`; the boxes of a place come one after the other."""
        net = cast(RetinaNet, self.net)
        found = []
        for level, stride, anchors in zip(
            net.backbone(x).values(), self.strides, net.anchor_generator.cell_anchors, strict=True
        ):
            said = net.head([level])
            sides = (anchors[:, 2:] - anchors[:, :2]) / stride
            code = said["bbox_regression"].unflatten(1, (-1, self.anchors))
            shift = code[..., :2] * sides
            half = code[..., 2:].clamp(max=net.box_coder.bbox_xform_clip).exp() * sides / 2
            boxes = torch.cat([half - shift, half + shift], dim=3).flatten(1, 2)
            found.append(torch.cat([boxes, said["cls_logits"].sigmoid()], dim=2))
        return torch.cat(found, dim=1)


def build(
    in_channels: int,
    n_classes: int,
    *,
    weights: Weights = "packaged",
    min_size: Count = 320,
    max_size: Count = 512,
    first_stride: Literal[4, 8, 16] = 8,
    width: Annotated[int, Field(gt=0, multiple_of=32)] = 96,
    head_convs: Annotated[int, Field(ge=1, le=4)] = 4,
    head_norm: bool = True,
    extra_levels: bool = False,
    anchor_scale: Size = 4.0,
    anchor_octaves: Count = 3,
    anchor_ratios: Ratios = (0.5, 1.0, 2.0),
    positive_iou: Share = 0.5,
    negative_iou: Share = 0.4,
    score_threshold: Share = 0.05,
    nms_threshold: Share = 0.5,
    max_detections: Count = 100,
) -> RetinaNetDetector:
    """Build the detector.

    Args:
        in_channels: must be 3.
        n_classes: object classes.
        weights: `packaged` for ImageNet's encoder, `none` for a random start.
        min_size: shorter image side after the resize, in pixels.
        max_size: limit of the longer side, in pixels.
        first_stride: stride of the finest pyramid level: 4, 8 or 16.
        width: channels of pyramid and head, a multiple of 32 (the head's group norm has 32 groups).
        head_convs: convolutions in each branch of the head; the paper has 4.
        head_norm: group norms in the head, which the paper does not have.
        extra_levels: add strides 64 and 128 for large objects in large images.
        anchor_scale: side of a level's smallest anchor, in strides of the level.
        anchor_octaves: anchor sizes a level, within a factor of 2.
        anchor_ratios: height over width of the anchors.
        positive_iou: an anchor that overlaps an object by this much is to find it, 0 to 1.
        negative_iou: one that overlaps none by this much is background, 0 to 1; between, it is neither.
        score_threshold: detections below are dropped, 0 to 1.
        nms_threshold: IoU above which the weaker of two boxes of a class is dropped, 0 to 1.
        max_detections: kept an image.

    Raises:
        ValueError: the images are not RGB.
    """
    check_channels("retinanet", in_channels)
    extra = LastLevelP6P7(width, width) if extra_levels else None
    levels = len(STRIDES) - STRIDES.index(first_stride) + 2 * extra_levels
    norm = partial(nn.GroupNorm, 32) if head_norm else None
    head = RetinaNetHead(width, anchor_octaves * len(anchor_ratios), n_classes, norm)
    for branch in (head.classification_head, head.regression_head):
        branch.conv = branch.conv[:head_convs]
    net = RetinaNet(
        PyramidBackbone(weights, first_stride, width, extra),
        n_classes,
        min_size=min_size,
        max_size=max_size,
        anchor_generator=pyramid_anchors(first_stride, levels, anchor_scale, anchor_octaves, anchor_ratios),
        head=head,
        fg_iou_thresh=positive_iou,
        bg_iou_thresh=negative_iou,
        score_thresh=score_threshold,
        nms_thresh=nms_threshold,
        detections_per_img=max_detections,
        **NORMALISED,
    )
    strides = [first_stride * 2**level for level in range(levels)]
    return RetinaNetDetector(net, n_classes, strides, anchor_octaves * len(anchor_ratios))
