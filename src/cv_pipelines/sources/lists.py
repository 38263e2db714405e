"""Files of text and numbers beside the images: read wholly, or refused with a typed error."""

from __future__ import annotations

from pathlib import Path

from cv_pipelines.errors import SourceError


def read_whole(path: Path) -> bytes:
    """Read a regular file.

    Raises:
        SourceError: it is missing, or a folder or a pipe, or cannot be read.
    """
    check_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None


def check_file(path: Path) -> None:
    """Check that a path is a regular file: a pipe would be waited for without end.

    Raises:
        SourceError: it is none.
    """
    if not path.is_file():
        raise SourceError(f"{path}: missing, or not a file")


def unreadable(path: Path, error: OSError) -> SourceError:
    """Make the error for a file that the system does not let us read."""
    return SourceError(f"{path}: {error.strerror}; expected a file that can be read")


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file; bytes that are no UTF-8 become U+FFFD.

    Raises:
        SourceError: as `read_whole`.
    """
    return read_whole(path).decode("utf-8", "replace").splitlines()
