"""Image classification: one label a sample, or several where the source is multi-label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cv_pipelines.config import Evaluate
from cv_pipelines.data.datasets import SourceData, Target
from cv_pipelines.metrics import classification as metrics
from cv_pipelines.tasks.base import Context, Scores, Task
from cv_pipelines.tasks.fusion import weighted_mean
from cv_pipelines.tasks.views import resized


class Classification(Task):
    """Cross-entropy over classes, or binary cross-entropy a class for multi-label sources.

    Args:
        model: gives (B, classes) logits.
        context: configuration, data, preprocessing.
        label_smoothing: share of the target spread over all classes (Szegedy et al. 2016), 0 to 1.
    """

    target: ClassVar[Target] = "label"
    monitor: ClassVar[str] = "val_accuracy"
    no_ensemble: ClassVar[str] = ""

    def __init__(self, model: nn.Module, context: Context, *, label_smoothing: float = 0.0) -> None:
        super().__init__(model, context)
        self.label_smoothing = label_smoothing
        if context.data.categories.multi_label:
            self.target, self.monitor = "labels", "val_map"  # type: ignore[misc]

    @classmethod
    def n_outputs(cls, data: SourceData) -> int:
        """Return the number of label classes."""
        return len(data.categories.labels)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Return the loss of a batch."""
        del batch_index
        logits, label = self.model(self.inputs(batch)), batch["label"]
        if label.ndim == 2:
            loss = F.binary_cross_entropy_with_logits(logits, label)
        elif "other_label" in batch:
            weight = batch["label_weight"].to(logits.dtype)
            first, other = (
                F.cross_entropy(logits, batch[key], label_smoothing=self.label_smoothing, reduction="none")
                for key in ("label", "other_label")
            )
            loss = (weight * first + (1 - weight) * other).mean()
        else:
            loss = F.cross_entropy(logits, label, label_smoothing=self.label_smoothing)
        self.note("train_loss", loss)
        return loss

    def probabilities(self, batch: dict[str, Tensor]) -> Tensor:
        """Return (B, classes) probabilities, averaged over sizes and the mirror image where asked for."""
        evaluate, x = self.context.config.evaluate, self.inputs(batch)
        views = [resized(x, scale) for scale in evaluate.scales] if x.ndim == 4 else [x]
        if evaluate.flip and x.ndim == 4:
            views = [side for view in views for side in (view, view.flip(-1))]
        activate = torch.sigmoid if self.context.data.categories.multi_label else _softmax
        return torch.stack([activate(self.model(view).float()) for view in views]).mean(dim=0)

    def outputs(self, batch: dict[str, Tensor]) -> Iterable[Tensor]:
        """Return the (classes,) float32 probabilities of each sample."""
        return self.probabilities(batch).cpu()

    @classmethod
    def rows_of(cls, sample_id: str, output: Tensor) -> list[dict[str, Any]]:
        """Return a row: `sample_id`, `probabilities` (a float32 a class)."""
        return [{"sample_id": sample_id, "probabilities": output.numpy().astype(np.float32)}]

    @classmethod
    def fuse(cls, outputs: Iterable[Tensor], weights: Sequence[float], evaluate: Evaluate) -> Tensor:
        """Average the probabilities."""
        del evaluate
        return weighted_mean(outputs, weights)

    @classmethod
    def score(cls, predictions: pd.DataFrame, data: SourceData, evaluate: Evaluate) -> Scores:
        """Score probabilities; see `cv_pipelines.metrics.classification`."""
        samples = data.samples.set_index("sample_id").loc[predictions["sample_id"]]
        probabilities = np.stack(list(predictions["probabilities"]))
        names = data.categories.names("labels")
        # named only where it is asked for, so that contracts of before it could be stay what they were
        sizes = {"scales": evaluate.scales} if evaluate.scales != [1.0] else {}
        contract = {"classes": names, **sizes}
        if data.categories.multi_label:
            return _score_multi_label(probabilities, samples, names, contract)
        labels = np.array([values[0] for values in samples["labels"]])
        values = metrics.classification_scores(probabilities, labels)
        guess = probabilities.argmax(axis=1)
        details: dict[str, Any] = {
            "classes": names,
            "confusion": _confusion(labels, guess, len(names)),
            "per_class": metrics.per_class(probabilities, labels, names),
            "calibration": metrics.calibration(probabilities, labels),
        }
        if samples["group"].nunique() < len(samples):
            groups = samples["group"].to_numpy()
            details["groups"] = metrics.group_accuracy(probabilities, labels, groups)
        per_sample = pd.DataFrame(
            {
                "sample_id": predictions["sample_id"].to_numpy(),
                "score": probabilities[np.arange(len(labels)), labels],
                "note": [f"{names[t]} → {names[p]}" for t, p in zip(labels, guess, strict=True)],
            }
        )
        return Scores(values, contract, details, per_sample)


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1)


def _confusion(labels: np.ndarray, guess: np.ndarray, n: int) -> list[list[int]]:
    counts: list[list[int]] = np.bincount(labels * n + guess, minlength=n * n).reshape(n, n).tolist()
    return counts


def _score_multi_label(
    probabilities: np.ndarray, samples: pd.DataFrame, names: list[str], contract: dict[str, Any]
) -> Scores:
    targets = np.zeros(probabilities.shape, dtype=bool)
    for row, labels in enumerate(samples["labels"]):
        targets[row, list(labels)] = True
    values = metrics.multi_label_scores(probabilities, targets)
    agreement = np.where(targets, probabilities, 1 - probabilities).min(axis=1)
    per_sample = pd.DataFrame({"sample_id": samples.index, "score": agreement, "note": ""})
    return Scores(values, contract, {"classes": names}, per_sample)
