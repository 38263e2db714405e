"""A folder of .npy files, loaded as memory maps: packed images and signals."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from kedro.io import AbstractDataset


class ArraysDataset(AbstractDataset[dict[str, np.ndarray], dict[str, np.ndarray]]):
    """Saves a dict of arrays as `<filepath>/<name>.npy` and loads them memory-mapped, read-only.

    Args:
        filepath: the folder.
        metadata: for kedro-viz.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = PurePosixPath(filepath)
        self.metadata = metadata

    def load(self) -> dict[str, np.ndarray]:
        """Map every array of the folder; none if the source packs nothing."""
        return {
            path.stem: np.load(path, mmap_mode="r") for path in sorted(Path(self._filepath).glob("*.npy"))
        }

    def save(self, data: dict[str, np.ndarray]) -> None:
        """Write each array to a temporary file, then rename; drop what is not in `data`."""
        folder = Path(self._filepath)
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in data.items():
            target = folder / f"{name}.npy"
            if _is_whole(array, target):
                continue  # unchanged since it was ingested
            fresh = folder / f"{name}.npy.writing"
            with fresh.open("wb") as file:
                np.save(file, array, allow_pickle=False)
            fresh.replace(target)
        for path in folder.glob("*.npy"):
            if path.stem not in data:
                path.unlink()

    def _exists(self) -> bool:
        return Path(self._filepath).is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


def _is_whole(array: np.ndarray, path: Path) -> bool:
    """Whether an array is the whole mapped file; slices and other views of it map the same file."""
    return (
        isinstance(array, np.memmap)
        and not isinstance(array.base, np.ndarray)
        and bool(array.filename)
        and Path(str(array.filename)) == path.resolve()
    )
