"""Fast R-CNN (Girshick 2015, arXiv 1504.08083): one pass over the image, regions pooled from its map."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes
from torchvision.ops import RoIPool

from cv_pipelines.models.detector import NORMALISED, Count, Detector, Share, check_channels
from cv_pipelines.models.efficientnet import Weights, encoder
from cv_pipelines.models.regions.proposals import Mode, Search, SelectiveSearch

Found = list[dict[str, Tensor]]


class OneMap(nn.Module):
    """The encoder's map of one stride; what lies behind it is left out."""

    def __init__(self, weights: Weights, stride: int) -> None:
        super().__init__()
        self.encoder = encoder(weights, stride)
        self.out_channels = int(self.encoder.feature_info.channels()[-1])  # type: ignore[union-attr,operator]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, C, H / stride, W / stride)."""
        last: Tensor = self.encoder(x)[-1]
        return last


class PooledRegions(nn.Module):
    """RoI pooling (§2.1) in the form that torchvision's heads call."""

    def __init__(self, side: int, stride: int) -> None:
        super().__init__()
        self.pool = RoIPool(side, 1 / stride)

    def forward(self, maps: Tensor, boxes: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        """Map a map (B, C, h, w) and boxes (N, 4) of each image to (sum of N, C, side, side)."""
        del sizes
        pooled: Tensor = self.pool(maps, boxes)
        return pooled


class FastRCNN(nn.Module):
    """Proposals of the image as it comes, then torchvision's resize, heads, losses and choice of boxes.

    Args:
        proposals: maps images to boxes.
        backbone: maps a batch to one map.
        roi_heads: pools, classifies and moves the boxes.
        transform: resizes images and targets.
    """

    def __init__(
        self, proposals: nn.Module, backbone: nn.Module, roi_heads: nn.Module, transform: nn.Module
    ) -> None:
        super().__init__()
        self.proposals, self.backbone, self.roi_heads = proposals, backbone, roi_heads
        self.transform: Any = transform

    def forward(
        self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | Found:
        """Map images to losses in training, else to detections; see `Detector`."""
        own = [(int(image.shape[-2]), int(image.shape[-1])) for image in images]
        boxes = self.proposals(images)
        batch, targets = self.transform(images, targets)
        pairs = zip(boxes, own, batch.image_sizes, strict=True)
        boxes = [resize_boxes(one, before, after) for one, before, after in pairs]
        maps = self.backbone(batch.tensors)
        found, losses = self.roi_heads(maps, boxes, batch.image_sizes, targets)
        if self.training:
            return dict(losses)
        detections: Found = self.transform.postprocess(found, batch.image_sizes, own)
        return detections


def build(
    in_channels: int,
    n_classes: int,
    *,
    weights: Weights = "packaged",
    min_size: Count = 320,
    max_size: Count = 512,
    stride: Literal[4, 8, 16, 32] = 16,
    pooled: Count = 7,
    head_width: Count = 256,
    search: Mode = "fast",
    search_scale: Count = 100,
    search_longest_side: Count = 500,
    least_side: Count = 8,
    proposals: Count = 2000,
    remembered: Count = 20_000,
    sampled_regions: Count = 64,
    score_threshold: Share = 0.05,
    nms_threshold: Share = 0.3,
    max_detections: Count = 100,
) -> Detector:
    """Build the detector.

    Args:
        in_channels: must be 3.
        n_classes: object classes.
        weights: `packaged` for ImageNet's encoder, `none` for a random start.
        min_size: shorter image side after the resize, in pixels; the paper has 600.
        max_size: limit of the longer side, in pixels.
        stride: of the map that regions are pooled from: 4, 8, 16 or 32.
        pooled: side of a pooled region, in places of the map.
        head_width: width of the two layers that classify a region; the paper has 4096.
        search: `fast`, `quality` or `single`, how thoroughly regions are searched.
        search_scale: of the first segmentation; larger gives larger and fewer regions.
        search_longest_side: larger images are searched at this size, in pixels.
        least_side: of a proposed region, in pixels of the image.
        proposals: regions an image.
        remembered: images whose regions are kept in memory.
        sampled_regions: regions an image in the loss, at most a quarter of them with an object.
        score_threshold: detections below are dropped, 0 to 1.
        nms_threshold: IoU above which the weaker of two boxes of a class is dropped, 0 to 1.
        max_detections: kept an image.

    Raises:
        ValueError: the images are not RGB.
        ImportError: OpenCV with its contributed modules is not installed.
    """
    check_channels("fast_rcnn", in_channels)
    backbone = OneMap(weights, stride)
    heads = RoIHeads(
        PooledRegions(pooled, stride),
        TwoMLPHead(backbone.out_channels * pooled**2, head_width),
        FastRCNNPredictor(head_width, n_classes + 1),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=sampled_regions,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=score_threshold,
        nms_thresh=nms_threshold,
        detections_per_img=max_detections,
    )
    looks = Search(search, search_scale, proposals, least_side, search_longest_side)
    resize = GeneralizedRCNNTransform(min_size, max_size, *NORMALISED.values())
    net = FastRCNN(SelectiveSearch(looks, remembered), backbone, heads, resize)
    return Detector(net, ["roi_heads.box_predictor"], numbers=range(1, n_classes + 1))
