"""Autoencoder pretraining: reconstruct images, optionally from a disturbed copy (Vincent et al. 2008)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cv_pipelines.config import Evaluate
from cv_pipelines.data.datasets import SampleDataset, SourceData, Target
from cv_pipelines.data.encoding import decode_png, encode_png
from cv_pipelines.metrics.reconstruction import per_sample_mse, reconstruction_scores
from cv_pipelines.tasks.base import Context, Scores, Task


class Autoencoder(Task):
    """Mean squared error between image and reconstruction, on normalised values.

    Args:
        model: maps (B, C, H, W) to the same shape.
        context: configuration, data, preprocessing.
        mask: share of square patches of the input that are blanked while training, 0 to 1.
        patch: side of those patches, in pixels.
        noise: deviation of white noise on the input, in normalised units.
    """

    target: ClassVar[Target] = "none"
    monitor: ClassVar[str] = "val_mse"
    higher_is_better: ClassVar[bool] = False
    no_ensemble: ClassVar[str] = (
        "what it learns is a code, and the codes of two trainings have no axis in common; "
        "a mean of their reconstructions is the reconstruction of no code"
    )

    def __init__(
        self, model: nn.Module, context: Context, *, mask: float = 0.0, patch: int = 2, noise: float = 0.0
    ) -> None:
        super().__init__(model, context)
        self.mask, self.patch, self.noise = mask, patch, noise

    @classmethod
    def n_outputs(cls, data: SourceData) -> int:
        """Return 0: the model's output has the shape of its input."""
        del data
        return 0

    def disturb(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W) with patches blanked (to the mean) and noise added."""
        b, _, h, w = x.shape
        grid = torch.rand(b, 1, -(-h // self.patch), -(-w // self.patch), device=x.device) >= self.mask
        keep = F.interpolate(grid.float(), scale_factor=self.patch)[..., :h, :w]
        return x * keep + self.noise * torch.randn_like(x)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Return the reconstruction error of a batch."""
        del batch_index
        x = self.inputs(batch)
        loss = F.mse_loss(self.model(self.disturb(x)), x)
        self.note("train_loss", loss)
        return loss

    def predict_rows(self, batch: dict[str, Tensor]) -> list[dict[str, Any]]:
        """Return a row a sample: `sample_id`, `image` (PNG bytes of the reconstruction)."""
        pictures = self.normalize.invert(self.model(self.inputs(batch)))
        ids = self.sample_ids(batch, self.eval_data())
        return [
            {"sample_id": i, "image": encode_png(channels_last(p))}
            for i, p in zip(ids, pictures.cpu(), strict=True)
        ]

    @classmethod
    def score(cls, predictions: pd.DataFrame, data: SourceData, evaluate: Evaluate) -> Scores:
        """Compare 8-bit reconstructions with the 8-bit inputs, resized as the model saw them."""
        del evaluate
        rebuilt = np.stack([decode_png(png) for png in predictions["image"]])
        order = {sample: index for index, sample in enumerate(data.samples["sample_id"])}
        dataset = SampleDataset(data, "none", size=list(rebuilt.shape[1:3]))
        images = np.stack([channels_last(dataset[order[s]]["image"]) for s in predictions["sample_id"]])
        errors = per_sample_mse(images, rebuilt)
        per_sample = pd.DataFrame(
            {
                "sample_id": predictions["sample_id"],
                "score": -errors,
                "note": [f"mse {error:.4f}" for error in errors],
            }
        )
        contract = {"image_size": list(rebuilt.shape[1:3])}
        return Scores(reconstruction_scores(images, rebuilt), contract, {}, per_sample)


def channels_last(image: Tensor) -> np.ndarray:
    """Turn (C, H, W) into the (H, W) or (H, W, 3) array that pictures are saved as."""
    array = np.asarray(image)
    return array[0] if array.shape[0] == 1 else np.ascontiguousarray(array.transpose(1, 2, 0))
