"""Keypoint R-CNN (He et al. 2017 §5): Faster R-CNN that marks the keypoints of each object; torchvision's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torchvision.models.detection import KeypointRCNN
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from cv_pipelines.models.detector import (
    NORMALISED,
    Count,
    Detector,
    PyramidBackbone,
    Ratios,
    Share,
    Size,
    check_channels,
)
from cv_pipelines.models.efficientnet import Weights
from cv_pipelines.models.faster_rcnn import HEADS, map_names, proposal_parts, region_parts


def build(
    in_channels: int,
    n_classes: int,
    *,
    points: Count = 17,
    weights: Weights = "packaged",
    min_size: Count = 320,
    max_size: Count = 512,
    first_stride: Literal[4, 8, 16] = 4,
    width: Count = 96,
    head_width: Count = 256,
    keypoint_width: Count = 64,
    keypoint_convs: Count = 4,
    keypoint_pool: Annotated[int, Field(ge=2)] = 14,
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
        points: keypoints of an object, as many as the source names; COCO's people have 17.
        weights: `packaged` for ImageNet's encoder, `none` for a random start.
        min_size: shorter image side after the resize, in pixels.
        max_size: limit of the longer side, in pixels.
        first_stride: stride of the finest pyramid level: 4, 8 or 16.
        width: channels of the pyramid.
        head_width: width of the two layers that classify a region; the paper has 1024.
        keypoint_width: channels of the head that marks keypoints; the paper has 512.
        keypoint_convs: convolutions of it before its size is doubled; the paper has 8.
        keypoint_pool: cells a side that a region is pooled to for its keypoints; their maps have four times
            as many.
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
    check_channels("keypoint_rcnn", in_channels)
    backbone = PyramidBackbone(weights, first_stride, width, LastLevelMaxPool() if extra_level else None)
    sampled = (sampled_anchors, sampled_regions)
    pool = MultiScaleRoIAlign(map_names(first_stride), keypoint_pool, 2, canonical_scale=canonical_size)
    net = KeypointRCNN(
        backbone,
        min_size=min_size,
        max_size=max_size,
        box_score_thresh=score_threshold,
        box_nms_thresh=nms_threshold,
        box_detections_per_img=max_detections,
        keypoint_roi_pool=pool,
        keypoint_head=KeypointRCNNHeads(width, [keypoint_width] * keypoint_convs),
        keypoint_predictor=KeypointRCNNPredictor(keypoint_width, points),
        **proposal_parts(first_stride, extra_level, anchor_scale, anchor_ratios, proposals, sampled),
        **region_parts(n_classes, backbone, first_stride, head_width, canonical_size),
        **NORMALISED,
    )
    return Detector(net, (*HEADS, "roi_heads.keypoint_predictor"), range(1, n_classes + 1), keypoints=points)
