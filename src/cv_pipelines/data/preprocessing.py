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

    def forward(self, x: Tensor, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
        """Map raw (…, C, H, W) images or (…, C, T) signals to float32 of the same shape.

        Args:
            x: the values; images as uint8.
            memory_format: that a batch of images gets.
        """
        trailing = 2 if x.dtype == torch.uint8 else 1
        shape = (-1, *(1,) * trailing)
        mean, std = self.mean.view(shape), self.std.view(shape)
        # an exported program has no loop over a batch whose size is not known yet
        exporting = torch.compiler.is_exporting()
        if x.ndim == 4 and x.dtype == torch.uint8 and x.device.type == "cpu" and not exporting:
            return _one_by_one(x, mean, std, memory_format)
        result = torch.sub(x, mean).div_(std)
        return result.contiguous(memory_format=memory_format) if x.ndim == 4 else result

    def invert(self, x: Tensor) -> Tensor:
        """Map normalised (B, C, H, W) images back to 0..255 uint8."""
        raw = x.float() * self.std.view(-1, 1, 1) + self.mean.view(-1, 1, 1)
        return raw.round().clamp(0, 255).to(torch.uint8)


def _one_by_one(x: Tensor, mean: Tensor, std: Tensor, memory_format: torch.memory_format) -> Tensor:
    """Normalise (B, C, H, W) images so that each stays in the processor's cache.

    Where channels come and stay last, mean and deviation are laid out along a row: repeated for each pixel
    they would be met three numbers at a time.
    """
    result = torch.empty(x.shape, memory_format=memory_format, device=x.device)
    inputs, outputs = x, result
    rows = x.permute(0, 2, 3, 1)
    if memory_format == torch.channels_last and rows.is_contiguous():
        inputs, outputs = rows.flatten(2), result.permute(0, 2, 3, 1).flatten(2)
        mean, std = mean.flatten().repeat(x.shape[3]), std.flatten().repeat(x.shape[3])
    for image, out in zip(inputs, outputs, strict=True):
        out.copy_(image).sub_(mean).div_(std)
    return result
