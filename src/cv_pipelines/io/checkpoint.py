"""A folder of checkpoints (safetensors and JSON), one a seed."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractDataset

from cv_pipelines.training.checkpoints import Checkpoint, load_checkpoints, save_checkpoints


class CheckpointDataset(AbstractDataset[dict[int, Checkpoint], dict[int, Checkpoint]]):
    """Saves and loads `{seed: Checkpoint}`; see `cv_pipelines.training.checkpoints` for the form on disk.

    Args:
        filepath: the folder.
        metadata: for kedro-viz.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = PurePosixPath(filepath)
        self.metadata = metadata

    def load(self) -> dict[int, Checkpoint]:
        """Read every seed's checkpoint."""
        return load_checkpoints(Path(self._filepath))

    def save(self, data: dict[int, Checkpoint]) -> None:
        """Replace the folder as a whole."""
        Path(self._filepath).parent.mkdir(parents=True, exist_ok=True)
        save_checkpoints(Path(self._filepath), data)

    def _exists(self) -> bool:
        return any(Path(self._filepath).glob("seed_*/model.json"))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
