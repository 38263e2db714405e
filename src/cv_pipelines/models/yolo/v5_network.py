"""The network of the v5-style detector: backbone and neck."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cv_pipelines.models.yolo.layers import CspStage, SpatialPyramidPooling, conv_block


class CspBackbone(nn.Module):
    """Five halvings; from the second on, each is followed by a cross-stage-partial stage."""

    def __init__(self, channels: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        c = channels
        self.stem = nn.Sequential(_conv(3, c[0], 6, 2))
        self.stages = nn.ModuleList(
            nn.Sequential(_conv(c[k], c[k + 1], 3, 2), CspStage(c[k + 1], c[k + 1], depth))
            for k, depth in enumerate(depths)
        )
        self.pooling = SpatialPyramidPooling(c[-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to the maps of strides 8, 16 and 32."""
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return [*maps[-3:-1], self.pooling(maps[-1])]


class PathAggregation(nn.Module):
    """A feature pyramid, and a path back down to the coarse maps (Liu et al., PANet, 2018 §3.1)."""

    def __init__(self, channels: Sequence[int], depth: int) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.lateral = nn.ModuleList([_conv(coarse, middle, 1), _conv(middle, fine, 1)])
        self.up = nn.ModuleList(
            [CspStage(2 * middle, middle, depth, False), CspStage(2 * fine, fine, depth, False)]
        )
        self.halve = nn.ModuleList([_conv(fine, fine, 3, 2), _conv(middle, middle, 3, 2)])
        self.down = nn.ModuleList(
            [CspStage(2 * fine, middle, depth, False), CspStage(2 * middle, coarse, depth, False)]
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Map three maps, finest first, to three of the same shapes."""
        fine, middle, coarse = maps
        top = self.lateral[0](coarse)
        middle = self.lateral[1](self.up[0](torch.cat([F.interpolate(top, scale_factor=2.0), middle], dim=1)))
        fine = self.up[1](torch.cat([F.interpolate(middle, scale_factor=2.0), fine], dim=1))
        middle = self.down[0](torch.cat([self.halve[0](fine), middle], dim=1))
        return [fine, middle, self.down[1](torch.cat([self.halve[1](middle), top], dim=1))]


def _conv(in_channels: int, channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return conv_block(in_channels, channels, kernel, stride, nn.SiLU)
