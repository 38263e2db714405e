"""The report of an ensemble: how it does beside its members, then what every report shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.plots.bars import ROW, value_range
from cv_pipelines.plots.document import Link, Section, table
from cv_pipelines.plots.error_report import absences
from cv_pipelines.plots.experiment import Report, error_sections, score_figures, spread_gallery
from cv_pipelines.plots.meanings import score_meaning
from cv_pipelines.plots.page import report_page
from cv_pipelines.plots.theme import COLORS, SOFT_INK, finite, name_ticks, no_data, number, plain, styled

SCORES = 5
"""Scores that the table has a column for."""


def draw(
    data: SourceData,
    predictions: pd.DataFrame,
    metrics: Mapping[str, Any],
    details: dict[str, Any],
    samples: pd.DataFrame,
    errors: dict[str, Any],
    score: str,
) -> Report:
    """Draw the report.

    Args:
        data: the scored split.
        predictions: of the ensemble.
        metrics: `metrics.json`.
        details: of scoring.
        samples: `sample_id`, `score`, `note` of the ensemble.
        errors: `errors.json` of the ensemble.
        score: name of the figure that stands for the task.

    Returns:
        The page, the figure with the members, the main score figure, the gallery.
    """
    task = metrics["task"]
    beside = members_figure(metrics, score)
    figures = score_figures(task, details, data)
    shown = spread_gallery(task, data, predictions, samples)
    sections = [Section("Beside its members", verdict(metrics, score), beside, members_table(metrics, score))]
    sections += [Section(heading, text, figure) for heading, text, figure in figures]
    sections.append(Section("Predictions", "Samples spread evenly over the scored split.", shown))
    drawn = [section.heading for section in sections]
    sections += error_sections(data, predictions, errors, None, drawn)
    members = metrics["members"]
    models = sum(len(member["seeds"]) for member in members.values())
    subtitle = (
        f"{task} on {metrics['contract']['source']} · {_count(models, 'model')} of "
        f"{_count(len(members), 'experiment')}"
        f" · {metrics['seconds']:.0f} s of training in all"
    )
    notes = [
        "An ensemble is one predictor: its scores are single values without a spread over seeds.",
        "Members were predicted again with this ensemble's views and scored under its contract, so a figure "
        "may differ from that of a member's own report.",
        *absences(errors),
    ]
    page = report_page(
        metrics["experiment"], subtitle, metrics["values"], metrics["contract"], sections, notes
    )
    return page, beside, figures[0][2] if figures else shown, shown


def _count(number_of: int, what: str) -> str:
    return f"{number_of} {what}{'' if number_of == 1 else 's'}"


def verdict(metrics: Mapping[str, Any], score: str) -> str:
    """Say in plain text how an ensemble's score compares with the mean and the best of its models.

    Args:
        metrics: `metrics.json` of an ensemble.
        score: which of its values.
    """
    value = metrics["values"].get(score)
    models = {
        (f"{name}, seed {seed}" if len(member["seeds"]) > 1 else name): scores.get(score)
        for name, member in metrics["members"].items()
        for seed, scores in member["seeds"].items()
    }
    known = {name: one for name, one in models.items() if finite([one])}
    if not finite([value]) or not known:
        return f"There is no {score} to compare."
    sign = -1 if score_meaning(score).better == "lower" else 1
    best = max(known, key=lambda name: sign * known[name])
    mean = sum(known.values()) / len(known)
    return (
        f"The ensemble's {score} is {number(value, 4)}: {_apart(value, mean, sign)} the mean of its models "
        f"({number(mean, 4)}), {_apart(value, known[best], sign)} the best of them ({best}: "
        f"{number(known[best], 4)}).\n\n"
        f"Scored on {metrics['contract']['n']:,} samples: what a few of them make is chance. Which model "
        "is best is known only after scoring; one chosen beforehand can be expected to reach the mean."
    )


def _apart(value: float, other: float, sign: int) -> str:
    if value == other:
        return "the same as"
    return f"{number(abs(value - other), 4)} {'better' if sign * (value - other) > 0 else 'worse'} than"


def members_table(metrics: Mapping[str, Any], score: str) -> str:
    """Return an HTML table of the ensemble and its members, best first, with the first `SCORES` scores."""
    members = metrics["members"]
    names = [name for name in metrics["values"] if "/" not in name and name != score][: SCORES - 1]
    own = [metrics["values"].get(score), "", *(metrics["values"][name] for name in names)]
    rows: list[list[Any]] = [["the ensemble", sum(len(m["seeds"]) for m in members.values()), "", *own]]
    rows += [
        [
            Link(name, f"../{name}/report.html"),
            len(member["seeds"]),
            f"{member['weight']:g}",
            member["values"].get(score),
            member["spread"].get(score) if len(member["seeds"]) > 1 else "",
            *(member["values"].get(n) for n in names),
        ]
        for name, member in members.items()
    ]
    rows.sort(key=lambda row: _rank(row[3], score))
    headers = ["predictor", "models", "weight of each", score, "± over seeds", *names]
    several = any(row[4] != "" for row in rows)
    kept = [place for place in range(len(headers)) if place != 4 or several]
    return table([headers[i] for i in kept], [[row[i] for i in kept] for row in rows])


def _rank(value: float | None, score: str) -> float:
    if value is None:
        return math.inf
    return value if score_meaning(score).better == "lower" else -value


def members_figure(metrics: Mapping[str, Any], score: str) -> go.Figure:
    """Draw a bar a predictor, and beside it every model as a point on an axis that shows the differences.

    Args:
        metrics: `metrics.json` of an ensemble.
        score: which of its values.
    """
    title = f"{score} of the ensemble and of its members"
    points = {n: [s.get(score) for s in m["seeds"].values()] for n, m in metrics["members"].items()}
    bars = {"ensemble": metrics["values"].get(score)} | {
        name: member["values"].get(score) for name, member in metrics["members"].items()
    }
    known = finite(bars.values())
    if not known:
        return no_data(title, f"nothing has a {score}")
    order = sorted(bars, key=lambda name: _rank(bars[name], score))
    figure = make_subplots(
        1, 2, shared_yaxes=True, horizontal_spacing=0.05, subplot_titles=["from zero", "each model, enlarged"]
    )
    figure.add_bar(
        x=[bars[name] for name in order],
        y=list(range(len(order))),
        orientation="h",
        marker_color=[COLORS[1] if name == "ensemble" else COLORS[0] for name in order],
        text=[number(bars[name], 4) for name in order],
        textposition="outside",
        cliponaxis=False,
        hoverinfo="skip",
        **_AT[0],
    )
    dots = [
        (value, place, name)
        for place, name in enumerate(order)
        for value in finite([bars[name]] if name == "ensemble" else points[name])
    ]
    figure.add_scatter(
        x=[value for value, _, _ in dots],
        y=[place for _, place, _ in dots],
        mode="markers",
        marker={
            "size": [13 if name == "ensemble" else 9 for *_, name in dots],
            "symbol": ["diamond" if name == "ensemble" else "circle" for *_, name in dots],
            "color": [COLORS[1] if name == "ensemble" else COLORS[0] for *_, name in dots],
            "opacity": 0.85,
        },
        hovertext=[f"{plain(name)}: {number(value, 4)}" for value, _, name in dots],
        hoverinfo="text",
        **_AT[1],
    )
    if finite([bars["ensemble"]]):
        figure.add_vline(x=bars["ensemble"], line={"color": SOFT_INK, "dash": "dot", "width": 1}, **_AT[1])
    # numbers stand right of the bars
    low, high = value_range(known)
    figure.update_xaxes(title_text=plain(score), range=[low, low + 1.12 * (high - low)], col=1)
    figure.update_xaxes(title_text=plain(score), tickformat="~g", col=2)
    figure.update_yaxes(**name_ticks(order, 40), autorange="reversed", showgrid=False, col=1)
    figure.update_yaxes(tickvals=list(range(len(order))), autorange="reversed", ticks="", col=2)
    styled(figure, title, max(len(order) * (ROW + 12) + 190, 280))
    return figure.update_layout(margin_t=110, showlegend=False)


_AT = ({"row": 1, "col": 1}, {"row": 1, "col": 2})
