"""How raw samples become model inputs: part of a checkpoint, so it cannot drift from the weights."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from cv_pipelines.config import Inputs
from cv_pipelines.data.datasets import SourceData


class Preprocessing(BaseModel):
    """Resize and normalisation.

    Attributes:
        size: (height, width) that images are resized to; None keeps them.
        mean: subtracted from each channel, in raw units (0..255 for images).
        std: divides each channel.
    """

    model_config = ConfigDict(extra="forbid")

    size: list[int] | None
    mean: list[float]
    std: list[float]

    @classmethod
    def of(cls, inputs: Inputs, data: SourceData) -> Preprocessing:
        """Derive it from an experiment's `inputs` and, for `dataset`, the train statistics."""
        fixed = {"packaged": (127.0, 128.0), "half": (127.5, 127.5)}
        if inputs.normalize in fixed:
            mean, std = fixed[inputs.normalize]
            channels = data.channels
            return cls(size=inputs.size, mean=[mean] * channels, std=[std] * channels)
        return cls(size=inputs.size, mean=data.statistics["mean"], std=data.statistics["std"])


class Normalize(nn.Module):
    """(x - mean) / std a channel; channels are axis 1 of a batch or axis 0 of a single sample."""

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(preprocessing.mean), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map raw (…, C, H, W) images or (…, C, T) signals to float32 of the same shape."""
        if x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
            # Row by row, for a CPU is slow to repeat three numbers along the innermost axis.
            batch, channels, height, width = x.shape
            rows = x.permute(0, 2, 3, 1).view(batch, height, width * channels)
            rows = torch.sub(rows, self.mean.repeat(width)).div_(self.std.repeat(width))
            return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)
        trailing = 2 if x.dtype == torch.uint8 else 1
        shape = (-1, *(1,) * trailing)
        return torch.sub(x, self.mean.view(shape)).div_(self.std.view(shape))

    def invert(self, x: Tensor) -> Tensor:
        """Map normalised (B, C, H, W) images back to 0..255 uint8."""
        raw = x.float() * self.std.view(-1, 1, 1) + self.mean.view(-1, 1, 1)
        return raw.round().clamp(0, 255).to(torch.uint8)
