"""Videos as inputs: a sample a frame, by OpenCV."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from cv_pipelines.errors import BadSampleError, InputError
from cv_pipelines.inference.samples import Pending, Reading, image_tensor

SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}

SLACK = 0.01
"""Share of the frames by which a file may fall short of its header, which is an estimate in some formats."""


@dataclass(frozen=True)
class Video:
    """The frames of a video, every so many."""

    path: Path
    channels: int
    every: int = 1
    kind: str = "video"

    @property
    def place(self) -> str:
        """The absolute path."""
        return str(self.path.resolve())

    def count(self) -> int | None:
        """Return the number of frames that the header tells; None if it tells none.

        Raises:
            InputError: it is no video that can be opened.
        """
        frames = self._told(self._open())
        return -(-frames // self.every) if frames > 0 else None

    def pending(self, done: Container[str]) -> Iterator[Pending]:
        """Yield the frames that are not done; they are named by their number, from 0.

        Raises:
            InputError: as `count`.
        """
        video = self._open()
        number = 0
        while video.grab():
            name = f"{self.path.name}#{number:06d}"
            if number % self.every == 0 and name not in done:
                yield Pending(name, partial(_frame, video.retrieve(), self.channels))
            number += 1
        told, end = self._told(video), f"{self.path.name}#end"
        if number < told * (1 - SLACK) - 1 and end not in done:
            yield Pending(end, partial(_cut_off, number, told))

    def _open(self) -> Any:
        video = _opencv().VideoCapture(str(self.path))
        if not video.isOpened():
            raise InputError(f"{self.path}: not a video that can be decoded")
        return video

    def _told(self, video: Any) -> int:
        return int(video.get(_opencv().CAP_PROP_FRAME_COUNT))


def _frame(retrieved: tuple[bool, np.ndarray], channels: int) -> Reading:
    usable, pixels = retrieved
    if not usable:
        raise BadSampleError("broken frame", "it cannot be decoded")
    return Reading(image_tensor(np.ascontiguousarray(pixels[..., ::-1]), channels))  # OpenCV gives BGR


def _cut_off(number: int, told: int) -> Reading:
    raise BadSampleError("truncated video", f"{number} frames; its header tells {told}")


def _opencv() -> ModuleType:
    try:
        import cv2
    except ImportError:
        raise InputError("videos need an extra: pip install 'cv_pipelines[video]'") from None
    return cv2
