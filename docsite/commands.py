"""The reference of the command line, made from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator

import click

from cv_pipelines.cli import cv
from docsite.markdown import fenced, page


def pages() -> dict[str, str]:
    """Make the page: path below the reference to text."""
    parts = [f"## {name}\n\n{fenced(text)}" for name, text in _helps(cv, "kedro cv")]
    text = "Beside Kedro's own commands (`kedro run`, `kedro viz`, …) the project has these."
    return {"commands.md": page("Commands", text, *parts)}


def _helps(group: click.Group, name: str) -> Iterator[tuple[str, str]]:
    """Yield each command and what its `--help` shows."""
    for word, command in sorted(group.commands.items()):
        whole = f"{name} {word}"
        if isinstance(command, click.Group):
            yield from _helps(command, whole)
        elif not command.hidden:
            yield whole, command.get_help(click.Context(command, info_name=whole, max_content_width=100))
