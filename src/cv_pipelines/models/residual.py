"""A small residual CNN for images (He et al. 2016, "Identity Mappings", basic blocks at CIFAR scale)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from cv_pipelines.models.normalisation import Norm, norm_layer


class ResidualBlock(nn.Module):
    """Two normalised 3×3 convolutions and a shortcut; the first may halve the image.

    In training, `dropped` is the chance that a sample takes the shortcut alone.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int, norm: Norm = "batch", dropped: float = 0.0
    ) -> None:
        super().__init__()
        bare = norm == "none"  # a norm would take a bias out again
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, stride, 1, bias=bare),
            norm_layer(norm, channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=bare),
            norm_layer(norm, channels),
        )
        self.depth = StochasticDepth(dropped, "row")
        same = stride == 1 and in_channels == channels
        self.skip: nn.Module = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=bare), norm_layer(norm, channels)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, channels, H / stride, W / stride)."""
        return torch.relu(self.depth(self.body(x)) + self.skip(x))


class ResidualEncoder(nn.Sequential):
    """A stem at full resolution, then stages of residual blocks, each after the first halving the image."""

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        blocks: Sequence[int],
        norm: Norm = "batch",
        stochastic_depth: float = 0.0,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, channels[0], 3, 1, 1, bias=norm == "none"),
            norm_layer(norm, channels[0]),
            nn.ReLU(inplace=True),
        ]
        previous, place = channels[0], 0
        for stage, (width, count) in enumerate(zip(channels, blocks, strict=True)):
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                place += 1
                dropped = stochastic_depth * place / sum(blocks)
                layers.append(ResidualBlock(previous, width, stride, norm, dropped))
                previous = width
        super().__init__(*layers)


class ResidualCnn(nn.Module):
    """Encoder, global average pooling, dropout, a linear head."""

    def __init__(
        self,
        in_channels: int,
        n_classes: int,
        channels: Sequence[int],
        blocks: Sequence[int],
        dropout: float,
        norm: Norm,
        stochastic_depth: float,
    ) -> None:
        super().__init__()
        self.encoder = ResidualEncoder(in_channels, channels, blocks, norm, stochastic_depth)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels[-1], n_classes)
        )

    def embed(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, channels[-1]): what the head's linear layer sees."""
        return self.encoder(x).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) float to (B, n_classes) logits."""
        logits: Tensor = self.head(self.encoder(x))
        return logits


def build(
    in_channels: int,
    n_classes: int,
    *,
    channels: Sequence[int] = (32, 64, 128),
    blocks: int | Sequence[int] = 2,
    dropout: float = 0.0,
    norm: Norm = "batch",
    stochastic_depth: Annotated[float, Field(ge=0, lt=1)] = 0.0,
) -> ResidualCnn:
    """Build the network.

    Args:
        in_channels: image channels.
        n_classes: outputs.
        channels: width of each stage.
        blocks: residual blocks of every stage, or a number for each.
        dropout: before the linear head, 0 to 1.
        norm: after each convolution: `batch`, `group` or `none`.
        stochastic_depth: chance that a sample skips the last block while training; less for earlier ones, in
            proportion to their depth (Huang et al. 2016 §3), 0 to 1.

    Raises:
        ValueError: not as many numbers of blocks as stages.
    """
    counts = [blocks] * len(channels) if isinstance(blocks, int) else blocks
    if len(counts) != len(channels):
        raise ValueError(f"blocks has {len(counts)} numbers for {len(channels)} stages")
    return ResidualCnn(in_channels, n_classes, channels, counts, dropout, norm, stochastic_depth)
