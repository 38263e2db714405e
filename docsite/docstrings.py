"""Docstrings in Google's style, taken apart."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from typing import Any

SECTIONS = r"Args|Attributes|Returns|Raises|Yields|Note|Example"


@dataclass(frozen=True)
class Docstring:
    """What an object says of itself.

    Attributes:
        summary: its first paragraph, one line.
        body: what follows it before the first section, as it is indented there.
        meanings: argument or attribute to its meaning, one line each.
    """

    summary: str
    body: str = ""
    meanings: dict[str, str] = field(default_factory=dict)


def docstring_of(documented: Any) -> Docstring:
    """Take the docstring of a module, a class or a function apart."""
    text = inspect.getdoc(documented) or ""
    head, *sections = re.split(rf"^(?=(?:{SECTIONS}):$)", text, flags=re.MULTILINE)
    summary, _, body = head.strip().partition("\n\n")
    meanings: dict[str, str] = {}
    for section in sections:
        if section.startswith(("Args:", "Attributes:")):
            entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
            meanings |= {name: one_line(meaning) for name, meaning in entries}
    return Docstring(one_line(summary), body.strip("\n"), meanings)


def one_line(text: str) -> str:
    """Join the lines of a text."""
    return " ".join(text.split())
