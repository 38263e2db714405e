"""U-Net (Ronneberger et al. 2015), with batch norm and padded convolutions: output and input sizes agree."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cv_pipelines.models.normalisation import Norm, norm_layer


class DoubleConv(nn.Sequential):
    """Two 3×3 convolutions, each with a norm and ReLU."""

    def __init__(self, in_channels: int, channels: int, norm: Norm) -> None:
        layers: list[nn.Module] = []
        for width in (in_channels, channels):
            layers += [
                nn.Conv2d(width, channels, 3, padding=1, bias=norm == "none"),
                norm_layer(norm, channels),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class UNet(nn.Module):
    """Contracting and expanding paths, joined by copies at each resolution."""

    def __init__(self, in_channels: int, n_classes: int, channels: Sequence[int], norm: Norm) -> None:
        super().__init__()
        self.encoder = nn.ModuleList()
        for width in channels:
            self.encoder.append(DoubleConv(in_channels, width, norm))
            in_channels = width
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for wide, narrow in zip(channels[::-1], channels[-2::-1], strict=False):
            self.up.append(nn.ConvTranspose2d(wide, narrow, 2, stride=2))
            self.decoder.append(DoubleConv(2 * narrow, narrow, norm))
        self.head = nn.Conv2d(channels[0], n_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, n_classes, H, W) logits; H, W divisible by 2^(levels - 1)."""
        copies: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else nn.functional.max_pool2d(x, 2))
            copies.append(x)
        for up, block, copy in zip(self.up, self.decoder, copies[-2::-1], strict=True):
            x = block(torch.cat([up(x), copy], dim=1))
        logits: Tensor = self.head(x)
        return logits


def build(
    in_channels: int,
    n_classes: int,
    *,
    channels: Sequence[int] = (16, 32, 64, 128),
    norm: Norm = "batch",
) -> UNet:
    """Build the network.

    Args:
        in_channels: image channels.
        n_classes: classes of a pixel.
        channels: width of each resolution, from the finest.
        norm: after each 3×3 convolution: `batch`, `group` or `none`.
    """
    return UNet(in_channels, n_classes, channels, norm)
