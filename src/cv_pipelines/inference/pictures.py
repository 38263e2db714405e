"""Pictures as inputs: one file, a folder of files, an HTTP address."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from cv_pipelines.data.images import decode_rgb
from cv_pipelines.data.inspection import SUFFIX_FORMATS, is_text, note_oddities, read_file
from cv_pipelines.data.schema import Quarantine
from cv_pipelines.errors import BadSampleError, InputError
from cv_pipelines.inference.samples import Pending, Reading, image_tensor

LARGEST_DOWNLOAD = 100 * 2**20
"""Bytes that are taken from an address at most."""

SECONDS = (10.0, 60.0)
"""Longest wait for a connection, and for the next bytes."""

TRIES = Retry(3, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False)


def decoded(name: str, data: bytes, channels: int) -> Reading:
    """Decode a picture of any format for a model of so many channels.

    Raises:
        BadSampleError: it cannot be decoded; see `inspect_image`.
    """
    info, pixels = decode_rgb(name, data)
    noted = Quarantine()
    note_oddities(info, noted)
    return Reading(image_tensor(pixels, channels), noted.rows)


def _read(root: Path, name: str, channels: int) -> Reading:
    if not is_text(name):
        raise BadSampleError("unreadable file", "its name is no text")
    return decoded(name, read_file(root, name), channels)


@dataclass(frozen=True)
class PictureFile:
    """One picture."""

    path: Path
    channels: int
    kind: str = "image"

    @property
    def place(self) -> str:
        """The absolute path."""
        return str(self.path.resolve())

    def count(self) -> int:
        """Return 1."""
        return 1

    def pending(self, done: Container[str]) -> Iterator[Pending]:
        """Yield it, unless it is done."""
        if self.path.name not in done:
            yield Pending(self.path.name, partial(_read, self.path.parent, self.path.name, self.channels))


@dataclass(frozen=True)
class PictureFolder:
    """All pictures below a folder, by their suffixes; `skip` is a folder that is left out."""

    path: Path
    channels: int
    skip: Path | None = None
    kind: str = "folder of images"

    @property
    def place(self) -> str:
        """The absolute path."""
        return str(self.path.resolve())

    def names(self) -> Iterator[str]:
        """Yield the names of the pictures, relative to the folder, in a fixed order."""
        skip = self.skip.resolve() if self.skip else None
        for folder, folders, files in os.walk(self.path):
            folders[:] = sorted(name for name in folders if Path(folder, name).resolve() != skip)
            for name in sorted(files):
                if os.path.splitext(name)[1].lower() in SUFFIX_FORMATS:
                    yield os.path.relpath(os.path.join(folder, name), self.path).replace(os.sep, "/")

    def count(self) -> int:
        """Return how many pictures there are."""
        return sum(1 for _ in self.names())

    def pending(self, done: Container[str]) -> Iterator[Pending]:
        """Yield the pictures that are not done."""
        for name in self.names():
            if name not in done:
                yield Pending(name, partial(_read, self.path, name, self.channels))


@dataclass(frozen=True)
class PictureAddress:
    """A picture behind an HTTP address."""

    place: str
    channels: int
    kind: str = "image from the web"

    def count(self) -> int:
        """Return 1."""
        return 1

    def pending(self, done: Container[str]) -> Iterator[Pending]:
        """Fetch it, unless it is done.

        Raises:
            InputError: the address does not give it.
        """
        if self.place not in done:
            yield Pending(self.place, partial(decoded, self.place, fetch(self.place), self.channels))


def fetch(url: str, limit: int = LARGEST_DOWNLOAD) -> bytes:
    """Get the bytes behind an address into memory.

    Raises:
        InputError: it cannot be reached, refuses, or gives more than `limit` bytes.
    """
    try:
        with requests.Session() as session:
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=TRIES))
            with session.get(url, stream=True, timeout=SECONDS) as answer:
                answer.raise_for_status()
                data = bytearray()
                for part in answer.iter_content(2**16):
                    data += part
                    if len(data) > limit:
                        raise InputError(f"{url}: more than {limit:,} bytes; expected an image")
    except requests.RequestException as error:
        raise InputError(f"{url}: {error}") from None
    return bytes(data)
