"""An HTML page on disk, written atomically."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractDataset


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


def write_text(path: Path, text: str) -> None:
    """Write a text file beside its place, then rename it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".writing")
    fresh.write_text(text, encoding="utf8")
    fresh.replace(path)
