"""The parts of an error report as sections of a page, the same for every task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from cv_pipelines.plots.bars import ROW
from cv_pipelines.plots.classification import calibration, confusion
from cv_pipelines.plots.detection import pr_curves
from cv_pipelines.plots.document import Section, table
from cv_pipelines.plots.kinds import kind_color
from cv_pipelines.plots.theme import (
    COLORS,
    MUTED,
    RIGHT,
    SOFT_INK,
    WRONG,
    css,
    finite,
    name_ticks,
    no_data,
    number,
    plain,
    styled,
)

WORST_SLICES, BEST_SLICES = 30, 10
"""Of more slices than both together, so many of the worst and of the best are drawn."""

NOTHING = "(nothing)"


def sections(errors: Mapping[str, Any]) -> list[Section]:
    """Return the sections of `errors.json` but for the worst samples, which need the samples themselves."""
    found = [Section("Kinds of error", _kinds_text(errors), kinds_figure(errors), kinds_table(errors))]
    if errors["slices"]:
        text = (
            f"{errors['metric']} on parts of what was scored, less that on all. Lines are 95 % intervals: "
            "one that crosses zero may be chance, and of twenty that are chance one does not cross it."
        )
        found.append(Section("Slices", text, slices_figure(errors)))
    if errors["confusion"]:
        text = "True class by row, predicted class by column."
        found.append(Section("Confusion", text, confusion_figure(errors["confusion"])))
    if errors["curves"]:
        found.append(Section(_curves_heading(errors["curves"]), "", curves_figure(errors["curves"])))
    if errors["calibration"]:
        figure = calibration(errors["calibration"]["bins"], errors["calibration"]["ece"])
        found.append(Section("Calibration", "Is it right as often as it says?", figure))
    return found


def absences(errors: Mapping[str, Any]) -> list[str]:
    """Say which parts the report does not have, and why."""
    return [f"No {part}: {reason}." for part, reason in errors["absent"].items()]


def _curves_heading(curves: Mapping[str, Any]) -> str:
    return "Precision and recall" if curves["y"] == "precision" else "Distribution"


def _kinds_text(errors: Mapping[str, Any]) -> str:
    return (
        f"Each error belongs to one kind. Its cost is how much better {errors['metric']} "
        f"({number(errors['value'])}) were without the errors of this kind alone; costs of several kinds do "
        "not add up where mending one changes what another costs."
    )


def kinds_table(errors: Mapping[str, Any]) -> str:
    """Return an HTML table of the kinds of error, dearest first."""
    rows = [[k["kind"], k["count"], k["cost"], k["meaning"]] for k in _dearest(errors)]
    return table(["kind", errors["unit"], f"cost in {errors['metric']}", "what it is"], rows)


def _dearest(errors: Mapping[str, Any]) -> list[dict[str, Any]]:
    return sorted(errors["kinds"], key=lambda kind: -(kind["cost"] if kind["cost"] is not None else -1))


def kinds_figure(errors: Mapping[str, Any]) -> go.Figure:
    """Draw what each kind of error costs, dearest on top.

    Args:
        errors: `errors.json`.
    """
    title = f"What errors cost in {errors['metric']}"
    kinds = [kind for kind in _dearest(errors) if finite([kind["cost"]])]
    if not kinds:
        return no_data(title, errors["absent"].get("kinds", "no cost is known"))
    costs = [kind["cost"] for kind in kinds]
    figure = go.Figure(
        go.Bar(
            x=costs,
            y=list(range(len(kinds))),
            orientation="h",
            marker_color=[css(kind_color(kind["kind"])) for kind in kinds],
            text=[f"{number(kind['cost'])} · {kind['count']:,}" for kind in kinds],
            textposition="outside",
            cliponaxis=False,
            hovertext=[f"<b>{plain(k['kind'])}</b><br>{plain(k['meaning'])}" for k in kinds],
            hoverinfo="text",
        )
    )
    figure.update_xaxes(title_text=errors["metric"], range=[min(*costs, 0.0), max(*costs, 1e-9) * 1.25])
    figure.update_yaxes(**name_ticks([k["kind"] for k in kinds]), autorange="reversed", showgrid=False)
    return styled(figure, title, len(kinds) * 34 + 150, f"beside each bar: cost · {errors['unit']}")


def slices_figure(errors: Mapping[str, Any]) -> go.Figure:
    """Draw how far the metric on each slice lies from that on all, worst on top.

    Red and green are slices whose interval lies wholly on the worse or the better side.

    Args:
        errors: `errors.json`.
    """
    title = f"{errors['metric']} on slices, less that on all ({number(errors['value'])})"
    known = [row for row in errors["slices"] if finite([row["difference"]])]
    if not known:
        return no_data(title, errors["absent"].get("slices", "no slice has a value"))
    sign = -1 if errors["lower_is_better"] else 1
    known.sort(key=lambda row: sign * row["difference"])
    shown, note = known, f"{len(known)} slices"
    if len(known) > WORST_SLICES + BEST_SLICES:
        shown = known[:WORST_SLICES] + known[-BEST_SLICES:]
        note = f"the {WORST_SLICES} worst and the {BEST_SLICES} best of {len(known)} slices"
    figure = go.Figure(_slice_points(shown, sign))
    figure.add_vline(x=0, line={"color": SOFT_INK, "dash": "dash", "width": 1.5})
    figure.update_xaxes(title_text=f"difference in {errors['metric']}")
    names = [f"{row['slice']}: {row['name']} ({row['n']:,})" for row in shown]
    figure.update_yaxes(**name_ticks(names, 46), autorange="reversed")
    return styled(figure, title, len(shown) * ROW + 150, f"{note} · in brackets: how many")


def _slice_points(rows: list[dict[str, Any]], sign: int) -> go.Scatter:
    bounds = [(row["low"], row["high"]) if finite([row["low"], row["high"]]) else None for row in rows]
    values = [row["difference"] for row in rows]
    both = [
        b if b is not None and len(finite(b)) == 2 else (v, v) for b, v in zip(bounds, values, strict=True)
    ]
    return go.Scatter(
        x=values,
        y=list(range(len(rows))),
        mode="markers",
        marker={"size": 9, "color": [_shade(b, sign) for b in bounds]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [max(high - v, 0.0) for (_, high), v in zip(both, values, strict=True)],
            "arrayminus": [max(v - low, 0.0) for (low, _), v in zip(both, values, strict=True)],
            "color": MUTED,
            "thickness": 1.5,
            "width": 3,
        },
        hovertext=[
            f"<b>{plain(row['slice'])}: {plain(row['name'])}</b><br>{number(row['value'])} "
            f"({row['difference']:+.3f}, {number(row['low'])} to {number(row['high'])})<br>{row['n']:,}"
            for row in rows
        ],
        hoverinfo="text",
    )


def _shade(bounds: tuple[float, float] | None, sign: int) -> str:
    if bounds is None or len(finite(bounds)) < 2:
        return MUTED
    low, high = sorted(sign * end for end in bounds)
    return WRONG if high < 0 else RIGHT if low > 0 else COLORS[7]


def confusion_figure(matrix: Mapping[str, Any]) -> go.Figure:
    """Draw a report's confusion; a row and a column beyond the classes are "nothing".

    Classes that neither occur nor are said are left out.
    """
    counts, names = np.asarray(matrix["counts"], dtype=np.float64), list(matrix["classes"])
    if len(counts) > len(names):
        names.append(NOTHING)
    there = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    return confusion(counts[np.ix_(there, there)], [names[i] for i in there], matrix["unit"])


def curves_figure(curves: Mapping[str, Any]) -> go.Figure:
    """Draw a report's curves: precision against recall, or a distribution as steps."""
    lines = curves["lines"]
    if curves["y"] == "precision":
        details = {
            "pr_curves": {line["name"]: {"recall": line["x"], "precision": line["y"]} for line in lines},
            "per_class": [{"name": line["name"], "n": line["n"], "ap_50": line["area"]} for line in lines],
        }
        return pr_curves(details, title=curves["title"], unit="true samples")
    if not lines:
        return no_data(curves["title"], "there is nothing to count")
    figure = go.Figure()
    for line in lines:
        label = f"{plain(line['name'])} · mean {number(line['area'])}"
        figure.add_scatter(
            x=line["x"], y=line["y"], mode="lines", line={"shape": "hvh"}, name=label, fill="tozeroy"
        )
    figure.update_xaxes(title_text=curves["x"])
    figure.update_yaxes(title_text=curves["y"], rangemode="tozero")
    return styled(figure, curves["title"], 380).update_layout(showlegend=True)
