"""A classifier of windows, and the same weights as a convolution (Sermanet et al. 2014, OverFeat, §3.5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WINDOW = 36
"""Side of what the classifier sees, in pixels: 36 → 32 → 16 → 14 → 12 → 6 places."""

STRIDE = 4
"""Between the windows of the convolution: its two poolings."""

_PLACES = 6
_AT_ONCE = 512


class WindowClassifier(nn.Module):
    """Convolutions without padding, then two linear layers.

    Without padding, what is computed for a window depends on nothing outside of it; so a convolution over the
    whole image shares the work of windows that overlap and gives the scores of each all the same.

    Args:
        n_outputs: scores a window.
        width: channels of the first convolution; the others have twice as many.
        hidden: outputs of the first linear layer.
    """

    def __init__(self, n_outputs: int, width: int, hidden: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(3, width, 5),
            nn.MaxPool2d(2),
            *_convolution(width, 2 * width, 3),
            *_convolution(2 * width, 2 * width, 3),
            nn.MaxPool2d(2),
        )
        self.first = nn.Linear(2 * width * _PLACES**2, hidden)
        self.second = nn.Linear(hidden, n_outputs)

    def forward(self, windows: Tensor) -> Tensor:
        """Map windows (N, 3, 36, 36) to (N, n_outputs) logits."""
        logits: Tensor = self.second(F.relu(self.first(self.features(windows).flatten(1))))
        return logits

    def convolved(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to the logits of all their windows, in one pass.

        Args:
            images: sides of 36 pixels and a multiple of 4.

        Returns:
            (B, rows, columns, n_outputs); windows are 4 pixels apart.
        """
        maps = self.features(images)
        kernel = self.first.weight.view(len(self.first.weight), -1, _PLACES, _PLACES)
        places = F.relu(F.conv2d(maps, kernel, self.first.bias)).permute(0, 2, 3, 1)
        logits: Tensor = self.second(places)
        return logits

    def cropped(self, images: Tensor) -> Tensor:
        """Give what `convolved` gives by cutting out every window and looking at it alone."""
        windows = images.unfold(2, WINDOW, STRIDE).unfold(3, WINDOW, STRIDE)
        batch, _, rows, columns = windows.shape[:4]
        flat = windows.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        parts = flat.split(_AT_ONCE)  # type: ignore[no-untyped-call]
        logits = torch.cat([self(part) for part in parts])
        return logits.view(batch, rows, columns, -1)


def _convolution(before: int, after: int, kernel: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, kernel, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
