"""Object detection with torchvision-style detectors, scored by pycocotools or the VOC protocol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import Tensor, nn

from cv_pipelines.config import Evaluate
from cv_pipelines.data.datasets import SourceData, Target, keypoint_names
from cv_pipelines.data.encoding import encode_segmentation
from cv_pipelines.errors import ConfigError
from cv_pipelines.models.suppression import suppressed
from cv_pipelines.tasks.base import Context, Scores, Task
from cv_pipelines.tasks.detection_scores import full_scores, protocol_scores, table_of
from cv_pipelines.tasks.fusion import Detections, weighted_boxes

COLUMNS = ["sample_id", "category", "score", "x", "y", "w", "h"]


class Detection(Task):
    """The detector owns its losses; this sums them.

    Args:
        model: maps images and targets to losses in training, images to detections otherwise.
        context: configuration, data, preprocessing.
    """

    target: ClassVar[Target] = "boxes"
    monitor: ClassVar[str] = "val_map_50"
    no_ensemble: ClassVar[str] = ""

    def __init__(self, model: nn.Module, context: Context) -> None:
        super().__init__(model, context)
        for kind, target in (("masks", "masks"), ("keypoints", "points")):
            if getattr(model, kind, False):
                if context.config.evaluate.flip:
                    name = context.config.model.name
                    raise ConfigError(f"evaluate.flip: {name} finds {kind}, which are not fused")
                self.target = target  # type: ignore[misc,assignment]
        points: Any = getattr(model, "keypoints", 0)
        if points:
            self.monitor = "val_keypoint_map"  # type: ignore[misc]
            named = len(keypoint_names(context.data.categories))
            if named != points:
                raise ConfigError(
                    f"model.points: {points}; objects of source {context.config.source} have {named}"
                )

    @classmethod
    def n_outputs(cls, data: SourceData) -> int:
        """Return the number of object classes."""
        return len(data.categories.objects)

    @staticmethod
    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        """Keep images and targets as lists: sizes differ; `dropped` counts boxes that augmentation lost."""
        targets = [
            {"boxes": item["boxes"].as_subclass(Tensor).reshape(-1, 4)}
            | {key: item[key].as_subclass(Tensor) for key in ("labels", "masks") if key in item}
            | ({"keypoints": poses_of(item)} if "keypoints" in item else {})
            for item in items
        ]
        dropped = sum(item.get("dropped", 0) for item in items)
        return Detection.collate_inputs(items) | {"targets": targets, "dropped": dropped}

    @classmethod
    def collate_inputs(cls, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Keep images as a list: sizes differ."""
        return {
            "index": torch.tensor([item["index"] for item in items]),
            "image": [item["image"].as_subclass(Tensor) for item in items],
        }

    def on_fit_start(self) -> None:
        """Let a detector with anchors refuse to learn objects that they do not fit."""
        check = getattr(self.model, "check_boxes", None)
        if check is not None:
            check(*self.context.data.only("train").box_sizes())

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """Return the sum of the detector's losses."""
        del batch_index
        losses = self.model([self.normalize(image) for image in batch["image"]], batch["targets"])
        loss = torch.stack(list(losses.values())).sum()
        for name, value in losses.items():
            self.note(f"train_{name}", value)
        self.note("train_loss", loss)
        self.figures.add("train_boxes_dropped", torch.tensor(float(batch["dropped"])), None)
        return loss

    def outputs(self, batch: dict[str, Any]) -> Iterable[Detections]:
        """Return what is found in each image, fused with what is found in its mirror image if asked for."""
        evaluate = self.context.config.evaluate
        images = [self.normalize(image) for image in batch["image"]]
        found = self._detect(images)
        if not evaluate.flip:
            return found
        mirrored = self._detect([image.flip(-1) for image in images])
        views = zip(found, mirrored, images, strict=True)
        return [self.fuse([one, two.mirrored(im.shape[-1])], [1, 1], evaluate) for one, two, im in views]

    def _detect(self, images: list[Tensor]) -> list[Detections]:
        found, rule = self.model(images), self.context.config.evaluate.suppression
        if rule is not None:
            found = [suppressed(one, rule) for one in found]
        return [
            Detections(
                output["boxes"].float().cpu().numpy().astype(float),
                output["labels"].cpu().numpy(),
                output["scores"].float().cpu().numpy(),
                _packed(output["masks"]) if "masks" in output else None,
                output["keypoints"].float().cpu().numpy().astype(float) if "keypoints" in output else None,
            )
            for output in found
        ]

    @classmethod
    def rows_of(cls, sample_id: str, output: Detections) -> list[dict[str, Any]]:
        """Return a row a detection: `COLUMNS`, and `segmentation` and `keypoints` where these are found.

        Boxes `x`, `y`, `w`, `h` are in image pixels; a mask is packed as `encode_segmentation` says;
        keypoints are a list of 3P floats (x, y, visibility).
        """
        boxes = zip(output.corners, output.labels, output.scores, strict=True)
        rows = (
            (sample_id, int(label), float(score), x1, y1, x2 - x1, y2 - y1)
            for (x1, y1, x2, y2), label, score in boxes
        )
        found = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        poses = None if output.keypoints is None else [pose.ravel().tolist() for pose in output.keypoints]
        for key, values in (("segmentation", output.segmentations), ("keypoints", poses)):
            if values is not None:
                found = [row | {key: value} for row, value in zip(found, values, strict=True)]
        return found

    @classmethod
    def fuse(cls, outputs: Iterable[Detections], weights: Sequence[float], evaluate: Evaluate) -> Detections:
        """Fuse boxes of a class that overlap; see `weighted_boxes`."""
        return weighted_boxes(list(outputs), weights, evaluate.fuse_iou)

    @classmethod
    def score(cls, predictions: pd.DataFrame, data: SourceData, evaluate: Evaluate) -> Scores:
        """Score boxes, and masks and poses where there are any; see `tasks.detection_scores`."""
        return full_scores(predictions, data, evaluate)

    @classmethod
    def validation_figures(
        cls, predictions: pd.DataFrame, data: SourceData, evaluate: Evaluate
    ) -> dict[str, float]:
        """Score by the protocol alone, with the back end that is asked for while training."""
        backend, table = evaluate.validation_backend, table_of(predictions)
        if table.empty:  # a column of poses comes with the first row; the figure that chooses is to be there
            table = table.assign(keypoints=None)
        return protocol_scores(table, data, evaluate, backend).values


def poses_of(item: dict[str, Any]) -> Tensor:
    """Return the keypoints of an item's objects, (N, P, 3) float32: x, y in pixels, visibility."""
    places = item["keypoints"].as_subclass(Tensor).float()
    return torch.cat([places, item["visibility"].as_subclass(Tensor)[..., None].float()], dim=-1)


def _packed(masks: Tensor) -> list[str]:
    """Pack masks (K, 1, H, W), 0 to 1: from a half on, a pixel belongs to the object."""
    return [encode_segmentation(mask) for mask in (masks[:, 0] >= 0.5).cpu().numpy()]
