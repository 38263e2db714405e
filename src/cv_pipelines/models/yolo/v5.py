"""A detector in the style of YOLOv5, from the papers that its parts are described in.

Cross-stage-partial backbone (Wang et al. 2020), spatial pyramid pooling (He et al. 2015), path aggregation
(Liu et al. 2018), CIoU loss (Zheng et al. 2020), grid sensitivity removed, several places an object
(Bochkovskiy et al. 2020; Wang et al., Scaled-YOLOv4, 2021). Mosaic and the average of the weights are the
experiment's: `augment` and `train.ema`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torchvision.ops import complete_box_iou_loss

from cv_pipelines.models.yolo.anchored import AnchoredYolo
from cv_pipelines.models.yolo.anchors import like_enough
from cv_pipelines.models.yolo.detector import Truths, paired_iou
from cv_pipelines.models.yolo.grid import AnchorGrid, Anchors, divided, start_objectness
from cv_pipelines.models.yolo.layers import scaled
from cv_pipelines.models.yolo.letterbox import Resize
from cv_pipelines.models.yolo.selection import Selection
from cv_pipelines.models.yolo.v5_network import CspBackbone, PathAggregation

STRIDES = (8, 16, 32)

COCO_ANCHORS = (
    *((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119)),
    *((116, 90), (156, 198), (373, 326)),
)
"""YOLOv3's nine (Redmon & Farhadi 2018 §2.3), in pixels of an input of 416."""

SHORTEST_SIDE = 1e-3
"""Pixels: keeps the ratio of sides in CIoU a number."""


def decode(found: Tensor, cells: Tensor, strides: Tensor, anchors: Tensor) -> Tensor:
    """Return boxes (…, 4) XYXY in pixels.

    A centre lies from half a cell before to half a cell behind its own cell, a side is at most four times the
    anchor's: both bounded and smooth (Scaled-YOLOv4 §3).

    Args:
        found: (…, 4) logits t_x, t_y, t_w, t_h.
        cells: (…, 2) column and row.
        strides: (…, 1) in pixels.
        anchors: (…, 2) width and height in pixels.
    """
    twice = 2 * found.sigmoid()
    centre = (twice[..., :2] - 0.5 + cells) * strides
    half = (anchors * twice[..., 2:].square()).clamp(min=SHORTEST_SIDE) / 2
    return torch.cat([centre - half, centre + half], dim=-1)


@dataclass(frozen=True)
class Rules:
    """Which anchors learn what, and how much each part of the loss weighs.

    Attributes:
        largest_ratio: of a box's side to the anchor's, either way, for the anchor to learn it.
        least_recall: share of the boxes that must have such an anchor.
        box: weight of the CIoU loss.
        objectness: weight of the objectness loss.
        classes: weight of the class loss.
        levels: weight of each level's objectness, finest first.
    """

    largest_ratio: float
    least_recall: float
    box: float
    objectness: float
    classes: float
    levels: tuple[float, ...] = (4.0, 1.0, 0.4)


class YoloV5(AnchoredYolo):
    """Anchors at each cell of three levels; an object is learnt by all anchors like it, at up to three cells.

    Args:
        encoder: maps inputs to three maps.
        neck: maps these to three of the same shapes.
        channels: of the maps.
        grid: the places.
        n_classes: object classes.
        rules: which anchors learn what.
        size: side of the input, in pixels.
        resize: how images are brought to it.
        selection: what makes detections of predictions.
    """

    def __init__(
        self,
        encoder: nn.Module,
        neck: nn.Module,
        channels: Sequence[int],
        grid: AnchorGrid,
        n_classes: int,
        rules: Rules,
        size: int,
        resize: Resize,
        selection: Selection,
    ) -> None:
        matches = partial(like_enough, largest=rules.largest_ratio)
        super().__init__(grid, matches, rules.least_recall, size, resize, selection)
        self.encoder, self.neck, self.rules = encoder, neck, rules
        convs = [nn.Conv2d(width, grid.each * (5 + n_classes), 1) for width in channels]
        for conv in convs:
            start_objectness(conv, grid.each)
        self.heads = nn.ModuleList(convs)

    def predictions(self, x: Tensor) -> Tensor:
        """Map (B, 3, size, size) to (B, P, 5 + classes) logits: t_x, t_y, t_w, t_h, objectness, classes."""
        maps = self.neck(self.encoder(x))
        return self.grid.flat([head(one) for head, one in zip(self.heads, maps, strict=True)])

    def losses(self, predictions: Tensor, truths: Truths) -> dict[str, Tensor]:
        """Return CIoU and class losses, means over matches, and the objectness loss, a mean over each level.

        Objectness learns the IoU of the box that is predicted there with the object, 0 where there is none.
        """
        which, place = self.assigned(truths)
        image, boxes, labels = truths.image[which], truths.boxes[which], truths.labels[which]
        grid, found = self.grid, predictions[image, place]
        said = decode(found[:, :4], grid.cells[place], grid.strides[place], grid.anchors[place])
        some = max(len(which), 1)
        classes = F.one_hot(labels, predictions.shape[2] - 5).to(found.dtype)
        loss = F.binary_cross_entropy_with_logits(found[:, 5:], classes, reduction="sum")
        return {
            "boxes": self.rules.box * complete_box_iou_loss(said, boxes, reduction="sum") / some,
            "objectness": self.rules.objectness * self._objectness(predictions, image, place, said, boxes),
            "classes": self.rules.classes * loss / (some * classes.shape[1]),
        }

    def _objectness(
        self, predictions: Tensor, image: Tensor, place: Tensor, said: Tensor, boxes: Tensor
    ) -> Tensor:
        overlap = paired_iou(said.detach(), boxes)
        wanted = torch.zeros_like(predictions[..., 4]).flatten()
        at = image * predictions.shape[1] + place
        wanted = wanted.scatter_reduce(0, at, overlap, "amax").view(predictions.shape[:2])
        loss = F.binary_cross_entropy_with_logits(predictions[..., 4], wanted, reduction="none")
        levels = [loss[:, a:b].mean() for a, b in pairwise(self.grid.starts)]
        return torch.stack([w * one for w, one in zip(self.rules.levels, levels, strict=True)]).sum()

    def assigned(self, truths: Truths) -> tuple[Tensor, Tensor]:
        """Return pairs (M,), (M,): the index of an object and a place that learns it.

        These are all anchors that are like it enough, at the object's cell and at the two cells beside it
        that its centre is nearest to.
        """
        which, places = [], []
        for level, side in enumerate(self.grid.sides):
            one, anchor = self.matches(truths.sizes, self.grid.shapes[level]).nonzero(as_tuple=True)
            centre = truths.centres[one] / self.grid.steps[level]
            cell = centre.long().clamp(0, side - 1)
            nearer = torch.where(centre - cell < 0.5, -1, 1)
            for step in ((0, 0), (1, 0), (0, 1)):
                beside = cell + nearer * nearer.new_tensor(step)
                inside = ((beside >= 0) & (beside < side)).all(dim=1)
                which.append(one[inside])
                places.append(self.grid.index(level, anchor[inside], beside[inside]))
        return torch.cat(which), torch.cat(places)

    def decode(self, predictions: Tensor) -> tuple[Tensor, Tensor]:
        """Return a box a place; a class's score is its probability times objectness."""
        boxes = decode(predictions[..., :4], self.grid.cells, self.grid.strides, self.grid.anchors)
        return boxes, predictions[..., 4:5].sigmoid() * predictions[..., 5:].sigmoid()


