"""The network of YOLO v1: the paper's encoder or the packaged one, and the paper's head."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from cv_pipelines.models.efficientnet import Weights, encoder
from cv_pipelines.models.yolo.layers import conv_block, scaled

Backbone = Literal["efficientnet_lite0", "paper"]

POOL = (0, 0)

LAYERS = (
    *((7, 64), POOL, (3, 192), POOL, (1, 128), (3, 256), (1, 256), (3, 512), POOL),
    *(((1, 256), (3, 512)) * 4),
    *((1, 512), (3, 1024), POOL),
    *(((1, 512), (3, 1024)) * 2),
)
"""Kernel and channels of the 20 convolutions that the paper pretrains (figure 3), and its four poolings."""


def darknet(width: float) -> tuple[nn.Sequential, int]:
    """Return the paper's first 20 convolutions, stride 32, and the channels of their map.

    Each has a batch norm, which the paper's have not: without, nothing is learnt from a random start.
    """
    layers: list[nn.Module] = []
    channels = 3
    for kernel, paper in LAYERS:
        if kernel == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers.append(conv_block(channels, scaled(paper, width), kernel, 2 if kernel == 7 else 1))
        channels = scaled(paper, width)
    return nn.Sequential(*layers), channels


class LastMap(nn.Module):
    """The coarsest map of the packaged encoder."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.maps = encoder(weights)
        self.channels = int(self.maps.feature_info.channels()[-1])  # type: ignore[union-attr,operator]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, channels, H / 32, W / 32)."""
        coarsest: Tensor = self.maps(x)[-1]
        return coarsest


def features_of(backbone: Backbone, weights: Weights, width: float) -> tuple[nn.Module, int]:
    """Return the encoder, of stride 32, and the channels of its map."""
    if backbone == "paper":
        return darknet(width)
    last = LastMap(weights)
    return last, last.channels


def head_of(
    channels: int, side: int, width: int, stride: int, hidden: int, outputs: int, dropout: float
) -> nn.Sequential:
    """Return the paper's last four convolutions and two linear layers.

    Args:
        channels: of the encoder's map.
        side: of that map.
        width: channels of the convolutions.
        stride: of the second of them.
        hidden: outputs of the first linear layer.
        outputs: of the second.
        dropout: between the two, 0 to 1.
    """
    convs = [conv_block(channels if k == 0 else width, width, 3, stride if k == 1 else 1) for k in range(4)]
    last = -(-side // stride)
    return nn.Sequential(
        *convs,
        nn.Flatten(),
        nn.Linear(width * last * last, hidden),
        nn.LeakyReLU(0.1, inplace=True),
        nn.Dropout(dropout),
        nn.Linear(hidden, outputs),
    )
