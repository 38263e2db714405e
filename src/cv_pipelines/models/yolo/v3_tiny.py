"""Tiny YOLOv3: the losses and anchors of YOLOv3 (Redmon & Farhadi 2018) at two scales of a small network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torchvision.ops import box_iou

from cv_pipelines.models.yolo.anchored import AnchoredYolo
from cv_pipelines.models.yolo.anchors import overlaps_enough, shape_iou
from cv_pipelines.models.yolo.detector import Truths, largest_at_each
from cv_pipelines.models.yolo.grid import AnchorGrid, Anchors, divided, start_objectness
from cv_pipelines.models.yolo.layers import conv_block, scaled
from cv_pipelines.models.yolo.letterbox import Resize
from cv_pipelines.models.yolo.selection import Selection

STRIDES = (16, 32)

COCO_ANCHORS = ((10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319))
"""Found on COCO by the authors, in pixels of an input of 416."""

LARGEST_LOG = math.log(1000 / 16)
"""Limit of t_w and t_h in decoding, as torchvision's: no box is more than 62 times its anchor."""


class TinyNetwork(nn.Module):
    """Ten convolutions and six poolings to stride 32, and a branch up to stride 16."""

    def __init__(self, outputs: int, width: float) -> None:
        super().__init__()
        w = [scaled(channels, width) for channels in (16, 32, 64, 128, 256, 512, 1024)]
        stem: list[nn.Module] = [conv_block(3, w[0], 3)]
        for before, after in pairwise(w[:5]):
            stem += [nn.MaxPool2d(2), conv_block(before, after, 3)]
        self.fine = nn.Sequential(*stem)
        # The last pooling keeps the size: a pixel repeated at the right and lower side changes no maximum.
        kept = nn.Sequential(nn.ReplicationPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, 1))
        self.coarse = nn.Sequential(
            nn.MaxPool2d(2),
            conv_block(w[4], w[5], 3),
            kept,
            conv_block(w[5], w[6], 3),
            conv_block(w[6], w[4], 1),
        )
        self.up = nn.Sequential(conv_block(w[4], w[3], 1), nn.Upsample(scale_factor=2))
        self.fine_head = nn.Sequential(conv_block(w[3] + w[4], w[4], 3), nn.Conv2d(w[4], outputs, 1))
        self.coarse_head = nn.Sequential(conv_block(w[4], w[5], 3), nn.Conv2d(w[5], outputs, 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to (B, outputs, H / 16, W / 16) and (B, outputs, H / 32, W / 32)."""
        fine = self.fine(x)
        coarse = self.coarse(fine)
        return [self.fine_head(torch.cat([self.up(coarse), fine], dim=1)), self.coarse_head(coarse)]


def encode(centres: Tensor, sizes: Tensor, cells: Tensor, strides: Tensor, anchors: Tensor) -> Tensor:
    """Return what a place has to say of a box (Redmon & Farhadi 2018 §2.1, inverted).

    Args:
        centres: (N, 2) x, y in pixels.
        sizes: (N, 2) width, height in pixels, above 0.
        cells: (N, 2) column and row of the place.
        strides: (N, 1) in pixels.
        anchors: (N, 2) width, height in pixels.

    Returns:
        (N, 4): σ(t_x) and σ(t_y), 0 to 1, t_w and t_h.
    """
    return torch.cat([centres / strides - cells, (sizes / anchors).log()], dim=-1)


def decode(code: Tensor, cells: Tensor, strides: Tensor, anchors: Tensor) -> Tensor:
    """Return the boxes (…, 4) XYXY in pixels of codes (…, 4); see `encode`."""
    centre = (code[..., :2] + cells) * strides
    half = anchors * code[..., 2:].clamp(max=LARGEST_LOG).exp() / 2
    return torch.cat([centre - half, centre + half], dim=-1)


@dataclass(frozen=True)
class Rules:
    """Which anchors learn what.

    Attributes:
        ignore_iou: above this IoU with an object, a place that is not its best gives no objectness loss.
        least_recall: share of the boxes whose best anchor must have `ignore_iou` with them.
    """

    ignore_iou: float
    least_recall: float


class YoloV3Tiny(AnchoredYolo):
    """Three anchors at each cell of two levels say x, y, w, h, objectness and each class by itself.

    Args:
        network: maps inputs to the maps of all levels.
        grid: the places.
        rules: which anchors learn what.
        size: side of the input, in pixels.
        resize: how images are brought to it.
        selection: what makes detections of predictions.
    """

    def __init__(
        self,
        network: TinyNetwork,
        grid: AnchorGrid,
        rules: Rules,
        size: int,
        resize: Resize,
        selection: Selection,
    ) -> None:
        matches = partial(overlaps_enough, least=rules.ignore_iou)
        super().__init__(grid, matches, rules.least_recall, size, resize, selection)
        self.network, self.rules = network, rules
        for head in (network.fine_head, network.coarse_head):
            last = head[-1]
            assert isinstance(last, nn.Conv2d)
            start_objectness(last, grid.each)

    def predictions(self, x: Tensor) -> Tensor:
        """Map (B, 3, size, size) to (B, P, 5 + classes) logits: t_x, t_y, t_w, t_h, objectness, classes."""
        return self.grid.flat(self.network(x))

    def losses(self, predictions: Tensor, truths: Truths) -> dict[str, Tensor]:
        """Return the paper's losses (§2.1, §2.2), sums over an image, means over images.

        Of all anchors, at its cell, the one most like an object learns it; where several objects claim a
        place, the largest gets it. Other places that overlap an object by more than `ignore_iou` are left
        alone.
        """
        n, count = predictions.shape[:2]
        place = self.assigned(truths)
        kept = largest_at_each(truths.image * count + place, truths.sizes)
        truths, place = truths.where(kept), place[kept]
        grid, found = self.grid, predictions[truths.image, place]
        wanted = encode(
            truths.centres, truths.sizes, grid.cells[place], grid.strides[place], grid.anchors[place]
        )
        said = torch.cat([found[:, :2].sigmoid(), found[:, 2:4]], dim=1)
        objects = torch.zeros_like(predictions[..., 4])
        objects[truths.image, place] = 1.0
        counted = ~self.overlapping(truths, n) | (objects > 0)
        confidence = F.binary_cross_entropy_with_logits(predictions[..., 4], objects, reduction="none")
        classes = F.one_hot(truths.labels, predictions.shape[2] - 5).to(found.dtype)
        parts = {
            "boxes": (said - wanted).square().sum(),
            "objectness": (confidence * counted).sum(),
            "classes": F.binary_cross_entropy_with_logits(found[:, 5:], classes, reduction="sum"),
        }
        return {name: value / n for name, value in parts.items()}

    def assigned(self, truths: Truths) -> Tensor:
        """Return the place (N,) that learns each object."""
        shapes = self.grid.shapes
        best = shape_iou(truths.sizes, shapes.flatten(0, 1)).argmax(dim=1)
        place = torch.zeros_like(best)
        for level, side in enumerate(self.grid.sides):
            here = (best // self.grid.each == level).nonzero()[:, 0]
            cell = (truths.centres[here] / self.grid.steps[level]).long().clamp(0, side - 1)
            place[here] = self.grid.index(level, best[here] % self.grid.each, cell)
        return place

    def overlapping(self, truths: Truths, n: int) -> Tensor:
        """Return (n, P) bool: whether the anchor, in the middle of its cell, overlaps an object too much."""
        middle = (self.grid.cells + 0.5) * self.grid.strides
        priors = torch.cat([middle - self.grid.anchors / 2, middle + self.grid.anchors / 2], dim=1)
        found = torch.zeros(n, len(priors), dtype=torch.bool, device=priors.device)
        for image in range(n):
            own = truths.boxes[truths.image == image]
            if len(own):
                found[image] = box_iou(priors, own).amax(dim=1) > self.rules.ignore_iou
        return found

    def decode(self, predictions: Tensor) -> tuple[Tensor, Tensor]:
        """Return a box a place; a class's score is its probability times objectness."""
        code = torch.cat([predictions[..., :2].sigmoid(), predictions[..., 2:4]], dim=-1)
        boxes = decode(code, self.grid.cells, self.grid.strides, self.grid.anchors)
        return boxes, predictions[..., 4:5].sigmoid() * predictions[..., 5:].sigmoid()


def build(
    in_channels: int,
    n_classes: int,
    *,
    size: Annotated[int, Field(gt=0, multiple_of=32)] = 416,
    resize: Resize = "letterbox",
    width: Annotated[float, Field(gt=0)] = 1.0,
    anchors: Anchors | None = None,
    ignore_iou: Annotated[float, Field(gt=0, lt=1)] = 0.5,
    least_recall: Annotated[float, Field(ge=0, le=1)] = 0.25,
    score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.05,
    nms_threshold: Annotated[float, Field(ge=0, le=1)] = 0.5,
    candidates: Annotated[int, Field(gt=0)] = 1000,
    max_detections: Annotated[int, Field(gt=0)] = 100,
) -> YoloV3Tiny:
    """Build the detector.

    Args:
        in_channels: must be 3.
        n_classes: object classes.
        size: side of the network's input, in pixels.
        resize: `letterbox` keeps the ratio of an image's sides; `stretch` fills the input.
        width: factor on the channels of the authors' network.
        anchors: width and height of each in pixels of the input, as `kedro cv anchors` prints them, half
            of them for each level; not given, those that the authors found on COCO, scaled to `size`.
        ignore_iou: above this IoU with an object, places that are not its best give no objectness loss.
        least_recall: share of the train split's boxes that must have `ignore_iou` with some anchor, 0 to 1.
        score_threshold: detections below are dropped, 0 to 1.
        nms_threshold: IoU above which the weaker of two boxes of a class is dropped, 0 to 1.
        candidates: so many of the best enter that suppression.
        max_detections: kept an image.

    Raises:
        ValueError: the images are not RGB, or the anchors cannot be divided among the levels.
    """
    if in_channels != 3:
        raise ValueError(f"yolo_v3_tiny reads RGB images; the source gives {in_channels} channels")
    shapes = divided(anchors, COCO_ANCHORS, size / 416, len(STRIDES))
    grid = AnchorGrid(size, STRIDES, shapes)
    network = TinyNetwork(grid.each * (5 + n_classes), width)
    selection = Selection(score_threshold, nms_threshold, candidates, max_detections)
    return YoloV3Tiny(network, grid, Rules(ignore_iou, least_recall), size, resize, selection)
