"""Pieces of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MADE = "<!-- Made from the code by `python -m docsite`. -->"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Make a table; bars in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def page(title: str, *parts: str) -> str:
    """Put a page together from its paragraphs; empty ones are left out."""
    return "\n\n".join([f"# {title}", MADE, *(part for part in parts if part)]) + "\n"


def fenced(text: str, language: str = "") -> str:
    """Show a text as it is."""
    return f"```{language}\n{text.strip(chr(10))}\n```"


def sentence(text: str) -> str:
    """Begin with a capital letter and end with a stop, as the cells of a table do not."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", ":")) or not text else ".")
