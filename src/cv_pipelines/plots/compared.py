"""Two models compared: the page, and the figure of differences with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from cv_pipelines.plots.bars import LIMIT, ROW
from cv_pipelines.plots.document import Block, Link, Section, document, paragraphs, sections_html, table
from cv_pipelines.plots.meanings import score_meaning
from cv_pipelines.plots.page import contract_table, tile
from cv_pipelines.plots.theme import (
    MUTED,
    RIGHT,
    SOFT_INK,
    WRONG,
    finite,
    name_ticks,
    no_data,
    number,
    plain,
    styled,
)

FEW = 10
"""Groups below which an interval from them is rough."""

Row = Mapping[str, Any]


def compared_page(found: Mapping[str, Any]) -> str:
    """Return one HTML page of a comparison; it needs no network.

    Args:
        found: what `comparing.compare.compare` gave.
    """
    a, b, metric = found["a"], found["b"], found["metric"]
    subtitle = f"{found['task']} on {found['contract']['source']} · {metric}"
    links = table(["", ""], [["A", Link(a, f"../{a}/report.html")], ["B", Link(b, f"../{b}/report.html")]])
    return document(f"{b} against {a}", subtitle, comparison_blocks(found, links))


def comparison_blocks(found: Mapping[str, Any], links: str = "") -> list[Block]:
    """Return the parts of a page about a comparison: verdict, scores, slices, method, contract.

    Args:
        found: the comparison.
        links: HTML below the verdict.
    """
    metric = found["metric"]
    first = found["overall"][0]
    tiles = [
        tile(number(first["a"], 4), f"A: {metric}"),
        tile(number(first["b"], 4), f"B: {metric}"),
        tile(signed(first["effect"]), "B minus A"),
        tile(percent(first["better"]), "of the resamples: B better"),
    ]
    sections = [Section("Scores", "", None, effects_table(found["overall"], "score"))]
    for kind, rows in found["slices"].items():
        figure = effects_figure(rows, f"{metric} by {kind}: B minus A")
        sections.append(Section(f"By {kind}", _TOLD.get(kind, ""), figure, effects_table(rows, kind)))
    return [
        Block("Verdict", f'<div class="tiles">{"".join(tiles)}</div>' + paragraphs(verdict(found)) + links),
        *sections_html(sections),
        Block("How it was compared", paragraphs(method(found))),
        Block("What these numbers mean", contract_table(found["contract"])),
    ]


_TOLD = {
    "group": "Within one group (subject, video) its own samples are drawn.",
    "image size": "Thirds of the images, by their pixels.",
    "object size": "COCO's sizes.",
    "class": "A class has few samples: its interval is wide, and of many classes some differ by chance.",
}


def verdict(found: Mapping[str, Any]) -> str:
    """Say in plain text what a comparison found."""
    row, metric = found["overall"][0], found["metric"]
    interval = f"{percent(found['confidence'])} interval {signed(row['low'])} to {signed(row['high'])}"
    sign = -1 if row["lower_is_better"] else 1
    ends = finite([row["low"], row["high"]])
    if not ends:
        return f"There is no {metric} to compare."
    low, high = sorted(sign * end for end in ends)
    said = "better than" if low > 0 else "worse than" if high < 0 else "not told apart from"
    return (
        f"{found['b']} is {said} {found['a']} by {metric}: {number(row['b'], 4)} against "
        f"{number(row['a'], 4)}, a difference of {signed(row['effect'])} ({interval})."
    )


def method(found: Mapping[str, Any]) -> str:
    """Say in plain text what was drawn and what the interval leaves out."""
    told = (
        f"Paired bootstrap: {found['resamples']:,} draws of {found['units']:,} {found['drawn']} "
        f"({found['n']:,} samples) with replacement, the same for both models, seed {found['seed']}; "
        "percentile intervals. They tell what another test set of the same kind might have shown, "
        "not what another training would have."
    )
    if max(found["seeds"]) > 1:
        seeds, spread = found["seeds"], [number(one, 4) for one in found["spread"]]
        told += (
            f" Figures are means over the seeds: A has {seeds[0]} (spread {spread[0]}), "
            f"B {seeds[1]} (spread {spread[1]})."
        )
    if found["groups"] == 1 < found["n"]:
        told += " All samples are of one group (subject, video): nothing here tells how others would fare."
    elif found["units"] < FEW:
        told += (
            f" {found['units']} {found['drawn']} are few: such intervals are narrower than they ought to be."
        )
    return told


def effects_table(rows: Sequence[Row], heading: str) -> str:
    """Return an HTML table of differences, a row each, all of them."""
    cells = [
        [
            row["name"],
            row["a"],
            row["b"],
            signed(row["effect"]),
            f"{signed(row['low'])} to {signed(row['high'])}",
            percent(row["better"]),
            row["n"],
        ]
        for row in rows
    ]
    headers = [heading, "A", "B", "B minus A", "interval", "B better", "of"]
    if heading == "score":
        arrows = {"higher": "↑", "lower": "↓", "": ""}
        cells = [[*row[:1], arrows[score_meaning(str(row[0])).better], *row[1:]] for row in cells]
        headers.insert(1, "")
    return table(headers, cells, limit=max(len(cells), 1))


def effects_figure(rows: Sequence[Row], title: str) -> go.Figure:
    """Draw a difference a row with its interval: green wholly better, red wholly worse, grey undecided.

    Beyond `LIMIT` rows those furthest from zero are drawn; the subtitle says so.

    Args:
        rows: of a comparison.
        title: plain text.
    """
    known = [row for row in rows if finite([row["low"]]) and finite([row["effect"]])]
    if not known:
        return no_data(title, "no row has an interval")
    note = f"the {LIMIT} furthest from zero of {len(known)}" if len(known) > LIMIT else ""
    drawn = sorted(known, key=lambda row: -abs(row["effect"]))[:LIMIT]
    drawn.sort(key=lambda row: row["effect"] if row["lower_is_better"] else -row["effect"])
    figure = go.Figure()
    figure.add_scatter(
        x=[row["effect"] for row in drawn],
        y=list(range(len(drawn))),
        mode="markers",
        marker={"size": 9, "color": [_shade(row) for row in drawn]},
        hovertext=[
            f"{plain(row['name'])}: {signed(row['effect'])} ({signed(row['low'])} to {signed(row['high'])})"
            for row in drawn
        ],
        hoverinfo="text",
        showlegend=False,
    )
    for place, row in enumerate(drawn):
        line = {"color": _shade(row), "width": 3}
        figure.add_shape(
            type="line", x0=row["low"], x1=row["high"], y0=place, y1=place, line=line, layer="below"
        )
    ends = [row[key] for row in drawn for key in ("low", "high", "effect")]
    low, high = min(*ends, 0.0), max(*ends, 0.0)
    margin = 0.05 * (high - low) or 0.01
    figure.add_vline(x=0, line={"color": SOFT_INK, "dash": "dot", "width": 1.5})
    figure.update_xaxes(title_text="difference", range=[low - margin, high + margin], tickformat="~g")
    figure.update_yaxes(
        **name_ticks([row["name"] for row in drawn], 40), autorange="reversed", showgrid=False
    )
    return styled(figure, title, max(len(drawn) * ROW + 150, 220), note)


def _shade(row: Row) -> str:
    if row["low"] <= 0 <= row["high"]:
        return MUTED
    return RIGHT if (row["low"] > 0) != row["lower_is_better"] else WRONG


def signed(value: float | None) -> str:
    """Write a difference with its sign."""
    if not finite([value]):
        return "n/a"
    return f"+{number(value, 4)}" if value is not None and value > 0 else number(value, 4)


def percent(value: float | None) -> str:
    """Write a share as a percentage, so that only what is certain says 0 or 100."""
    if value is None or not finite([value]):
        return "n/a"
    shown = f"{100 * value:.1f}".removesuffix(".0")
    return {"0": "< 0.1 %", "100": "> 99.9 %"}.get(shown, f"{shown} %") if 0 < value < 1 else f"{shown} %"
