"""A folder that a node works in: the node is given its path."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, Never

from kedro.io import AbstractDataset, DatasetError


class FolderDataset(AbstractDataset[Never, Path]):
    """Loads as the folder's absolute path; the folder need not exist yet. Nothing can be saved to it.

    Args:
        filepath: the folder.
        metadata: for kedro-viz.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = PurePosixPath(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """Return the path."""
        return Path(self._filepath).resolve()

    def save(self, data: Never) -> None:
        """Refuse.

        Raises:
            DatasetError: always.
        """
        raise DatasetError(f"{self._filepath} is a working folder; nodes write into it themselves")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
