"""Faster R-CNN (Ren et al. 2015): torchvision's, on an EfficientNet-Lite0 pyramid (Lin et al. 2017)."""

from __future__ import annotations

from typing import Any, Literal

from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from cv_pipelines.models.detector import (
    NORMALISED,
    STRIDES,
    Count,
    Detector,
    PyramidBackbone,
    Ratios,
    Share,
    Size,
    check_channels,
    pyramid_anchors,
)
from cv_pipelines.models.efficientnet import Weights

HEADS = ("rpn.head", "roi_heads.box_predictor")


def region_parts(
    n_classes: int, backbone: PyramidBackbone, first_stride: int, head_width: int, canonical_size: int
) -> dict[str, Any]:
    """Build what follows the proposals: pooling of regions, a head of two layers, scores and boxes.

    Args:
        n_classes: object classes, without the background.
        backbone: whose maps are pooled, but for one coarser than stride 32.
        first_stride: of its finest map.
        head_width: width of both layers.
        canonical_size: side of the regions that are pooled from stride 16, in pixels.

    Returns:
        Arguments of torchvision's R-CNNs.
    """
    pool = MultiScaleRoIAlign(
        map_names(first_stride), output_size=7, sampling_ratio=2, canonical_scale=canonical_size
    )
    return {
        "box_roi_pool": pool,
        "box_head": TwoMLPHead(backbone.out_channels * 7 * 7, head_width),
        "box_predictor": FastRCNNPredictor(head_width, n_classes + 1),
    }


def map_names(first_stride: int) -> list[str]:
    """Return the names of the maps that regions are pooled from."""
    return [str(level) for level in range(len(STRIDES) - STRIDES.index(first_stride))]


def proposal_parts(
    first_stride: int,
    extra_level: bool,
    anchor_scale: float,
    anchor_ratios: Ratios,
    proposals: int,
    sampled: tuple[int, int],
) -> dict[str, Any]:
    """Build what proposes regions.

    Args:
        first_stride: of the finest map.
        extra_level: there is a map of stride 64, too.
        anchor_scale: side of a level's anchors, in strides of the level.
        anchor_ratios: height over width of the anchors.
        proposals: kept an image.
        sampled: anchors and regions an image that the losses see.

    Returns:
        Arguments of torchvision's R-CNNs.
    """
    levels = len(map_names(first_stride)) + extra_level
    return {
        "rpn_anchor_generator": pyramid_anchors(first_stride, levels, anchor_scale, 1, anchor_ratios),
        "rpn_pre_nms_top_n_train": 2 * proposals,
        "rpn_pre_nms_top_n_test": proposals,
        "rpn_post_nms_top_n_train": proposals,
        "rpn_post_nms_top_n_test": proposals,
        "rpn_batch_size_per_image": sampled[0],
        "box_batch_size_per_image": sampled[1],
    }


def build(
    in_channels: int,
    n_classes: int,
    *,
    weights: Weights = "packaged",
    min_size: Count = 320,
    max_size: Count = 512,
    first_stride: Literal[4, 8, 16] = 4,
    width: Count = 96,
    head_width: Count = 256,
    extra_level: bool = False,
    anchor_scale: Size = 8.0,
    anchor_ratios: Ratios = (0.5, 1.0, 2.0),
    canonical_size: Count = 224,
    proposals: Count = 500,
    sampled_anchors: Count = 256,
    sampled_regions: Count = 128,
    score_threshold: Share = 0.05,
    nms_threshold: Share = 0.5,
    max_detections: Count = 100,
) -> Detector:
    """Build the detector.

    Args:
        in_channels: must be 3.
        n_classes: object classes.
        weights: `packaged` for ImageNet's encoder, `none` for a random start.
        min_size: shorter image side after the resize, in pixels.
        max_size: limit of the longer side, in pixels.
        first_stride: stride of the finest pyramid level: 4, 8 or 16.
        width: channels of the pyramid.
        head_width: width of the two layers that classify a region; the paper has 1024.
        extra_level: propose from stride 64, too, for large objects in large images.
        anchor_scale: side of a level's anchors, in strides of the level.
        anchor_ratios: height over width of the anchors.
        canonical_size: side of the regions that are pooled from stride 16, in pixels; the paper has 224.
        proposals: regions kept an image, after suppression of those that overlap others by an IoU of 0.7.
        sampled_anchors: anchors an image in the loss of the proposals, at most half of them with an object.
        sampled_regions: regions an image in the loss of the head, at most a quarter of them with an object.
        score_threshold: detections below are dropped, 0 to 1.
        nms_threshold: IoU above which the weaker of two boxes of a class is dropped, 0 to 1.
        max_detections: kept an image.

    Raises:
        ValueError: the images are not RGB.
    """
    check_channels("faster_rcnn", in_channels)
    backbone = PyramidBackbone(weights, first_stride, width, LastLevelMaxPool() if extra_level else None)
    sampled = (sampled_anchors, sampled_regions)
    net = FasterRCNN(
        backbone,
        min_size=min_size,
        max_size=max_size,
        box_score_thresh=score_threshold,
        box_nms_thresh=nms_threshold,
        box_detections_per_img=max_detections,
        **proposal_parts(first_stride, extra_level, anchor_scale, anchor_ratios, proposals, sampled),
        **region_parts(n_classes, backbone, first_stride, head_width, canonical_size),
        **NORMALISED,
    )
    return Detector(net, HEADS, numbers=range(1, n_classes + 1))
