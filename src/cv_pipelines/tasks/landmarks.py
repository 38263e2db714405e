"""Landmarks: is there an object, and where are its points? One object an image, no boxes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from cv_pipelines.config import Evaluate
from cv_pipelines.data.datasets import SourceData, Target, keypoint_names
from cv_pipelines.data.landmarks import landmarks_of, main_object, predicted_points
from cv_pipelines.metrics.landmarks import landmark_scores, point_distances
from cv_pipelines.tasks.base import Context, Scores, Task

Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]


class Landmarks(Task):
    """Cross-entropy of presence, and a smooth L1 of the points that are there and known; others do not care.

    Of several objects in an image the one with the largest box counts, among those with a known point.

    Args:
        model: maps (B, 3, H, W) to (B, 1 + 2P): the logit of presence, then x, y of each point as shares of
            the image's width and height.
        context: configuration, data, preprocessing.
        points_weight: factor of the points' loss.
        beta: distance, as a share of the side, up to which a point's loss is quadratic (Girshick 2015 §2.3).
    """

    target: ClassVar[Target] = "points"
    monitor: ClassVar[str] = "val_mean_error"
    higher_is_better: ClassVar[bool] = False

    def __init__(
        self, model: nn.Module, context: Context, *, points_weight: Weight = 10.0, beta: Share = 0.02
    ) -> None:
        super().__init__(model, context)
        self.points_weight, self.beta = points_weight, beta

    @classmethod
    def n_outputs(cls, data: SourceData) -> int:
        """Return one for presence and two a point."""
        return 1 + 2 * len(keypoint_names(data.categories))

    @staticmethod
    def collate(items: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Stack images, and the points of each one's main object.

        `present` (B,) is 1 where there is an object; `points` (B, P, 2) are shares of width and height;
        `known` (B, P) is 1 where the point counts.
        """
        batch: dict[str, Tensor] = Landmarks.collate_inputs(items)
        truths = [_truth(item) for item in items]
        keys = ("present", "points", "known")
        return batch | {
            key: torch.stack(part) for key, part in zip(keys, zip(*truths, strict=True), strict=True)
        }

    @classmethod
    def collate_inputs(cls, items: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Stack images."""
        batch: dict[str, Tensor] = Task.collate(
            [{key: item[key] for key in ("image", "index")} for item in items]
        )
        return batch

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Return the loss of a batch."""
        del batch_index
        output = self.model(self.inputs(batch)).float()
        presence = F.binary_cross_entropy_with_logits(output[:, 0], batch["present"])
        places = output[:, 1:].view_as(batch["points"])
        distances = F.smooth_l1_loss(places, batch["points"], reduction="none", beta=self.beta).sum(dim=-1)
        points = (distances * batch["known"]).sum(dim=1).mean() / distances.shape[1]
        loss = presence + self.points_weight * points
        for name, value in (("presence", presence), ("points", points), ("loss", loss)):
            self.note(f"train_{name}", value)
        return loss

    def outputs(self, batch: dict[str, Tensor]) -> Iterable[np.ndarray]:
        """Return (1 + 2P,) float64 a sample: the probability, then x, y of each point in image pixels."""
        output = self.model(self.inputs(batch)).double().cpu().numpy()
        samples = self.eval_data().samples.iloc[[int(index) for index in batch["index"]]]
        chances = 1 / (1 + np.exp(-output[:, :1]))
        told = np.concatenate([chances, output[:, 1:]], axis=1)
        return self.in_pixels(told, samples[["width", "height"]].to_numpy(np.float64))

    @staticmethod
    def in_pixels(told: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Turn shares of width and height into pixels of the image.

        Args:
            told: (B, 1 + 2P): presence, then x, y of each point as shares.
            sizes: (B, 2) width and height of each image.
        """
        places = told[:, 1:].reshape(len(told), -1, 2) * sizes[:, None] - 0.5
        return np.concatenate([told[:, :1], places.reshape(len(told), -1)], axis=1)

    @classmethod
    def rows_of(cls, sample_id: str, output: np.ndarray) -> list[dict[str, Any]]:
        """Return a row: `sample_id`, `score` (of presence), `keypoints` (3P floats: x, y in pixels, 1)."""
        places = output[1:].reshape(-1, 2)
        points = np.concatenate([places, np.ones((len(places), 1))], axis=1)
        return [{"sample_id": sample_id, "score": float(output[0]), "keypoints": points.ravel().tolist()}]

    @classmethod
    def score(cls, predictions: pd.DataFrame, data: SourceData, evaluate: Evaluate) -> Scores:
        """Score points and presence; see `cv_pipelines.metrics.landmarks`."""
        del evaluate
        names, truth = keypoint_names(data.categories), landmarks_of(data)
        chances, points = predicted_points(predictions, data)
        distances = point_distances(points, truth.points, truth.known)
        values = landmark_scores(distances, truth.sides, truth.spans, chances, truth.present)
        shares = 100 * distances / truth.sides[:, None]
        per_point = [
            {
                "name": name,
                "n": int(known.sum()),
                "mean_error": float(column[known].mean()) if known.any() else None,
            }
            for name, column, known in zip(names, shares.T, truth.known.T, strict=True)
        ]
        contract = {
            "classes": names,
            "image_side": "root of the area",
            "object": "the largest box with a known point",
            "pck": "of the longer side of the object's box",
        }
        right = (chances >= 0.5) == truth.present
        errors = [float(row[np.isfinite(row)].mean()) if np.isfinite(row).any() else 0.0 for row in shares]
        notes = [
            f"{'there' if there else 'nobody'} ({chance:.2f})" + (f", {error:.1f} % off" if there else "")
            for there, chance, error in zip(truth.present, chances, errors, strict=True)
        ]
        score = [-error - 100 * (not ok) for error, ok in zip(errors, right, strict=True)]
        per_sample = pd.DataFrame({"sample_id": data.samples["sample_id"], "score": score, "note": notes})
        return Scores(values, contract, {"per_point": per_point}, per_sample)


def _truth(item: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Return presence, the shares of width and height of each point, and which of them are known."""
    places, visibility = item["keypoints"].as_subclass(Tensor).float(), item["visibility"].as_subclass(Tensor)
    count = visibility.shape[-1]
    if not len(places):
        return torch.tensor(0.0), torch.zeros(count, 2), torch.zeros(count)
    boxes = item["boxes"].as_subclass(Tensor).reshape(-1, 4)
    chosen = main_object(boxes.numpy(), (visibility > 0).numpy())
    height, width = item["image"].shape[-2:]
    known = (visibility[chosen] > 0).float()
    points = (places[chosen] + 0.5) / torch.tensor([width, height])  # a point is the middle of its pixel
    return torch.tensor(1.0), points * known[:, None], known
