"""Presence and points of one object: EfficientNet-Lite0, and a head that regresses points or maps them."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cv_pipelines.models.detector import PyramidBackbone, check_channels
from cv_pipelines.models.efficientnet import Weights

Count = Annotated[int, Field(gt=0)]
Head = Literal["linear", "soft_argmax"]


class LandmarkNet(nn.Module):
    """A pyramid on the encoder; presence from the means of all its maps, points from the head.

    Args:
        n_outputs: 1 + 2P.
        weights: of the encoder.
        head: see `build`.
        first_stride: of the pyramid's finest map.
        width: channels of the pyramid.
        convs: convolutions before the maps of `soft_argmax`.
    """

    def __init__(
        self, n_outputs: int, weights: Weights, head: Head, first_stride: int, width: int, convs: int
    ) -> None:
        super().__init__()
        self.backbone = PyramidBackbone(weights, first_stride, width)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.maps: nn.Module | None = None
        self.linear = nn.Linear(width, n_outputs if head == "linear" else 1)
        if head == "soft_argmax":
            layers: list[nn.Module] = []
            for _ in range(convs):
                layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True)]
            self.maps = nn.Sequential(*layers, nn.Conv2d(width, (n_outputs - 1) // 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, 1 + 2P): a logit, then x, y of each point as shares of width and height."""
        maps = list(self.backbone(x).values())
        told: Tensor = self.linear(torch.stack([self.pool(m) for m in maps]).mean(dim=0))
        if self.maps is None:
            # Untrained, all points lie in the middle of the image.
            return torch.cat([told[:, :1], 0.5 + told[:, 1:]], dim=1)
        places = expected_places(self.maps(maps[0]))
        return torch.cat([told, places.flatten(1)], dim=1)


def expected_places(maps: Tensor) -> Tensor:
    """Return the mean place of each map's softmax (Nibali et al. 2018 §3.1; Sun et al. 2018 §2).

    Args:
        maps: (B, P, H, W) of any size.

    Returns:
        (B, P, 2) float32 x, y as shares of width and height: between the middles of the outermost cells.
    """
    height, width = maps.shape[-2:]
    shares = maps.float().flatten(2).softmax(dim=-1).view(maps.shape)
    columns, rows = ((torch.arange(n, device=maps.device) + 0.5) / n for n in (width, height))
    return torch.stack(
        [(shares.sum(dim=2) * columns).sum(dim=-1), (shares.sum(dim=3) * rows).sum(dim=-1)], dim=-1
    )


def build(
    in_channels: int,
    n_outputs: int,
    *,
    weights: Weights = "packaged",
    head: Head = "soft_argmax",
    first_stride: Literal[4, 8, 16] = 4,
    width: Count = 64,
    convs: Annotated[int, Field(ge=0)] = 2,
) -> LandmarkNet:
    """Build the network.

    Args:
        in_channels: must be 3.
        n_outputs: 1 + 2P, for P points.
        weights: `packaged` for ImageNet's, `none` for a random start.
        head: `linear` regresses all numbers from the pooled features, as courses teach it;
            `soft_argmax` has a map a point, whose centre of mass is the point.
        first_stride: stride of the maps of `soft_argmax`: 4, 8 or 16.
        width: channels of the pyramid.
        convs: 3×3 convolutions before the maps.

    Raises:
        ValueError: the images are not RGB.
    """
    check_channels("landmark_net", in_channels)
    return LandmarkNet(n_outputs, weights, head, first_stride, width, convs)
