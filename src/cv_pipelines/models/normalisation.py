"""The normalisation between layers, for models that leave the choice to the parameters file."""

from __future__ import annotations

from typing import Literal

from torch import nn

Norm = Literal["batch", "group", "none"]

GROUPS = 32
"""Most groups of a group norm (Wu & He 2018 §4.1)."""

GROUP_CHANNELS = 4
"""Fewest channels of a group: with one alone, a group norm would erase the mean of every map."""


def norm_layer(kind: Norm, channels: int, dims: Literal[1, 2] = 2) -> nn.Module:
    """Return a layer that normalises (B, channels, …).

    Args:
        kind: `batch` (Ioffe & Szegedy 2015), `group` (Wu & He 2018), which needs no large batch and does the
            same in training and prediction, or `none`.
        channels: of the maps.
        dims: 2 for images, 1 for signals.
    """
    if kind == "batch":
        return nn.BatchNorm2d(channels) if dims == 2 else nn.BatchNorm1d(channels)
    return nn.GroupNorm(group_count(channels), channels) if kind == "group" else nn.Identity()


def group_count(channels: int) -> int:
    """Return the number of groups: at most `GROUPS`, of at least `GROUP_CHANNELS`, dividing the channels."""
    most = max(min(GROUPS, channels // GROUP_CHANNELS), 1)
    return next(count for count in range(most, 0, -1) if channels % count == 0)
