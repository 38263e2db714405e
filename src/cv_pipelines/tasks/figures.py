"""The figures of a training epoch, summed up step by step."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from cv_pipelines.data.ranks import total, world

Sum: TypeAlias = tuple[Tensor, int | None]
"""A sum so far, and over how many samples it is to be averaged; None for what stays a sum."""


class EpochFigures:
    """Sums on the device that the figures are on: nothing waits for it before the epoch ends.

    Lightning's own `log` does the same, but looks through all that it keeps at every step, which takes longer
    than a step of a small model.

    Attributes:
        sums: by name; put back what was `kept` to go on within an epoch.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Sum] = {}

    def add(self, name: str, value: Tensor, samples: int | None) -> None:
        """Add what a step gave.

        Args:
            name: of the figure.
            value: a scalar; a mean over the batch where `samples` is given.
            samples: of the batch, over all ranks; None to sum values up.
        """
        value = value.detach()
        value = value if value.dtype in (torch.float32, torch.float64) else value.float()
        step = value if samples is None else value * samples
        if name not in self.sums:
            self.sums[name] = (step, samples)
        else:
            before, count = self.sums[name]
            self.sums[name] = (before + step, None if count is None else count + (samples or 0))

    def kept(self) -> dict[str, Sum]:
        """Return the sums for a state to keep."""
        return {name: (value.cpu(), count) for name, (value, count) in self.sums.items()}

    def close(self) -> dict[str, float]:
        """Return the figures of the epoch, over all ranks, and start anew."""
        found = {}
        for name, (value, count) in self.sums.items():
            if count is None:
                found[name] = total(float(value))
            elif world() == 1:
                found[name] = float(value / count)
            else:
                found[name] = total(float(value)) / world() / count
        self.sums = {}
        return found
