"""An HTML page on disk, written atomically."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractDataset

from cv_pipelines.files import write_text


class PageDataset(AbstractDataset[str, str]):
    """Saves and loads one UTF-8 text file; a kill while writing leaves the one before.

    Args:
        filepath: the file.
        metadata: for kedro-viz.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = PurePosixPath(filepath)
        self.metadata = metadata

    def load(self) -> str:
        """Return the text."""
        return Path(self._filepath).read_text(encoding="utf8")

    def save(self, data: str) -> None:
        """Write the text."""
        write_text(Path(self._filepath), data)

    def _exists(self) -> bool:
        return Path(self._filepath).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
