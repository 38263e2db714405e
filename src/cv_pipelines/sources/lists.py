"""Files of text and numbers beside the images: read wholly, or refused with a typed error."""

from __future__ import annotations

from pathlib import Path

from cv_pipelines.errors import SourceError


def read_whole(path: Path) -> bytes:
    """Read a regular file.

    Raises:
        SourceError: it is missing, or a folder or a pipe, or cannot be read.
    """
    if not path.is_file():  # a pipe would be waited for without end
        raise SourceError(f"{path}: missing, or not a file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}; expected a file that can be read") from None


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file; bytes that are no UTF-8 become U+FFFD.

    Raises:
        SourceError: as `read_whole`.
    """
    return read_whole(path).decode("utf-8", "replace").splitlines()
