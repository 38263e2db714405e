"""Semantic segmentation, scored at each image's own size from one data-set-level confusion matrix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cv_pipelines.config import Evaluate
from cv_pipelines.data.datasets import SourceData, Target
from cv_pipelines.data.encoding import decode_png, encode_png
from cv_pipelines.data.schema import IGNORE_INDEX
from cv_pipelines.metrics.confusion import confusion_matrix, segmentation_scores
from cv_pipelines.tasks.base import Context, Scores, Task
from cv_pipelines.tasks.fusion import weighted_mean
from cv_pipelines.tasks.views import resized


class Segmentation(Task):
    """Cross-entropy a pixel, optionally balanced, plus an overlap loss; void pixels count nowhere.

    Args:
        model: maps (B, 3, H, W) to (B, classes, H, W) logits.
        context: configuration, data, preprocessing.
        balance: `sqrt` weighs class c by the root of median frequency over its frequency (Eigen & Fergus
            2015 §6.3, damped).
        overlap: `lovasz` (Berman et al. 2018) or `dice` (Milletari et al. 2016) added to the cross-entropy.
        overlap_weight: factor of the overlap loss.
    """

    target: ClassVar[Target] = "mask"
    monitor: ClassVar[str] = "val_miou"
    no_ensemble: ClassVar[str] = ""

    def __init__(
        self,
        model: nn.Module,
        context: Context,
        *,
        balance: Literal["none", "sqrt"] = "none",
        overlap: Literal["none", "lovasz", "dice"] = "none",
        overlap_weight: float = 1.0,
    ) -> None:
        super().__init__(model, context)
        counts = context.data.statistics.get("pixels", [])
        weights = balanced_weights(counts) if balance == "sqrt" else None
        self.register_buffer("class_weights", weights, persistent=False)
        makers = {"lovasz": smp.losses.LovaszLoss, "dice": smp.losses.DiceLoss}
        self.overlap: nn.Module | None = (
            None if overlap == "none" else makers[overlap]("multiclass", ignore_index=IGNORE_INDEX)
        )
        self.overlap_weight = overlap_weight

    @classmethod
    def n_outputs(cls, data: SourceData) -> int:
        """Return the number of mask classes."""
        return len(data.categories.mask)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Return the loss of a batch."""
        del batch_index
        logits = self.model(self.inputs(batch)).float().contiguous()  # the losses are slow on channels-last
        mask = batch["mask"].long()
        loss = F.cross_entropy(logits, mask, self.class_weights, ignore_index=IGNORE_INDEX)  # type: ignore[arg-type]
        if self.overlap is not None:
            loss = loss + self.overlap_weight * self.overlap(logits, mask)
        self.note("train_loss", loss)
        return loss

    def mass(self, batch: dict[str, Tensor]) -> float:
        """Return the pixels that are not void, weighted as the cross-entropy weighs them."""
        classes = batch["mask"].long().flatten()
        classes = classes[classes != IGNORE_INDEX]
        weights = self.class_weights
        return float(len(classes) if weights is None else weights[classes].sum())  # type: ignore[index]

    def outputs(self, batch: dict[str, Tensor]) -> Iterable[Tensor]:
        """Yield the (classes, H, W) probabilities of each sample at image size, one at a time."""
        probabilities = self.probabilities(self.inputs(batch))
        samples = self.eval_data().samples.iloc[[int(index) for index in batch["index"]]]
        sizes = zip(samples["height"].astype(int), samples["width"].astype(int), strict=True)
        return (at_size(single, size) for single, size in zip(probabilities, sizes, strict=True))

    @classmethod
    def rows_of(cls, sample_id: str, output: Tensor) -> list[dict[str, Any]]:
        """Return a row: `sample_id`, `mask` (PNG bytes of (H, W) class indices at image size)."""
        mask = output.argmax(dim=0).to(torch.uint8).cpu().numpy()
        return [{"sample_id": sample_id, "mask": encode_png(mask)}]

    @classmethod
    def fuse(cls, outputs: Iterable[Tensor], weights: Sequence[float], evaluate: Evaluate) -> Tensor:
        """Average the probabilities pixel by pixel."""
        del evaluate
        return weighted_mean(outputs, weights)

    def probabilities(self, x: Tensor) -> Tensor:
        """Average over the configured views: normalised (B, 3, H, W) to (B, classes, H, W) probabilities."""
        evaluate = self.context.config.evaluate
        views = []
        for scale in evaluate.scales:
            scaled = resized(x, scale)
            probabilities = padded(self.model, scaled).float().softmax(dim=1)
            if evaluate.flip:
                mirrored = padded(self.model, scaled.flip(-1)).float().softmax(dim=1).flip(-1)
                probabilities = (probabilities + mirrored) / 2
            views.append(F.interpolate(probabilities, x.shape[-2:], mode="bilinear"))
        return torch.stack(views).mean(dim=0)

    @classmethod
    def score(cls, predictions: pd.DataFrame, data: SourceData, evaluate: Evaluate) -> Scores:
        """Score masks; see `cv_pipelines.metrics.confusion`."""
        names = data.categories.names("mask")
        order = {sample: index for index, sample in enumerate(data.samples["sample_id"])}
        total = np.zeros((len(names), len(names)), dtype=np.int64)
        rows = []
        for sample_id, png in zip(predictions["sample_id"], predictions["mask"], strict=True):
            matrix = confusion_matrix(decode_png(png), data.mask(order[sample_id]), len(names))
            total += matrix
            single = segmentation_scores(matrix, names)["miou"]
            rows.append({"sample_id": sample_id, "score": single, "note": f"mIoU {single:.2f}"})
        values = segmentation_scores(total, names)
        details = {
            "classes": names,
            "confusion": total.tolist(),
            "iou": [values[f"iou/{name}"] for name in names],
        }
        contract = {
            "classes": names,
            "void": "left out",
            "image_size": "each image's own",
            "scales": evaluate.scales,
        }
        return Scores(values, contract, details, pd.DataFrame(rows))


def padded(model: nn.Module, x: Tensor, multiple: int = 32) -> Tensor:
    """Run a model that needs sides divisible by `multiple`: pad by replication, cut the result back."""
    h, w = x.shape[-2:]
    extra_h, extra_w = -h % multiple, -w % multiple
    logits: Tensor = model(F.pad(x, (0, extra_w, 0, extra_h), mode="replicate"))
    return logits[..., :h, :w]


def at_size(probabilities: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (classes, h, w) probabilities to a height and width, where they are not of it already."""
    if probabilities.shape[1:] == size:
        return probabilities
    return F.interpolate(probabilities[None], size, mode="bilinear")[0]


def balanced_weights(pixels: list[int]) -> Tensor:
    """Weigh classes by sqrt(median frequency / frequency), scaled to a mean of 1 over all pixels.

    Args:
        pixels: number of pixels of each class in the train split.

    Returns:
        float32, a weight a class; 0 for a class without pixels.
    """
    counts = torch.tensor(pixels, dtype=torch.float64)
    present = counts > 0
    weights = torch.where(present, (counts[present].median() / counts.clamp_min(1)).sqrt(), 0.0)
    return (weights * counts.sum() / (weights * counts).sum()).float()
