"""Offline HTML pages: the report of an experiment, the report of a data source, the index of all."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from cv_pipelines.plots.document import Block, Section, cell_text, document, paragraphs, sections_html, table
from cv_pipelines.plots.leaderboard import index_page
from cv_pipelines.plots.meanings import contract_meaning, score_meaning
from cv_pipelines.plots.theme import finite, number

__all__ = ["Section", "contract_table", "data_page", "index_page", "report_page", "tile"]

TILES = 4
_ARROWS = {"higher": "↑ higher is better", "lower": "↓ lower is better", "": ""}


def report_page(
    title: str,
    subtitle: str,
    scores: Mapping[str, float | None],
    contract: Mapping[str, Any],
    sections: Sequence[Section],
    notes: Sequence[str] = (),
) -> str:
    """Return the report of an experiment as one HTML page that needs no network.

    Args:
        title: plain text, such as the experiment's name.
        subtitle: plain text.
        scores: name to value; the first `TILES` become the headline.
        contract: what the numbers hold for (data set, split, protocol, …).
        sections: the figures, in order.
        notes: plain text, a point each.
    """
    blocks = [
        Block("Scores", _tiles(scores) + _score_table(scores)),
        Block("What these numbers mean", contract_table(contract)),
        *sections_html(sections),
    ]
    if notes:
        points = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
        blocks.append(Block("Notes", f"<ul>{points}</ul>"))
    return document(title, subtitle, blocks)


def _tiles(scores: Mapping[str, float | None]) -> str:
    # A score with a slash is one class of a family: the table has it.
    headline = [(name, value) for name, value in scores.items() if finite([value]) and "/" not in name]
    tiles = "".join(tile(number(value), name) for name, value in headline[:TILES])
    return f'<div class="tiles">{tiles}</div>' if tiles else ""


def _score_table(scores: Mapping[str, float | None]) -> str:
    rows = []
    for name, value in scores.items():
        meaning = score_meaning(name)
        shown = float(value) if value is not None else None
        rows.append([name, shown, meaning.text, _ARROWS[meaning.better]])
    return table(["score", "value", "what it says", ""], rows)


def contract_table(contract: Mapping[str, Any]) -> str:
    """Return an HTML table of what figures hold for, key by key, and what each key says."""
    lead = "A number holds for one contract only. Compare it with another only where all of this is the same."
    rows = [[key.replace("_", " "), value, contract_meaning(key)] for key, value in contract.items()]
    return paragraphs(lead) + table(["", "here", "what it says"], rows)


def data_page(
    title: str,
    subtitle: str,
    tiles: Mapping[str, str],
    facts: Mapping[str, Any],
    sections: Sequence[Section],
    quarantine: Block,
) -> str:
    """Return the report of a data source as one HTML page that needs no network.

    Args:
        title: plain text, such as the source's name.
        subtitle: plain text.
        tiles: the headline: name to what is shown large.
        facts: what is known about the source (version, licence, counts, …), shown as a table.
        sections: the figures and tables, in order: checks, splits, classes, sizes, gallery, leaks.
        quarantine: the last part, see `defects.quarantine_block`.
    """
    rows = [[key.replace("_", " "), _fact(key, value)] for key, value in facts.items()]
    headline = "".join(tile(value, name) for name, value in tiles.items())
    blocks = [
        Block("Facts", f'<div class="tiles">{headline}</div>' + table(["", ""], rows)),
        *sections_html(sections),
        quarantine,
    ]
    return document(title, subtitle, blocks)


def _fact(key: str, value: Any) -> Any:
    if key == "year":  # a name, not a quantity: no comma
        return str(value)
    if isinstance(value, dict):
        return ", ".join(f"{name}: {cell_text(one)}" for name, one in value.items()) or "none"
    return value


def tile(value: str, name: str) -> str:
    """Return a headline: what is shown large, and the name below it."""
    return f'<div class="tile"><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>'
