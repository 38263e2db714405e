"""Model cards (Mitchell et al. 2019): what a model is and is for, how good it is, where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cv_pipelines.plots.document import Block, cell_text, document, paragraphs, table


@dataclass(frozen=True)
class Part:
    """One part of a card.

    Attributes:
        heading: of it.
        text: plain text; blank lines part paragraphs.
        headers: of its table.
        rows: of its table; none for no table.
    """

    heading: str
    text: str = ""
    headers: Sequence[str] = ("", "")
    rows: Sequence[Sequence[Any]] = field(default_factory=tuple)


@dataclass(frozen=True)
class Card:
    """A model card.

    Attributes:
        title: the model and its version.
        subtitle: what it does.
        parts: in their order.
    """

    title: str
    subtitle: str
    parts: Sequence[Part]


def card_page(card: Card) -> str:
    """Return a card as one HTML page that needs no network."""
    blocks = [
        Block(
            part.heading,
            (paragraphs(part.text) if part.text else "")
            + (table(part.headers, part.rows, limit=200) if part.rows else ""),
        )
        for part in card.parts
    ]
    return document(card.title, card.subtitle, blocks)


def card_text(card: Card, longest: int | None = None) -> str:
    """Return a card as Markdown.

    Args:
        card: what is written.
        longest: characters; parts that do not fit any more are left out from the end.
    """
    text = f"# {card.title}\n\n{card.subtitle}\n"
    for part in card.parts:
        more = f"\n## {part.heading}\n" + (f"\n{part.text}\n" if part.text else "") + _table(part)
        if longest is not None and len(text) + len(more) > longest:
            break
        text += more
    return text


def _table(part: Part) -> str:
    if not part.rows:
        return ""
    lines = [part.headers, ["---"] * len(part.headers), *part.rows]
    return "\n" + "".join(f"| {' | '.join(_cell(value) for value in line)} |\n" for line in lines)


def _cell(value: Any) -> str:
    return cell_text(value).replace("|", "\\|").replace("\n", " ")
