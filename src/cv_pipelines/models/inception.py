"""A 1-D residual network of inception blocks for multi-channel signals (after Ismail Fawaz et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from cv_pipelines.models.normalisation import Norm, norm_layer


class InceptionBlock(nn.Module):
    """Parallel convolutions of several widths and a pooled branch, joined, with a residual path."""

    def __init__(
        self, in_channels: int, filters: int, kernels: Sequence[int], norm: Norm, dropped: float
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv1d(in_channels, filters, k, padding=k // 2, bias=norm == "none") for k in kernels
        )
        self.pooled = nn.Sequential(
            nn.MaxPool1d(3, stride=1, padding=1), nn.Conv1d(in_channels, filters, 1, bias=norm == "none")
        )
        width = filters * (len(kernels) + 1)
        self.norm = norm_layer(norm, width, dims=1)
        self.skip = nn.Sequential(
            nn.Conv1d(in_channels, width, 1, bias=norm == "none"), norm_layer(norm, width, dims=1)
        )
        self.depth = StochasticDepth(dropped, "row")

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T) to (B, filters × (kernels + 1), T)."""
        joined = torch.cat([*(branch(x) for branch in self.branches), self.pooled(x)], dim=1)
        return torch.relu(self.depth(self.norm(joined)) + self.skip(x))


class Inception1d(nn.Module):
    """Inception blocks with max-pooling between some, average pooling, dropout, a linear head."""

    def __init__(
        self,
        in_channels: int,
        n_classes: int,
        filters: int,
        kernels: Sequence[int],
        blocks: int,
        pool_after: Sequence[int],
        dropout: float,
        norm: Norm,
        stochastic_depth: float,
    ) -> None:
        super().__init__()
        width = filters * (len(kernels) + 1)
        layers: list[nn.Module] = []
        for number in range(1, blocks + 1):
            dropped = stochastic_depth * number / blocks
            inputs = in_channels if number == 1 else width
            layers.append(InceptionBlock(inputs, filters, kernels, norm, dropped))
            if number in pool_after:
                layers.append(nn.MaxPool1d(2))
        self.encoder = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(width, n_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T) float to (B, n_classes) logits."""
        logits: Tensor = self.head(self.encoder(x))
        return logits


def build(
    in_channels: int,
    n_classes: int,
    *,
    filters: int = 24,
    kernels: Sequence[int] = (5, 11, 21),
    blocks: int = 5,
    pool_after: Sequence[int] = (2, 4),
    dropout: float = 0.5,
    norm: Norm = "batch",
    stochastic_depth: Annotated[float, Field(ge=0, lt=1)] = 0.0,
) -> Inception1d:
    """Build the network.

    Args:
        in_channels: signal channels.
        n_classes: outputs.
        filters: filters a branch.
        kernels: odd kernel widths of the branches, in time steps.
        blocks: number of inception blocks.
        pool_after: halve the time axis after these blocks (1-based).
        dropout: before the linear head, 0 to 1.
        norm: of each block: `batch`, `group` or `none`.
        stochastic_depth: chance that a sample skips the last block's convolutions while training; less for
            earlier ones, in proportion to their depth (Huang et al. 2016 §3), 0 to 1.
    """
    return Inception1d(
        in_channels, n_classes, filters, kernels, blocks, pool_after, dropout, norm, stochastic_depth
    )
