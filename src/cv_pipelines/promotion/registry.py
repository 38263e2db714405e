"""What a promotion needs of a registry of models; which one it is, whoever starts the run says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.errors import RegistryError
from cv_pipelines.training.checkpoints import Checkpoint


@dataclass(frozen=True)
class Version:
    """A registered model's version.

    Attributes:
        model: `<prefix><task>.<source>`.
        number: of the version.
        run: id of the tracked run that made it.
        experiment: that made it.
        withdrawn: whether it was champion and somebody rolled it back.
    """

    model: str
    number: str
    run: str
    experiment: str
    withdrawn: bool = False


@dataclass(frozen=True)
class Nominee:
    """What is registered.

    Attributes:
        model: `<prefix><task>.<source>`; without a prefix where it is only logged.
        folder: of the checkpoint; the registry may write beside it.
        checkpoint: the same, in memory.
        data: its prepared source, all splits.
        served: whether it is registered in a form that loads and serves without this project.
    """

    model: str
    folder: Path
    checkpoint: Checkpoint
    data: SourceData
    served: bool

    @property
    def experiment(self) -> str:
        """That made it."""
        return self.checkpoint.meta.experiment

    @property
    def fingerprint(self) -> str:
        """Of its training."""
        return self.checkpoint.meta.fingerprint


class Registry(ABC):
    """Versions of models, of which one may be the champion.

    Attributes:
        prefix: put before the names of all models.
    """

    prefix: str = ""

    @abstractmethod
    def locked(self, model: str) -> AbstractContextManager[Any]:
        """Hold off other promotions of a model."""

    @abstractmethod
    def nominate(self, nominee: Nominee) -> Version:
        """Register a checkpoint as challenger; one that is registered already keeps its version."""

    @abstractmethod
    def champion(self, model: str) -> Version | None:
        """Return the champion; None if there is none."""

    @abstractmethod
    def fetch(self, version: Version, folder: Path) -> Path:
        """Copy a version's files as they lie in the registry into a folder; return where they are."""

    @abstractmethod
    def checkpoint(self, files: Path) -> Path:
        """Return the folder of the checkpoint among a version's files."""

    @abstractmethod
    def answers(self, files: Path, requests: list[Any], kind: str) -> list[dict[str, Any]]:
        """Ask a version as it is served.

        Args:
            files: of the version.
            requests: bytes of pictures, or windows (C, T).
            kind: `image` or `signal`.

        Raises:
            RegistryError: it cannot be served, or does not answer.
        """

    @abstractmethod
    def crown(self, version: Version, expected: Version | None) -> bool:
        """Make a version the champion, unless the champion is not the expected one any more."""

    @abstractmethod
    def origin(self, version: Version) -> dict[str, str]:
        """Return what is known of the run that made a version: commit, time."""

    @abstractmethod
    def describe(self, version: Version, text: str) -> None:
        """Show a text (Markdown) with a version."""

    @abstractmethod
    def note(self, version: Version, tags: dict[str, str]) -> None:
        """Tag a version and its run."""


_registries: list[Registry] = []


def use(registry: Registry) -> None:
    """Let all promotions of this process go to a registry; nodes are given tables, so it comes this way."""
    _registries[:] = [registry]


def current() -> Registry:
    """Return the registry of this process.

    Raises:
        RegistryError: none was named.
    """
    if not _registries:
        raise RegistryError("no registry of models was named to this process")
    return _registries[0]
