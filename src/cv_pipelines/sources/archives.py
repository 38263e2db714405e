"""Unpacking archives that strangers made: nothing lands outside the folder, nothing fills the disk."""

from __future__ import annotations

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from cv_pipelines.errors import FetchError

CHUNK = 1 << 20
RESERVE = 1 << 30
"""Bytes of free disk below which unpacking stops."""

LEAST = 64 << 20
"""Bytes that any archive may unpack to, however small it is."""


class Unpacker:
    """Unpacks tar (plain, gz, bz2, xz) and zip archives into one folder.

    Files that are there already with the same size are passed over, so a killed unpacking goes on where it
    was: a file gets its name only when it is whole.

    Args:
        folder: where members go.
        growth: how many times larger than an archive its content may be.
        report: called with the number of bytes that a finished member has.
    """

    def __init__(
        self, folder: Path, *, growth: int = 100, report: Callable[[int], None] = lambda size: None
    ) -> None:
        self.folder = folder
        self.growth = growth
        self.report = report
        self.left = 0

    def unpack(self, archive: Path, *, nested: bool = False) -> None:
        """Unpack an archive.

        Args:
            archive: the file.
            nested: also unpack the tar files in it, each into a folder of its name.

        Raises:
            FetchError: not an archive, damaged, or not safe; names the archive and the member.
        """
        self.left = max(archive.stat().st_size * self.growth, LEAST)
        try:
            if zipfile.is_zipfile(archive):
                self._unzip(archive)
            else:
                with archive.open("rb") as file:
                    self._untar(archive.name, file, "r|*", PurePosixPath(), nested)
        except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError) as error:
            raise FetchError(f"{archive}: no archive, or damaged: {error}") from None

    def _untar(self, name: str, file: IO[bytes], mode: str, below: PurePosixPath, nested: bool) -> None:
        with tarfile.open(fileobj=file, mode=mode) as tar:  # type: ignore[call-overload]
            for member in tar:
                if member.isdir():  # made when a file goes there; many archives begin with "./"
                    continue
                path = below / _safe_path(name, member.name)
                stream = tar.extractfile(member) if member.isfile() else None
                if stream is None:
                    raise FetchError(
                        f"{name}: {member.name!r} is a link or a device; only files are unpacked"
                    )
                if nested and path.suffix == ".tar":
                    self._untar(f"{name}/{member.name}", stream, "r|", path.with_suffix(""), nested=False)
                else:
                    self._write(name, path, member.size, stream)

    def _unzip(self, archive: Path) -> None:
        with zipfile.ZipFile(archive) as file:
            for member in file.infolist():
                if member.is_dir():
                    continue
                path = _safe_path(archive.name, member.filename)
                kind = stat.S_IFMT(member.external_attr >> 16)
                if kind not in {0, stat.S_IFREG} or member.flag_bits & 1:
                    raise FetchError(f"{archive}: {member.filename!r} is a link, a device or encrypted")
                with file.open(member) as stream:
                    self._write(archive.name, path, member.file_size, stream)

    def _write(self, name: str, path: PurePosixPath, size: int, stream: IO[bytes]) -> None:
        """Write one member beside its place, then rename it there."""
        target = self.folder / path
        self.left -= size
        if self.left < 0:
            raise FetchError(f"{name}: unpacks to more than {self.growth} times its size; see fetch.growth")
        try:
            if target.is_file() and target.stat().st_size == size:
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self.folder).free < size + RESERVE:
                raise FetchError(f"{name}: no room for {path} ({size:,} bytes) in {self.folder}")
            fresh = target.with_name(target.name + ".unpacking")
            with fresh.open("wb") as file:
                if _copy(stream, file, size) != size:
                    raise FetchError(f"{name}: {path} is not the {size:,} bytes that the archive says")
            fresh.replace(target)
        except OSError as error:  # a name too long, or of a folder that is a file
            raise FetchError(f"{name}: cannot unpack {path}: {error}") from None
        self.report(size)


def _copy(stream: IO[bytes], file: IO[bytes], most: int) -> int:
    """Copy up to one byte more than `most`; return how many came."""
    done = 0
    while done <= most and (block := stream.read(min(CHUNK, most + 1 - done))):
        file.write(block)
        done += len(block)
    return done


def _safe_path(archive: str, name: str) -> PurePosixPath:
    """Return a member's path below the folder.

    Raises:
        FetchError: it would lie elsewhere.
    """
    path, windows = PurePosixPath(name.replace("\\", "/")), PureWindowsPath(name)
    if path.is_absolute() or windows.drive or ".." in path.parts or "\0" in name or not path.parts:
        raise FetchError(f"{archive}: {name!r} points out of the folder it is unpacked into")
    return path
