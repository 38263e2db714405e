"""R-CNN (Girshick et al. 2014, arXiv 1311.2524): a CNN over every proposal, one SVM a class, moved boxes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_iou, clip_boxes_to_image, roi_align

from cv_pipelines.config.suppression import Suppression
from cv_pipelines.models.detector import Count, Share, Size, check_channels
from cv_pipelines.models.efficientnet import EfficientNetClassifier, Weights
from cv_pipelines.models.regions.machines import CODER, Fitting, Machines
from cv_pipelines.models.regions.proposals import Mode, Search, SelectiveSearch
from cv_pipelines.models.suppression import suppress

Targets = list[dict[str, Tensor]]


AT_ONCE = 64
"""Crops that the network sees together."""


class Rcnn(nn.Module):
    """Learned in two stages, as in the paper.

    First the network, by gradient: which class or background is a warped proposal (§2.3)? Then, of the
    finished network's features, `complete` finds an SVM and the moves of boxes for each class. Until that has
    been done the network's own softmax scores are given, and proposals stay where they are.

    Args:
        proposals: maps images to boxes.
        network: classifies crops; the last class is the background.
        crop: side of a crop, in pixels.
        context: of a crop's side, how much shows what lies around the proposal, on each side.
        sampled: proposals an image that the network learns from; at most a quarter of them with an object.
        fitting: of the second stage.
        rule: how detections are chosen.
    """

    machines: Tensor
    movers: Tensor
    size: Tensor
    completed: Tensor

    def __init__(
        self,
        proposals: nn.Module,
        network: EfficientNetClassifier,
        n_classes: int,
        crop: int,
        context: float,
        sampled: int,
        fitting: Fitting,
        rule: Suppression,
    ) -> None:
        super().__init__()
        self.proposals, self.network = proposals, network
        self.n_classes, self.crop, self.context, self.sampled = n_classes, crop, context, sampled
        self.fitting, self.rule = fitting, rule
        width = int(network.encoder.num_features)  # type: ignore[arg-type]
        self.register_buffer("machines", torch.zeros(n_classes, width + 1))
        self.register_buffer("movers", torch.zeros(n_classes, width + 1, 4))
        self.register_buffer("size", torch.ones(()))
        self.register_buffer("completed", torch.zeros((), dtype=torch.bool))

    def forward(
        self, images: list[Tensor], targets: Targets | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """In training, map images and targets to the loss of the network; else images to detections.

        Args:
            images: (3, H, W) float each, normalised; sizes may differ.
            targets: a dict an image with `boxes` (N, 4) XYXY in pixels and `labels` (N,) int64.

        Returns:
            Losses by name, or a dict an image with `boxes` (K, 4) in its own pixels, `labels`, `scores`, 0 to
            1, strongest first. The score of an SVM is the logistic function of its margin.
        """
        proposed = self.proposals(images)
        if not self.training:
            return [self._detect(*pair) for pair in zip(images, proposed, strict=True)]
        assert targets is not None
        chosen = [self._sampled(*pair) for pair in zip(proposed, targets, strict=True)]
        crops = torch.cat(
            [self._crops(image, boxes) for image, (boxes, _) in zip(images, chosen, strict=True)]
        )
        logits = self.network(crops).float()
        return {"loss_classifier": F.cross_entropy(logits, torch.cat([labels for _, labels in chosen]))}

    @torch.no_grad()
    def complete(self, batches: Iterable[tuple[list[Tensor], Targets]]) -> None:
        """Find the SVMs and the moves of boxes from the features of what was trained on (§2.3, appendix C).

        Args:
            batches: images and targets as in training, without augmentation.
        """
        machines = Machines(self.n_classes, self.fitting)
        for images, targets in batches:
            proposed = self.proposals(images)
            for image, boxes, target in zip(images, proposed, targets, strict=True):
                everything = torch.cat([boxes, target["boxes"].to(boxes)])
                machines.add(self._features(image, everything), boxes, target["boxes"], target["labels"])
        found = machines.solved()
        for name, value in found.items():
            getattr(self, name).copy_(value)
        self.completed.fill_(True)

    def _detect(self, image: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        features = self._features(image, boxes)
        if self.completed:
            row = F.pad(features / self.size, (0, 1), value=1.0)
            scores = (row @ self.machines.T).sigmoid()
            moves = torch.einsum("nd,cdk->nck", row, self.movers)
            places = CODER.decode_single(moves.flatten(1), boxes).view(len(boxes), -1, 4)
        else:
            scores = self.network.head(features).float().softmax(dim=1)[:, :-1]
            places = boxes[:, None].expand(-1, self.n_classes, -1)
        height, width = image.shape[-2:]
        places = clip_boxes_to_image(places.flatten(0, 1), (height, width))
        labels = torch.arange(self.n_classes, device=boxes.device).repeat(len(boxes))
        kept, kept_scores = suppress(places, scores.flatten(), labels, self.rule)
        return {"boxes": places[kept], "labels": labels[kept], "scores": kept_scores}

    def _features(self, image: Tensor, boxes: Tensor) -> Tensor:
        """Return the network's features (N, D) float32 of each proposal."""
        parts = boxes.split(AT_ONCE)  # type: ignore[no-untyped-call]
        return torch.cat([self.network.embed(self._crops(image, part)).float() for part in parts])

    def _crops(self, image: Tensor, boxes: Tensor) -> Tensor:
        """Warp proposals and some context to squares (N, 3, crop, crop), as in appendix A.

        What lies outside of the image is 0, the mean colour.
        """
        around = (boxes[:, 2:] - boxes[:, :2]) * (self.context / (1 - 2 * self.context))
        wider = torch.cat([boxes[:, :2] - around, boxes[:, 2:] + around], dim=1)
        crops: Tensor = roi_align(image[None].float(), [wider], self.crop, aligned=True)
        return crops

    def _sampled(self, boxes: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Draw proposals and true boxes to learn from, with a class each; the last is the background."""
        true = target["boxes"].to(boxes)
        boxes = torch.cat([true, boxes])
        labels = torch.full((len(boxes),), self.n_classes, device=boxes.device)
        if len(true):
            overlap, which = box_iou(boxes, true).max(dim=1)
            labels = torch.where(overlap >= 0.5, target["labels"][which], labels)
        order = torch.randperm(len(boxes), device=boxes.device)
        objects = order[labels[order] < self.n_classes][: max(self.sampled // 4, 1)]
        ground = order[labels[order] == self.n_classes][: self.sampled - len(objects)]
        chosen = torch.cat([objects, ground])
        return boxes[chosen], labels[chosen]


def build(
    in_channels: int,
    n_classes: int,
    *,
    weights: Weights = "packaged",
    crop: Annotated[int, Field(ge=32)] = 96,
    context: Annotated[float, Field(ge=0, lt=0.5)] = 0.07,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
    search: Mode = "fast",
    search_scale: Count = 100,
    search_longest_side: Count = 500,
    least_side: Count = 8,
    proposals: Count = 2000,
    remembered: Count = 20_000,
    sampled_regions: Annotated[int, Field(ge=2)] = 32,
    svm_c: Size = 0.001,
    ridge: Size = 1000.0,
    negative_iou: Share = 0.3,
    moved_iou: Share = 0.6,
    refit_every: Count = 2000,
    score_threshold: Share = 0.05,
    nms_threshold: Share = 0.3,
    max_detections: Count = 100,
) -> Rcnn:
    """Build the detector.

    Args:
        in_channels: must be 3.
        n_classes: object classes.
        weights: `packaged` for ImageNet's encoder, `none` for a random start.
        crop: side that proposals are warped to, in pixels; the paper has 227.
        context: of that side, how much shows what lies around a proposal, on each side; the paper has 16/227.
        dropout: of the network that is trained by gradient, 0 to 1.
        search: `fast`, `quality` or `single`, how thoroughly regions are searched.
        search_scale: of the first segmentation; larger gives larger and fewer regions.
        search_longest_side: larger images are searched at this size, in pixels.
        least_side: of a proposed region, in pixels of the image.
        proposals: regions an image.
        remembered: images whose regions are kept in memory.
        sampled_regions: regions an image in the loss, at most a quarter of them with an object.
        svm_c: how much the SVMs mind violated margins.
        ridge: weight of the penalty on the moves' coefficients (appendix C).
        negative_iou: proposals that overlap a class's objects by less than this are negatives of its SVM.
        moved_iou: the moves of boxes are learned from proposals that overlap an object by this much.
        refit_every: new hard negatives of a class after which its SVM is fitted again.
        score_threshold: detections below are dropped, 0 to 1.
        nms_threshold: IoU above which the weaker of two boxes of a class is dropped, 0 to 1.
        max_detections: kept an image.

    Raises:
        ValueError: the images are not RGB.
        ImportError: OpenCV with its contributed modules is not installed.
    """
    check_channels("rcnn", in_channels)
    looks = Search(search, search_scale, proposals, least_side, search_longest_side)
    rule = Suppression(
        name="nms",
        overlap=nms_threshold,
        score_threshold=score_threshold,
        candidates=proposals * n_classes,
        max_detections=max_detections,
    )
    return Rcnn(
        SelectiveSearch(looks, remembered),
        EfficientNetClassifier(n_classes + 1, weights, dropout),
        n_classes,
        crop,
        context,
        sampled_regions,
        Fitting(svm_c, ridge, negative_iou, moved_iou, refit_every),
        rule,
    )
