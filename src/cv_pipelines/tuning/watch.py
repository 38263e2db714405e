"""Telling what a search does to whoever keeps a record of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Watcher:
    """Is told what happens in a study; this one does nothing with it."""

    def opened(self, identity: str) -> None:
        """Know the identity of the study, which all its processes share."""

    def started(self, number: int, parameters: dict[str, Any], folder: Path) -> None:
        """Know that a trial of some parameters works in a folder."""

    def ended(self, number: int, state: str, value: float | None, reason: str | None) -> None:
        """Know how a trial ended: `complete`, `pruned` or `failed`."""

    def decided(self, number: int, value: float) -> None:
        """Know the best trial when the search is over."""


_watchers = [Watcher()]


def watch_with(watcher: Watcher) -> None:
    """Let all searches of this process tell a watcher; nodes are given tables, so it comes this way."""
    _watchers[0] = watcher


def current() -> Watcher:
    """Return the watcher of this process."""
    return _watchers[0]
