"""What every kind of input becomes: samples that are named before they are read."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from cv_pipelines.data.datasets import channels_first


@dataclass(frozen=True)
class Reading:
    """A sample as it was read.

    Attributes:
        tensor: image (C, H, W) uint8 or signal (C, T) float32.
        defects: rows of a quarantine table: what was corrected or is odd about it.
    """

    tensor: Tensor
    defects: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Pending:
    """A sample that is yet to be read.

    Attributes:
        name: its id in the results; unique in an input.
        read: reads it, in any thread; raises BadSampleError where it is unusable.
    """

    name: str
    read: Callable[[], Reading]


class Input(Protocol):
    """Something to predict."""

    @property
    def kind(self) -> str:
        """What it is, in words."""

    @property
    def place(self) -> str:
        """Where it lies."""

    def count(self) -> int | None:
        """Return how many samples it has; None if that is only known at its end."""

    def pending(self, done: Container[str]) -> Iterator[Pending]:
        """Yield its samples in their order, without those that are done."""


def image_tensor(pixels: np.ndarray, channels: int) -> Tensor:
    """Turn RGB pixels into what a model of so many channels reads.

    Args:
        pixels: (H, W, 3) uint8.
        channels: 3, or 1 for grey (ITU-R 601 luma, as Pillow converts).

    Returns:
        (C, H, W) uint8.
    """
    return channels_first(pixels if channels == 3 else np.asarray(Image.fromarray(pixels).convert("L")))
