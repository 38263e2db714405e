"""Finding out what a path or an address holds, and whether a model can read it."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cv_pipelines.data.inspection import SUFFIX_FORMATS
from cv_pipelines.errors import InputError
from cv_pipelines.inference.model import Trained
from cv_pipelines.inference.pictures import PictureAddress, PictureFile, PictureFolder
from cv_pipelines.inference.samples import Input, Pending
from cv_pipelines.inference.video import SUFFIXES as VIDEOS
from cv_pipelines.inference.video import Video
from cv_pipelines.inference.windows import SensorTable

TABLES = {".csv", ".tsv", ".txt"}


@dataclass(frozen=True)
class TableFolder:
    """All sensor tables below a folder."""

    path: Path
    tables: list[tuple[str, SensorTable]]
    kind: str = "folder of sensor tables"

    @property
    def place(self) -> str:
        """The absolute path."""
        return str(self.path.resolve())

    def count(self) -> None:
        """Return None: the files would have to be read."""

    def pending(self, done: Container[str]) -> Iterator[Pending]:
        """Yield the windows of one file after another, named by file and window.

        Raises:
            InputError: as `SensorTable.pending`.
        """
        for name, table in self.tables:
            prefix = name.removesuffix(table.path.name)
            for window in table.pending(()):
                if prefix + window.name not in done:
                    yield replace(window, name=prefix + window.name)


def open_input(where: str, model: Trained, *, every: int = 1, skip: Path | None = None) -> Input:
    """Find out what `where` holds.

    Args:
        where: a file, a folder, or an HTTP address of an image.
        model: that is to read it.
        every: of a video, each so-manieth frame.
        skip: a folder that is left out of a folder of images.

    Raises:
        InputError: it is missing, of no known kind, or of a kind that the model cannot read.
    """
    found: Input
    if where.startswith(("http://", "https://")):
        _require(model, "image", where, "an address of an image")
        found = PictureAddress(where, model.channels)
    elif not Path(where).exists():
        raise InputError(f"{where}: there is no such file or folder")
    elif Path(where).is_dir():
        found = _folder(Path(where), model, skip)
    else:
        found = _file(Path(where), model, every)
    return found


def _file(path: Path, model: Trained, every: int) -> Input:
    suffix = path.suffix.lower()
    if suffix in SUFFIX_FORMATS:
        _require(model, "image", path, "an image")
        return PictureFile(path, model.channels)
    if suffix in VIDEOS:
        _require(model, "image", path, "a video")
        return Video(path, model.channels, every)
    if suffix in TABLES:
        _require(model, "signal", path, "a sensor table")
        return SensorTable(path, model.window)
    known = ", ".join(sorted({*SUFFIX_FORMATS, *VIDEOS, *TABLES}))
    raise InputError(f"{path}: no known kind of input; known are {known}, folders and HTTP addresses")


def _folder(path: Path, model: Trained, skip: Path | None) -> Input:
    if model.kind == "image":
        pictures = PictureFolder(path, model.channels, skip)
        if next(pictures.names(), None) is None:
            raise InputError(f"{path}: no image in it; known are {', '.join(sorted(SUFFIX_FORMATS))}")
        return pictures
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in TABLES and file.is_file())
    if not files:
        raise InputError(f"{path}: no sensor table in it; known are {', '.join(sorted(TABLES))}")
    tables = [(file.relative_to(path).as_posix(), SensorTable(file, model.window)) for file in files]
    return TableFolder(path, tables)


def _require(model: Trained, kind: str, where: object, what: str) -> None:
    if model.kind != kind:
        reads = "images" if model.kind == "image" else "windows of sensor signals"
        raise InputError(f"{where}: {what}; {model.name} ({model.task_name}) reads {reads}")
