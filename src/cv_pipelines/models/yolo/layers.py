"""Building blocks of the YOLOs' networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def scaled(channels: int, width: float) -> int:
    """Return a factor of a paper's number of channels, rounded to a multiple of 8, at least 8."""
    return max(round(channels * width / 8) * 8, 8)


def conv_block(
    in_channels: int, channels: int, kernel: int, stride: int = 1, activation: type[nn.Module] | None = None
) -> nn.Sequential:
    """Return a convolution that keeps the size (but for its stride), batch norm, activation.

    Args:
        in_channels: channels of the input.
        channels: of the output.
        kernel: side, in pixels; an even one is for stride 2.
        stride: of the convolution.
        activation: its class; leaky ReLU of slope 0.1 (Redmon et al. 2016, equation 2) if not given.
    """
    act: nn.Module = nn.LeakyReLU(0.1, inplace=True) if activation is None else activation(inplace=True)
    conv = nn.Conv2d(in_channels, channels, kernel, stride, (kernel - 1) // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), act)


class Bottleneck(nn.Module):
    """A 1×1 and a 3×3 convolution, with a shortcut where asked for."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_block(channels, channels, 1, activation=nn.SiLU),
            conv_block(channels, channels, 3, activation=nn.SiLU),
        )
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        y: Tensor = self.body(x)
        return x + y if self.shortcut else y


class CspStage(nn.Module):
    """Cross stage partial (Wang et al., CSPNet, 2020 §3): half of the channels go round the bottlenecks."""

    def __init__(self, in_channels: int, channels: int, count: int, shortcut: bool = True) -> None:
        super().__init__()
        half = channels // 2
        entry = conv_block(in_channels, half, 1, activation=nn.SiLU)
        self.through = nn.Sequential(entry, *(Bottleneck(half, shortcut) for _ in range(count)))
        self.around = conv_block(in_channels, half, 1, activation=nn.SiLU)
        self.join = conv_block(2 * half, channels, 1, activation=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, H, W)."""
        joined: Tensor = self.join(torch.cat([self.through(x), self.around(x)], dim=1))
        return joined


class SpatialPyramidPooling(nn.Module):
    """Maxima over windows of 5, 9 and 13 pixels beside the map (He et al. 2015; Bochkovskiy et al. 2020).

    The larger windows are the smaller one's maxima taken again: the same values for less work.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.reduce = conv_block(channels, half, 1, activation=nn.SiLU)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.join = conv_block(4 * half, channels, 1, activation=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        maps = [self.reduce(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        joined: Tensor = self.join(torch.cat(maps, dim=1))
        return joined
