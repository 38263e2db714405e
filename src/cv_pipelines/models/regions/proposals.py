"""Region proposals by selective search (Uijlings et al. 2013, IJCV 104), as OpenCV computes it.

A model finds the proposals of the image that it is given, whatever was done to the image before: in training,
in evaluation and for new files alike, and none have to be moved when images are mirrored or cut. What was
found for an image is remembered by its content, so it is searched once in a training without random colours
and cuts.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

Mode = Literal["fast", "quality", "single"]


@dataclass(frozen=True)
class Search:
    """How selective search looks at an image.

    Attributes:
        mode: `fast` groups in 2 colour spaces from 2 first segmentations each, by 2 measures of likeness;
            `quality` in 5 from 4, by 4; `single` once (§4, §5.3).
        scale: of the first segmentation, and what it grows by: larger gives larger first regions.
        limit: proposals kept an image.
        least_side: of a proposal, in pixels of the image.
        longest_side: larger images are searched at this size, in pixels.
    """

    mode: Mode
    scale: int
    limit: int
    least_side: int
    longest_side: int


class SelectiveSearch(nn.Module):
    """Maps images to proposals. It has no weights, and the same image always has the same proposals.

    Of an image and its mirror image one is searched, and the other has the mirrored proposals.

    Args:
        search: how an image is looked at.
        remembered: images whose proposals are kept in memory.

    Raises:
        ImportError: OpenCV with its contributed modules is not installed.
    """

    def __init__(self, search: Search, remembered: int) -> None:
        super().__init__()
        _segmentation()  # missing, it is better missed now
        self.search = search
        self.remembered = remembered
        self._known: OrderedDict[bytes, np.ndarray] = OrderedDict()

    def forward(self, images: list[Tensor]) -> list[Tensor]:
        """Map images (3, H, W), of any range of values, to boxes (N, 4) XYXY float32 in their own pixels.

        The first box is the whole image: there is always one.
        """
        return [torch.from_numpy(self._boxes(_pixels(image))).to(image.device) for image in images]

    def _boxes(self, pixels: np.ndarray) -> np.ndarray:
        """Return (N, 4) float32 for (H, W, 3) uint8."""
        mirrored = np.ascontiguousarray(pixels[:, ::-1])
        own, other = _digest(pixels), _digest(mirrored)
        key = min(own, other)
        found = self._known.pop(key, None)
        if found is None:
            found = proposals(pixels if key == own else mirrored, self.search)
        self._known[key] = found
        if len(self._known) > self.remembered:
            self._known.popitem(last=False)
        boxes = found.astype(np.float32)
        if key != own:
            boxes[:, [0, 2]] = pixels.shape[1] - boxes[:, [2, 0]]
        return boxes


def proposals(pixels: np.ndarray, search: Search) -> np.ndarray:
    """Propose regions of an image.

    They come in the order of their size times a random number, largest first: the paper's order (§4.3) with
    the size of a region in the place of its level in the hierarchy, which OpenCV does not tell. The random
    numbers are always the same.

    Args:
        pixels: (H, W, 3) uint8, RGB.
        search: how.

    Returns:
        (N, 4) float32, XYXY in pixels, at most `search.limit`; the whole image first.
    """
    import cv2

    height, width = pixels.shape[:2]
    shrink = min(search.longest_side / max(height, width), 1.0)
    size = (max(round(width * shrink), 1), max(round(height * shrink), 1))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if shrink < 1 else pixels
    searcher = _segmentation().createSelectiveSearchSegmentation()
    searcher.setBaseImage(np.ascontiguousarray(small[..., ::-1]))  # OpenCV's order of colours
    if search.mode == "single":
        searcher.switchToSingleStrategy(search.scale)
    elif search.mode == "fast":
        searcher.switchToSelectiveSearchFast(search.scale, search.scale)
    else:
        searcher.switchToSelectiveSearchQuality(search.scale, search.scale)
    found = np.asarray(searcher.process(), dtype=np.float64).reshape(-1, 4)
    found[:, 2:] += found[:, :2]
    found *= np.array([width / size[0], height / size[1]] * 2)
    whole = np.array([[0.0, 0.0, width, height]])
    return np.concatenate([whole, _ordered(found, search, whole[0])])[: search.limit].astype(np.float32)


def _ordered(boxes: np.ndarray, search: Search, whole: np.ndarray) -> np.ndarray:
    """Return different boxes that are large enough and not the whole image, in the order of search."""
    boxes = np.unique(boxes, axis=0)
    sides = boxes[:, 2:] - boxes[:, :2]
    boxes = boxes[(sides >= search.least_side).all(axis=1) & (boxes != whole).any(axis=1)]
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    place = np.argsort(np.argsort(-area, kind="stable"), kind="stable") + 1
    drawn = place * np.random.default_rng(0).uniform(size=len(boxes))
    return boxes[np.argsort(drawn, kind="stable")]


def _pixels(image: Tensor) -> np.ndarray:
    """Spread the values of a normalised image (3, H, W) over 0 to 255: (H, W, 3) uint8."""
    image = image.detach().float()
    low, high = image.amin(), image.amax()
    spread = (image - low) * (255 / (high - low).clamp_min(1e-6))
    return np.ascontiguousarray(spread.round().to(torch.uint8).permute(1, 2, 0).cpu().numpy())


def _digest(pixels: np.ndarray) -> bytes:
    return hashlib.blake2b(pixels.tobytes() + repr(pixels.shape).encode(), digest_size=16).digest()


def _segmentation() -> Any:
    """Return the module of OpenCV that has selective search."""
    try:
        from cv2.ximgproc import segmentation
    except ImportError:
        raise ImportError(
            "region proposals need OpenCV with its contributed modules: "
            "pip uninstall opencv-python-headless; pip install 'cv_pipelines[proposals]' (both bring cv2)"
        ) from None
    return segmentation
