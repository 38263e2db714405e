"""Trainings beside each other: scores and costs, curves, and the search for a learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cv_pipelines.plots.document import Link, Section, document, sections_html, table
from cv_pipelines.plots.ladder import Rung, ladder_sections
from cv_pipelines.plots.meanings import score_meaning
from cv_pipelines.plots.theme import COLORS, MUTED, finite, no_data, number, plain, styled

DASHES = ("solid", "dash", "dot")


@dataclass(frozen=True)
class Run:
    """One experiment of a comparison.

    Attributes:
        experiment: its name.
        label: what it is called in a panel.
        history: `seed`, `epoch`, `name`, `value`.
        metrics: `metrics.json`.
        score: name of the figure that stands for its task.
        costs: `training.costs.Costs` as a mapping.
    """

    experiment: str
    label: str
    history: pd.DataFrame
    metrics: Mapping[str, Any]
    score: str
    costs: Mapping[str, Any]


def comparison_page(title: str, panels: Mapping[str, Sequence[Run]]) -> str:
    """Return one HTML page: a leaderboard of all, and the curves of every panel; it needs no network.

    Args:
        title: plain text.
        panels: runs that differ in one thing, by what that is; in order.
    """
    sections = [
        Section(heading, _lead(runs), panel(heading, runs), _table(runs)) for heading, runs in panels.items()
    ]
    every: dict[str, Run] = {}
    for run in (run for runs in panels.values() for run in runs):
        every.setdefault(run.experiment, run)  # it may be in several panels, under another name in each
    rungs = [Rung(run.experiment, run.label, run.metrics, run.score, run.costs) for run in every.values()]
    subtitle = f"{len(every)} trainings; within a panel they differ in one thing"
    return document(title, subtitle, sections_html([*ladder_sections(rungs), *sections]))


def _lead(runs: Sequence[Run]) -> str:
    sources = ", ".join(sorted({str(run.metrics["contract"]["source"]) for run in runs}))
    seeds = len(set(runs[0].history["seed"]))
    drawn = "one training each" if seeds == 1 else f"means over {seeds} trainings"
    return f"On {sources}, {drawn}. Left the loss while training, right the validation score."


def panel(heading: str, runs: Sequence[Run]) -> go.Figure:
    """Draw training loss and validation score against the epoch, a colour a run."""
    if not runs:
        return no_data(heading, "nothing was trained")
    score = f"val_{runs[0].score}"
    figure = make_subplots(1, 2, horizontal_spacing=0.08, subplot_titles=["training loss", _words(score)])
    for place, run in enumerate(runs):
        for column, name in enumerate(("train_loss", score), start=1):
            epochs, values = _curve(run.history, name)
            figure.add_scatter(
                x=epochs,
                y=values,
                name=plain(run.label),
                legendgroup=run.label,
                showlegend=column == 1,
                mode="lines+markers" if len(epochs) <= 15 else "lines",
                marker={"size": 5},
                line={
                    "color": COLORS[place % len(COLORS)],
                    "dash": DASHES[place // len(COLORS) % len(DASHES)],
                    "width": 2,
                },
                hovertemplate="%{y:.4g}",
                row=1,
                col=column,
            )
    figure.update_xaxes(title_text="epoch", rangemode="tozero")
    figure.update_yaxes(type="log", exponentformat="power", dtick=1, col=1)
    figure.update_yaxes(tickformat="~g", range=_settled([_curve(r.history, score)[1] for r in runs]), col=2)
    styled(figure, heading, 460)
    below = {"orientation": "h", "x": 0, "xanchor": "left", "y": -0.2, "yanchor": "top"}
    return figure.update_layout(legend=below, hovermode="x unified", margin_t=90)


def _curve(history: pd.DataFrame, name: str) -> tuple[list[int], list[float | None]]:
    rows = history[history["name"] == name].groupby("epoch")["value"].mean()
    return [int(epoch) for epoch in rows.index], [float(v) if math.isfinite(v) else None for v in rows]


def _settled(curves: Sequence[Sequence[float | None]]) -> list[float] | None:
    """Return the range of what comes after the first quarter: the first steps would flatten all the rest."""
    later = finite([value for curve in curves for value in curve[len(curve) // 4 :]])
    if not later:
        return None
    margin = 0.05 * (max(later) - min(later)) or 0.01
    return [min(later) - margin, max(later) + margin]


def _words(name: str) -> str:
    return plain(name.replace("val_", "validation ").replace("_", " "))


def _table(runs: Sequence[Run]) -> str:
    lower = score_meaning(runs[0].score).better == "lower" if runs else False

    def held(run: Run) -> float:
        """Return the score of a run, NaN where it has none."""
        value = run.metrics["values"].get(run.score)
        return math.nan if value is None else float(value)

    rows = []
    for run in sorted(runs, key=lambda one: held(one) if lower else -held(one)):
        _, losses = _curve(run.history, "train_loss")
        _, scores = _curve(run.history, f"val_{run.score}")
        rows.append(
            [
                run.label,
                Link(run.experiment, f"../{run.experiment}/report.html"),
                losses[-1] if losses else None,
                scores[-1] if scores else None,
                held(run),
                f"{run.metrics['seconds']:.1f} s",
            ]
        )
    score = runs[0].score if runs else "score"
    split = runs[0].metrics["contract"].get("split", "test") if runs else "test"
    headers = ["", "experiment", "last loss", f"last val {score}", f"{split} {score}", "training"]
    return table(["run", *headers[1:]], rows)


def rates_page(
    experiment: str, rates: Sequence[float], losses: Sequence[float], suggestion: float | None
) -> str:
    """Return the curve of a search for a learning rate as one HTML page.

    Args:
        experiment: its name.
        rates: tried, rising.
        losses: smoothed, one a rate.
        suggestion: the rate where the loss falls most steeply; None if it never falls.
    """
    figure = go.Figure(go.Scatter(x=list(rates), y=list(losses), mode="lines", line={"width": 2}))
    if suggestion:
        figure.add_vline(x=suggestion, line={"dash": "dot", "color": MUTED})
    figure.update_xaxes(type="log", title_text="learning rate", exponentformat="power", dtick=1)
    figure.update_yaxes(title_text="training loss, smoothed")
    styled(figure, "Loss by learning rate", 420)
    said = f"The loss falls most steeply at {number(suggestion)}." if suggestion else "The loss never falls."
    text = (
        f"{said} A peak rate somewhat above it, well below where the loss explodes, is a good first choice."
    )
    return document(experiment, "Search for a learning rate", sections_html([Section("Curve", text, figure)]))
