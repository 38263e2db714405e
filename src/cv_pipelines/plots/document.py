"""HTML building blocks: a self-contained page, tables and figures; everything from data is escaped."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import plotly.graph_objects as go
import plotly.io as pio
from plotly.offline import get_plotlyjs

from cv_pipelines.plots.style import STYLE
from cv_pipelines.plots.theme import number

ROWS = 50
"""Rows that a table shows at most."""

WORD = 14
"""Characters of a word that a narrow column must not break."""

LISTED = 12
"""Entries of a list that a cell shows at most."""

# Nothing may be fetched: the page must work from a file without a network, whatever it was made of.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "form-action 'none'"
)


@dataclass(frozen=True)
class Section:
    """One part of a page.

    Attributes:
        heading: plain text; also becomes the anchor.
        text: plain text; blank lines part paragraphs.
        figure: shown below the text, None for none.
        body: HTML between text and figure, such as `table` gives.
    """

    heading: str
    text: str = ""
    figure: go.Figure | None = None
    body: str = ""


@dataclass(frozen=True)
class Link:
    """A table cell that leads to a relative path."""

    text: str
    path: str


@dataclass(frozen=True)
class Keyed:
    """A table cell whose text does not sort as it reads, such as a time.

    Attributes:
        text: that is shown.
        key: number to sort by; None for none.
    """

    text: str
    key: float | None


@dataclass(frozen=True)
class Thumbnail:
    """A table cell with a small picture.

    Attributes:
        data: `data:` address of the picture; empty for none.
    """

    data: str


@dataclass(frozen=True)
class Block:
    """A part of a page that is HTML already."""

    heading: str
    body: str


def document(title: str, subtitle: str, blocks: Sequence[Block], charts: bool = True) -> str:
    """Return a whole page with a table of contents; plotly.js is inlined once, nothing is fetched.

    Args:
        title: plain text.
        subtitle: plain text.
        blocks: the parts in order; headings become anchors.
        charts: whether any part is a chart, which takes plotly.js.
    """
    anchors = _anchors([block.heading for block in blocks])
    links = "".join(
        f'<a href="#{anchor}">{html.escape(block.heading)}</a>'
        for anchor, block in zip(anchors, blocks, strict=True)
    )
    parts = "".join(
        f'<section id="{anchor}"><h2>{html.escape(block.heading)}</h2>{block.body}</section>\n'
        for anchor, block in zip(anchors, blocks, strict=True)
    )
    script = f"<script>{get_plotlyjs()}</script>\n" if charts else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{html.escape(title)}</title>\n<link rel="icon" href="data:,">\n'
        f"<style>\n{STYLE}</style>\n{script}</head>\n<body>\n"
        f"<header><h1>{html.escape(title)}</h1><p>{html.escape(subtitle)}</p></header>\n"
        f"<nav>{links}</nav>\n<main>\n{parts}</main>\n</body>\n</html>\n"
    )


def _anchors(headings: Iterable[str]) -> list[str]:
    taken: list[str] = []
    for heading in headings:
        anchor = base = re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-") or "section"
        count = 2
        while anchor in taken:
            anchor, count = f"{base}-{count}", count + 1
        taken.append(anchor)
    return taken


def paragraphs(text: str) -> str:
    """Return plain text as escaped paragraphs, parted at blank lines."""
    return "".join(f"<p>{html.escape(part.strip())}</p>" for part in text.split("\n\n") if part.strip())


def figure_html(figure: go.Figure, identifier: str) -> str:
    """Return a figure as a `div` and its script, without plotly.js.

    Args:
        figure: any figure; its own height is kept, its width follows the page.
        identifier: unique in the page and the same every time; an underscore keeps it off the anchors.
    """
    config = {
        "displaylogo": False,
        "responsive": True,
        "modeBarButtonsToRemove": ["select2d", "lasso2d"],
        # Plotly can offer to upload a chart to its makers; data must not leave the page.
        "showSendToCloud": False,
        "plotlyServerURL": "",
    }
    inner = pio.to_html(
        figure,
        full_html=False,
        include_plotlyjs=False,
        div_id=identifier,
        config=config,
        default_width="100%",
    )
    return f'<div class="figure">{inner}</div>'


def sections_html(sections: Iterable[Section]) -> list[Block]:
    """Return sections as blocks, their figures numbered."""
    return [
        Block(
            section.heading,
            paragraphs(section.text)
            + section.body
            + (figure_html(section.figure, f"plot_{place}") if section.figure is not None else ""),
        )
        for place, section in enumerate(sections, start=1)
    ]


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]], limit: int = ROWS) -> str:
    """Return an HTML table; rows beyond `limit` are counted in a last row "and N more".

    Args:
        headers: column titles, plain text; an empty first one makes the first column a narrow column of keys.
        rows: cells: `Link`, `Keyed`, `Thumbnail`, or any value (see `cell_text`); digits of numbers are of
            one width.
        limit: rows to show at most.
    """
    if not rows:
        return '<p class="empty">no data: this table has no rows</p>'
    head = "".join(f"<th>{html.escape(title)}</th>" for title in headers)
    head = f"<thead><tr>{head}</tr></thead>" if any(headers) else ""
    kind = "" if headers[0] else ' class="keyed"'
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>\n" for row in rows[:limit])
    if len(rows) > limit:
        body += f'<tr class="more"><td colspan="{len(headers)}">and {len(rows) - limit:,} more</td></tr>\n'
    return f'<div class="table"><table{kind}>\n{head}\n<tbody>{body}</tbody>\n</table></div>'


def _cell(value: Any) -> str:
    if isinstance(value, Link):
        # Quoting the colon too makes any other scheme (javascript:, http:) a mere file name.
        return f'<td><a href="{html.escape(quote(value.path))}">{html.escape(value.text)}</a></td>'
    if isinstance(value, Thumbnail):
        picture = f'<img src="{html.escape(value.data)}" alt="">' if value.data else ""
        return f'<td class="thumbnail">{picture}</td>'
    if isinstance(value, Keyed):
        key = "" if value.key is None else f"{value.key:.10g}"
        return f'<td class="number" data-key="{key}">{html.escape(value.text)}</td>'
    text = cell_text(value)
    kind = ' class="number"' if isinstance(value, int | float) and not isinstance(value, bool) else ""
    if not kind and len(text) <= WORD and " " not in text:
        kind = ' class="word"'
    return f"<td{kind}>{html.escape(text)}</td>"


def cell_text(value: Any) -> str:
    """Write a value for people: "n/a" for None and NaN, long lists cut to "… and N more", dicts as JSON."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value, 4)
    if isinstance(value, list | tuple):
        shown = ", ".join(cell_text(entry) for entry in value[:LISTED])
        rest = f", … and {len(value) - LISTED:,} more" if len(value) > LISTED else ""
        return f"{len(value)}: {shown}{rest}" if len(value) > 3 else shown or "none"
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict) else str(value)
