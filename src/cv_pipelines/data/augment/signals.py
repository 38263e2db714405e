"""Augmentations of windows of tri-axial sensors, (C, T) float with channels in triples x, y, z."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from cv_pipelines.data.augment.geometry import Amount, Augment, Probability, chance
from cv_pipelines.data.augment.objects import Item

HOLDS = [
    torch.tensor(
        [[sign[i] if column == axis else 0.0 for column in range(3)] for i, axis in enumerate(order)]
    )
    for order in permutations(range(3))
    for sign in [(a, b, c) for a in (1.0, -1.0) for b in (1.0, -1.0) for c in (1.0, -1.0)]
]
HOLDS = [hold for hold in HOLDS if torch.linalg.det(hold) > 0]
"""The 24 turns by right angles: how a phone may be put into a pocket."""


def turn(*, deviation: Amount = 0.15) -> Augment:
    """Turn all triples alike about a random axis, as if the phone sat otherwise in the pocket.

    Args:
        deviation: of the angle, in radians.
    """
    return _on_signal(lambda x: _turned(x, rotation(deviation)))


def orientation(*, p: Probability = 0.5) -> Augment:
    """Turn all triples by right angles: axes swap places and signs, as in a phone put in upside down.

    Args:
        p: probability.
    """

    def change(x: Tensor) -> Tensor:
        """Turn one window, or leave it."""
        return _turned(x, HOLDS[int(torch.randint(len(HOLDS), ()))]) if chance(p) else x

    return _on_signal(change)


def amplitude(*, deviation: Amount = 0.1) -> Augment:
    """Scale a window.

    Args:
        deviation: of the factor around 1.
    """
    return _on_signal(lambda x: x * (1.0 + deviation * torch.randn(())))


def jitter(*, deviation: Amount = 0.05) -> Augment:
    """Add white noise.

    Args:
        deviation: of the noise, in units of each channel's deviation in the window.
    """
    return _on_signal(lambda x: x + deviation * x.std(dim=1, keepdim=True) * torch.randn_like(x))


def time_warp(*, deviation: Amount = 0.2, knots: Annotated[int, Field(ge=2)] = 4) -> Augment:
    """Let time run unevenly (Um et al., Data Augmentation of Wearable Sensor Data, 2017, §3).

    Args:
        deviation: of the speed around 1, at each knot.
        knots: places where the speed is drawn; between them it changes evenly.
    """

    def change(x: Tensor) -> Tensor:
        """Warp one window; it keeps its first and last sample."""
        length = x.shape[1]
        speed = (1.0 + deviation * torch.randn(knots)).clamp_min(0.1)
        speed = torch.nn.functional.interpolate(speed.view(1, 1, -1), length - 1, mode="linear")[0, 0]
        time = torch.cat([torch.zeros(1), speed.cumsum(0)])
        place = time / time[-1] * (length - 1)
        low = place.floor().long().clamp_max(length - 2)
        part = place - low
        return x[:, low] * (1 - part) + x[:, low + 1] * part

    return _on_signal(change)


def dropout(*, share: Probability = 0.1, p: Probability = 0.5) -> Augment:
    """Silence all channels for a while, as when samples are lost.

    Args:
        share: largest share of the window.
        p: probability.
    """

    def change(x: Tensor) -> Tensor:
        """Silence a part of one window, or leave it."""
        length = int(float(torch.rand(())) * share * x.shape[1])
        if not chance(p) or not length:
            return x
        start = int(torch.randint(x.shape[1] - length + 1, ()))
        silent = x.clone()
        silent[:, start : start + length] = 0.0
        return silent

    return _on_signal(change)


def rotation(deviation: float) -> Tensor:
    """Draw a rotation matrix (3, 3) about a uniform axis (Rodrigues' formula); `deviation` in radians."""
    axis = torch.nn.functional.normalize(torch.randn(3), dim=0)
    angle = float(torch.randn(())) * deviation
    zero = torch.zeros(())
    rows = [zero, -axis[2], axis[1], axis[2], zero, -axis[0], -axis[1], axis[0], zero]
    cross = torch.stack(rows).view(3, 3)
    return torch.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)


def _turned(x: Tensor, matrix: Tensor) -> Tensor:
    return (matrix @ x.view(-1, 3, x.shape[-1])).view_as(x)


def _on_signal(change: Callable[[Tensor], Tensor]) -> Augment:
    """Return a change of a window as a function of an item."""

    def augment(item: Item) -> Item:
        """Change the window of one item."""
        return item | {"signal": change(item["signal"])}

    return augment
