"""What `conf/base/parameters` declares, with the YAML that does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[1]
PARAMETERS = PROJECT / "conf/base/parameters"


@dataclass(frozen=True)
class Declared:
    """One top-level section.

    Attributes:
        name: its key.
        values: what it says.
        text: the lines that say it.
        path: of its file, from the project.
    """

    name: str
    values: dict[str, Any]
    text: str
    path: str

    @property
    def task(self) -> str:
        """The task of an experiment."""
        return str(self.values["task"])


@cache
def declared(kind: str) -> tuple[Declared, ...]:
    """Return all sections of a kind (`sources`, `experiments`, …), by name."""
    found = []
    for path in sorted((PARAMETERS / kind).glob("*.yml")):
        text = path.read_text(encoding="utf8")
        root = yaml.compose(text)
        values, lines = yaml.safe_load(text), text.splitlines()
        for key, section in root.value:
            own = lines[key.start_mark.line : section.end_mark.line or None]
            shown = "\n".join(own).strip("\n")
            found.append(Declared(key.value, values[key.value], shown, str(path.relative_to(PROJECT))))
    return tuple(sorted(found, key=lambda one: one.name))