def build(
    in_channels: int,
    n_classes: int,
    *,
    size: Annotated[int, Field(gt=0, multiple_of=32)] = 640,
    resize: Resize = "letterbox",
    width: Annotated[float, Field(gt=0)] = 0.5,
    depth: Annotated[float, Field(gt=0)] = 0.33,
    anchors: Anchors | None = None,
    largest_ratio: Annotated[float, Field(gt=1, le=4)] = 4.0,
    least_recall: Annotated[float, Field(ge=0, le=1)] = 0.25,
    box_weight: Annotated[float, Field(ge=0)] = 0.15,
    objectness_weight: Annotated[float, Field(ge=0)] = 1.0,
    class_weight: Annotated[float, Field(ge=0)] = 0.5,
    score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.05,
    nms_threshold: Annotated[float, Field(ge=0, le=1)] = 0.5,
    candidates: Annotated[int, Field(gt=0)] = 1000,
    max_detections: Annotated[int, Field(gt=0)] = 100,
) -> YoloV5:
    """Build the detector.

    Args:
        in_channels: must be 3.
        n_classes: object classes.
        size: side of the network's input, in pixels.
        resize: `letterbox` keeps the ratio of an image's sides; `stretch` fills the input.
        width: factor on channels of 64, 128, 256, 512 and 1024.
        depth: factor on 3, 6, 9 and 3 bottlenecks of the stages, at least one each.
        anchors: width and height of each in pixels of the input, as `kedro cv anchors` prints them, a third
            of them for each level; not given, those of YOLOv3, scaled to `size`.
        largest_ratio: of a box's side to an anchor's, either way, for the anchor to learn it; up to 4, which
            is the most that decoding reaches.
        least_recall: share of the boxes of the train split that must have such an anchor, 0 to 1.
        box_weight: of the CIoU loss.
        objectness_weight: of the objectness loss.
        class_weight: of the class loss.
        score_threshold: detections below are dropped, 0 to 1.
        nms_threshold: IoU above which the weaker of two boxes of a class is dropped, 0 to 1.
        candidates: so many of the best enter that suppression.
        max_detections: kept an image.

    Raises:
        ValueError: the images are not RGB, or the anchors cannot be divided among the levels.
    """
    if in_channels != 3:
        raise ValueError(f"yolo_v5 reads RGB images; the source gives {in_channels} channels")
    grid = AnchorGrid(size, STRIDES, divided(anchors, COCO_ANCHORS, size / 416, len(STRIDES)))
    channels = [scaled(paper, width) for paper in (64, 128, 256, 512, 1024)]
    depths = [max(round(paper * depth), 1) for paper in (3, 6, 9, 3)]
    rules = Rules(largest_ratio, least_recall, box_weight, objectness_weight, class_weight)
    return YoloV5(
        encoder=CspBackbone(channels, depths),
        neck=PathAggregation(channels[2:], depths[-1]),
        channels=channels[2:],
        grid=grid,
        n_classes=n_classes,
        rules=rules,
        size=size,
        resize=resize,
        selection=Selection(score_threshold, nms_threshold, candidates, max_detections),
    )
