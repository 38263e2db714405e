"""Writing the state of a training: copied at once, written behind its back, whole or not at all."""

from __future__ import annotations

import copy
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from cv_pipelines.errors import CheckpointError

WAITING = 2
"""Copies that may wait for the disk; with more, a slow disk would fill the memory."""


class StateWriter(TorchCheckpointIO):
    """Lightning's way to the disk: saves in order from one thread, so that training goes on meanwhile.

    A failure is raised by the next save, or when the training ends; the file of before is intact then.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._writes: list[tuple[Path, Future[None]]] = []

    @property
    def busy(self) -> bool:
        """Whether something is still being written."""
        return any(not write.done() for _, write in self._writes)

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Copy a state and have it written.

        Raises:
            CheckpointError: an earlier one could not be written; names file and reason.
        """
        del storage_options
        self._settle(keep=WAITING - 1)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "state")
        write = self._pool.submit(write_whole, snapshot(checkpoint), Path(path))
        self._writes.append((Path(path), write))

    def drain(self) -> None:
        """Wait until all is written.

        Raises:
            CheckpointError: something could not be written; names file and reason.
        """
        self._settle(keep=0)

    def teardown(self) -> None:
        """Write what waits and end the thread."""
        try:
            self.drain()
        finally:
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None

    def _settle(self, keep: int) -> None:
        """Wait for the oldest writes until at most `keep` are left."""
        while self._writes and (len(self._writes) > keep or self._writes[0][1].done()):
            path, write = self._writes.pop(0)
            try:
                write.result()
            except OSError as error:
                raise CheckpointError(
                    f"{path}: the state of the training cannot be written: {error}. The one of before is "
                    "intact: make room, then start the same command again"
                ) from error


def snapshot(value: Any) -> Any:
    """Copy nested containers and their tensors (to the CPU, strides kept), so that training may go on."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        twin = copy.copy(value)  # keeps the versions that an ordered state_dict carries as an attribute
        for key, item in value.items():
            twin[key] = snapshot(item)
        return twin
    if type(value) in (list, tuple):
        return type(value)(snapshot(item) for item in value)
    return value


def write_whole(state: dict[str, Any], path: Path) -> None:
    """Write a state beside its path, to the disk itself, then rename: a kill or a full disk costs nothing.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".writing")
    try:
        with fresh.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except RuntimeError as error:  # how torch's writer reports what the disk refused
        fresh.unlink(missing_ok=True)
        raise OSError(str(error)) from error
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename outlive a power cut, where the system lets a folder be opened."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
