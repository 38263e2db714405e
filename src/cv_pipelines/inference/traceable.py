"""Layers that PyTorch can trace, for images of any size, in a time that one can wait for.

A graph computes in float32, so what holds a convolution to that is left out. The "same" padding of TensorFlow
is computed from the size of what is padded: traced through a whole network, the sizes become terms that take
hours to simplify. Where all sides can be divided by the strides, the padding is always the same.
"""

from __future__ import annotations

from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional as F

from cv_pipelines.models.efficientnet import Float32Conv


class FixedPadding(nn.Module):
    """A "same" convolution of inputs whose sides its stride divides."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        ways = zip(conv.kernel_size, conv.stride, conv.dilation, strict=True)
        down, right = (max((kernel - 1) * dilation + 1 - stride, 0) for kernel, stride, dilation in ways)
        self.around = (right // 2, right - right // 2, down // 2, down - down // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / stride, W / stride)."""
        conv = self.conv
        padded = F.pad(x, self.around)
        return F.conv2d(padded, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


class Clamp(nn.Module):
    """What `nn.Hardtanh` and `nn.ReLU6` do, which PyTorch takes apart for ONNX at half a second each."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        """Limit all values."""
        return x.clamp(self.low, self.high)


def make_traceable(module: nn.Module, divisible: bool) -> None:
    """Replace layers of a network by others that say the same in float32, in place.

    Args:
        module: the network.
        divisible: whether all strides divide the sides of what it is given.
    """
    for name, child in module.named_children():
        other = child.conv if isinstance(child, Float32Conv) else child
        if divisible and isinstance(other, Conv2dSame):
            other = FixedPadding(other)
        elif isinstance(other, nn.Hardtanh):
            other = Clamp(other.min_val, other.max_val)
        if other is not child:
            setattr(module, name, other)
        else:
            make_traceable(child, divisible)
