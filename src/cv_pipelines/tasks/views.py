"""Views of an image that predictions are averaged over: mirrored, and at other sizes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def resized(x: Tensor, scale: float) -> Tensor:
    """Resize (B, C, H, W) images by a factor; a factor of 1 changes nothing."""
    size = [max(round(side * scale), 1) for side in x.shape[-2:]]
    if size == list(x.shape[-2:]):
        return x
    layout = (
        torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    )
    return F.interpolate(x, size, mode="bilinear", antialias=True).contiguous(memory_format=layout)
