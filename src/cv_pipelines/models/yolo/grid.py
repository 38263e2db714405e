"""The places of a detector with anchors: an anchor at each cell of each level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

Side = Annotated[float, Field(gt=0)]
Shape = Annotated[Sequence[Side], Field(min_length=2, max_length=2)]
Anchors = Annotated[Sequence[Shape], Field(min_length=1)]
"""Width and height of each anchor, in pixels of the network's input."""


def divided(anchors: Anchors | None, default: Anchors, factor: float, levels: int) -> Tensor:
    """Give each level its anchors, the smallest to the finest.

    Args:
        anchors: as the parameters file has them; None for the default.
        default: in pixels of the paper's input.
        factor: from the paper's input to ours.
        levels: how many.

    Returns:
        (levels, A, 2) width and height in pixels.

    Raises:
        ValueError: they cannot be divided equally.
    """
    shapes = torch.tensor([list(shape) for shape in anchors or default], dtype=torch.float32)
    shapes = shapes * (factor if anchors is None else 1.0)
    if len(shapes) % levels:
        raise ValueError(f"anchors: {len(shapes)} are given; expected a multiple of the {levels} levels")
    return shapes[shapes.prod(dim=1).argsort(stable=True)].view(levels, -1, 2)


class AnchorGrid(nn.Module):
    """All places, level by level, anchor by anchor, row by row.

    Args:
        size: side of the input, in pixels.
        strides: of each level, in pixels.
        anchors: (levels, A, 2) width and height in pixels.

    Attributes:
        cells: (P, 2) column and row of each place.
        strides: (P, 1) of its level.
        anchors: (P, 2) its anchor.
        level: (P,) its level.
        shapes: (levels, A, 2) the anchors, as given.
        steps: the strides, as given.
        sides: cells along a side of each level.
    """

    cells: Tensor
    strides: Tensor
    anchors: Tensor
    level: Tensor
    shapes: Tensor

    def __init__(self, size: int, strides: Sequence[int], anchors: Tensor) -> None:
        super().__init__()
        self.register_buffer("shapes", anchors, persistent=False)
        self.steps, self.sides = list(strides), [size // stride for stride in strides]
        self.each = anchors.shape[1]
        parts = []
        for level, (stride, side) in enumerate(zip(strides, self.sides, strict=True)):
            rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
            cells = torch.stack([columns, rows], dim=-1).view(1, -1, 2).expand(self.each, -1, -1)
            own = anchors[level][:, None].expand(-1, side * side, -1)
            count = self.each * side * side
            parts.append((cells.reshape(-1, 2), torch.full((count, 1), stride), own.reshape(-1, 2), level))
        self.register_buffer("cells", torch.cat([part[0] for part in parts]), persistent=False)
        self.register_buffer("strides", torch.cat([part[1] for part in parts]), persistent=False)
        self.register_buffer("anchors", torch.cat([part[2] for part in parts]), persistent=False)
        level_of = torch.cat([torch.full((len(part[0]),), part[3]) for part in parts])
        self.register_buffer("level", level_of, persistent=False)
        self.starts = [0]
        for side in self.sides:
            self.starts.append(self.starts[-1] + self.each * side * side)

    def index(self, level: int, anchor: Tensor, cell: Tensor) -> Tensor:
        """Return the places (N,) of anchors (N,) of a level at cells (N, 2), column and row."""
        side = self.sides[level]
        return self.starts[level] + (anchor * side + cell[:, 1]) * side + cell[:, 0]

    def flat(self, maps: Sequence[Tensor]) -> Tensor:
        """Bring maps (B, A · K, H, W) of all levels to (B, P, K), in the order of the places."""
        rows = [one.unflatten(1, (self.each, -1)).permute(0, 1, 3, 4, 2).flatten(1, 3) for one in maps]  # type: ignore[no-untyped-call]
        return torch.cat(rows, dim=1)


def start_objectness(conv: nn.Conv2d, anchors: int, prior: float = 0.01) -> None:
    """Let objectness begin at a small probability: few places hold an object (Lin et al. 2017 §4.1).

    Args:
        conv: a head's last convolution, whose outputs are x, y, w, h, objectness and classes of each anchor.
        anchors: of its level.
        prior: the probability.
    """
    assert conv.bias is not None
    with torch.no_grad():
        conv.bias.view(anchors, -1)[:, 4] = -math.log((1 - prior) / prior)
