"""What each augmentation is, read off its builder: for the gallery and for the documentation."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

from cv_pipelines.data.augment import AUGMENTS

REQUIRED = "required"


@dataclass(frozen=True)
class Option:
    """An option of an augmentation.

    Attributes:
        name: its key.
        default: its value if not given; `REQUIRED` where it has to be.
        meaning: plain text.
    """

    name: str
    default: Any
    meaning: str


@dataclass(frozen=True)
class Description:
    """An augmentation in words.

    Attributes:
        name: as in a parameters file.
        family: the module that it is in: geometry, color, mixing, pasting, presets, signals.
        tasks: that it may be used for.
        summary: what it does, one line; in brackets the paper.
        remark: what else its docstring says before its arguments, or "".
        options: in the order of the signature.
    """

    name: str
    family: str
    tasks: tuple[str, ...]
    summary: str
    remark: str
    options: tuple[Option, ...]


def describe(name: str) -> Description:
    """Describe a registered augmentation.

    Raises:
        KeyError: there is none of that name.
    """
    builder, tasks = AUGMENTS[name]
    text, _, arguments = (inspect.getdoc(builder) or "").replace("`", "").partition("Args:")
    summary, _, remark = text.strip().partition("\n\n")
    meanings = _meanings(arguments)
    options = tuple(
        Option(key, REQUIRED if p.default is inspect.Parameter.empty else p.default, meanings[key])
        for key, p in inspect.signature(builder).parameters.items()
    )
    family = builder.__module__.rpartition(".")[2]
    return Description(name, family, tasks, summary, " ".join(remark.split()), options)


def _meanings(arguments: str) -> dict[str, str]:
    """Read `name: text` entries, whose further lines are indented."""
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", arguments, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}
