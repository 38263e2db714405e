"""A reference page a reader: layout, terms and citation, options, and the sources that use it."""

from __future__ import annotations

from cv_pipelines.sources import READERS, reader
from docsite.declared import declared
from docsite.docstrings import docstring_of
from docsite.markdown import fenced, page, table
from docsite.options import options_of


def pages() -> dict[str, str]:
    """Make the pages: path below the reference to text."""
    rows = [(f"[`{name}`]({name}.md)", docstring_of(reader(name)).summary, _users(name)) for name in READERS]
    index = page(
        "Sources",
        "A source is a data set in one of these formats. How one is declared, fetched, inspected and split:"
        " [data](../../data.md); every key: [source](../source.md).",
        table(("reader", "reads", "sources"), rows),
    )
    return {"sources/index.md": index} | {f"sources/{name}.md": _page(name) for name in READERS}


def _users(name: str) -> str:
    return ", ".join(f"`{one.name}`" for one in declared("sources") if one.values["reader"] == name)


def _page(name: str) -> str:
    module = reader(name)
    about, read = docstring_of(module), docstring_of(module.read)
    drawn = "It can draw a small data set in this format: [`sample`](../source.md#sample)."
    return page(
        f"Reader `{name}`",
        about.summary,
        about.body,
        f"## Options\n\n{options_of(module.read)}",
        f"## How it reads\n\n{read.summary}\n\n{read.body}".rstrip(),
        drawn if hasattr(module, "write_sample") else "",
        *_declarations(name),
    )


def _declarations(name: str) -> list[str]:
    parts = []
    for one in declared("sources"):
        if one.values["reader"] != name:
            continue
        used = [f"`{e.name}`" for e in declared("experiments") if e.values["source"] == one.name]
        ending = f"Experiments: {', '.join(used)}." if used else "No experiment uses it yet."
        parts.append(f"## Source `{one.name}`\n\n`{one.path}`\n\n{fenced(one.text, 'yaml')}\n\n{ending}")
    return parts
