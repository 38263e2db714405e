"""Notebooks as pages: their text and code; what they show, they show when they are run."""

from __future__ import annotations

import json
from pathlib import Path

from docsite.declared import PROJECT
from docsite.markdown import MADE, fenced


def pages() -> dict[str, str]:
    """Make a page a notebook: path below the documentation to text."""
    found = sorted((PROJECT / "notebooks").glob("*.ipynb"))
    return {f"notebooks/{path.stem}.md": _page(path) for path in found}


def _page(path: Path) -> str:
    parts = []
    for cell in json.loads(path.read_text(encoding="utf8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(fenced(text, "python") if cell["cell_type"] == "code" else text)
    run = f"`jupyter lab notebooks/{path.name}` runs it; it is executed in the tests."
    return "\n\n".join([parts[0], MADE, run, *parts[1:]]) + "\n"
