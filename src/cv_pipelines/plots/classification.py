"""Figures of classifiers: confusion, calibration, scores per class and per group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cv_pipelines.plots.bars import ranked_bars
from cv_pipelines.plots.theme import (
    COLORS,
    MUTED,
    WIDTH,
    WRONG,
    finite,
    name_ticks,
    no_data,
    number,
    plain,
    styled,
)

SHOWN_CLASSES = 40
"""Above this number of classes the confusion matrix shows those that are confused most."""

WRITTEN_CLASSES = 16
"""Up to this number of classes the counts are written into the cells."""

LONGEST_COUNT = 9_999
"""The largest count that fits into a cell."""

# Errors are shown as negative shares, and a 5 % error must already be visible: hence the steep start.
_SCALE = [
    [0.0, "#8E1B16"],
    [0.3, "#D9583F"],
    [0.44, "#F4A582"],
    [0.49, "#FCE3D4"],
    [0.5, "#FFFFFF"],
    [0.6, "#D6E4F3"],
    [1.0, "#1F5597"],
]


def confusion(matrix: np.ndarray, names: Sequence[str], unit: str = "samples") -> go.Figure:
    """Draw a confusion matrix: blue where the class was found, red where it was taken for another.

    The colour is the share of the true class (its row); hovering gives count and share. Few classes have
    the counts written into the cells, or the shares where counts are too long for that (pixels).

    Args:
        matrix: (K, K) counts, true class by row, predicted class by column.
        names: K class names in index order.
        unit: what is counted, such as "pixels".

    Raises:
        ValueError: `matrix` is not (K, K) for K names.
    """
    counts = np.nan_to_num(np.asarray(matrix, dtype=np.float64))
    if counts.size == 0 or counts.sum() == 0:
        return no_data("Confusion matrix", f"no {unit} were scored")
    if counts.shape != (len(names), len(names)):
        raise ValueError(f"a confusion matrix of {len(names)} classes is square; got {counts.shape}")
    totals = counts.sum(axis=1)
    chosen, subtitle = _most_confused(counts, unit)
    shares = counts / np.maximum(totals, 1)[:, None]
    figure = go.Figure(_heat(counts, shares, totals, names, chosen))
    shown = [names[i] for i in chosen]
    figure.update_xaxes(
        **name_ticks(shown, 22), title_text="predicted", tickangle=-45, showgrid=False, constrain="domain"
    )
    figure.update_yaxes(
        **name_ticks(shown, 22),
        title_text="true",
        autorange="reversed",
        showgrid=False,
        scaleanchor="x",
        constrain="domain",
    )
    height = int(np.clip(len(chosen) * 34 + 220, 520, 1000))
    _center_square(figure, (height - 200) / (WIDTH - 240))
    return styled(figure, "Confusion matrix", height, subtitle).update_layout(margin_t=76)


def _center_square(figure: go.Figure, share: float) -> None:
    """Keep the colour bar beside a square plot in a wide page; `share` is the plot's part of the width."""
    edge = max((1 - share) / 2, 0.0)
    figure.update_xaxes(domain=[edge, 1 - edge])
    figure.update_traces(colorbar_x=1 - edge + 0.015)


def _most_confused(counts: np.ndarray, unit: str) -> tuple[np.ndarray, str]:
    size = len(counts)
    correct = counts.trace() / counts.sum()
    subtitle = f"{counts.sum():,.0f} {unit}, {correct:.1%} on the diagonal"
    if size <= SHOWN_CLASSES:
        return np.arange(size), subtitle
    errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    worst = np.sort(np.argsort(-errors, kind="stable")[:SHOWN_CLASSES])
    return worst, f"{subtitle} · the {SHOWN_CLASSES} most confused of {size} classes"


def _heat(
    counts: np.ndarray, shares: np.ndarray, totals: np.ndarray, names: Sequence[str], chosen: np.ndarray
) -> go.Heatmap:
    grid = np.ix_(chosen, chosen)
    right = np.eye(len(chosen), dtype=bool)
    hover = [
        [
            f"true <b>{plain(names[i])}</b><br>predicted <b>{plain(names[j])}</b>"
            f"<br>{counts[i, j]:,.0f} of {totals[i]:,.0f} ({shares[i, j]:.1%})"
            for j in chosen
        ]
        for i in chosen
    ]
    numbers, form = (counts, ",.0f") if counts.max() <= LONGEST_COUNT else (shares.round(3), ".1%")
    written = [[f"{v:{form}}" if v else "" for v in row] for row in numbers[grid]]
    return go.Heatmap(
        z=np.where(right, shares[grid], -shares[grid]).round(4).tolist(),
        zmin=-1,
        zmax=1,
        colorscale=_SCALE,
        hovertext=hover,
        hoverinfo="text",
        text=written,
        texttemplate="%{text}" if len(chosen) <= WRITTEN_CLASSES else "",
        xgap=1,
        ygap=1,
        colorbar={
            "title": {"text": "share of true class", "side": "right", "font": {"size": 13}},
            "tickvals": [-1, -0.5, 0, 0.5, 1],
            "ticktext": ["100 % wrong", "50 %", "0", "50 %", "100 % right"],
            "thickness": 12,
            "outlinewidth": 0,
        },
    )


def calibration(bins: Sequence[Mapping[str, float]], ece: float | None = None) -> go.Figure:
    """Draw a reliability diagram (Guo et al. 2017, "On Calibration of Modern Neural Networks", fig. 1).

    Args:
        bins: what `metrics.classification.calibration` gives: mean `confidence` and `accuracy` (0..1) and
            `count` of every bin that holds a sample.
        ece: expected calibration error to state, 0..1.
    """
    filled = [b for b in bins if b["count"] and len(finite([b["confidence"], b["accuracy"]])) == 2]
    if not filled:
        return no_data("Calibration", "no sample was scored")
    figure = make_subplots(2, 1, shared_xaxes=True, row_heights=[0.75, 0.25], vertical_spacing=0.05)
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        name="perfect",
        line={"color": MUTED, "dash": "dash"},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=[b["confidence"] for b in filled],
        y=[b["accuracy"] for b in filled],
        customdata=[b["count"] for b in filled],
        mode="lines+markers",
        name="model",
        line={"color": COLORS[0], "width": 2.5},
        marker={"size": 9},
        hovertemplate="confidence %{x:.2f}<br>accuracy %{y:.2f}<br>%{customdata:,} samples<extra></extra>",
    )
    figure.add_bar(
        x=[b["confidence"] for b in filled],
        y=[b["count"] for b in filled],
        width=0.04,
        marker_color=COLORS[0],
        opacity=0.55,
        showlegend=False,
        hovertemplate="%{y:,} samples<extra></extra>",
        row=2,
        col=1,
    )
    figure.update_xaxes(range=[0, 1.02])
    figure.update_xaxes(title_text="confidence of the prediction", row=2, col=1)
    figure.update_yaxes(title_text="accuracy", range=[0, 1.04], row=1, col=1)
    figure.update_yaxes(title_text="samples", row=2, col=1)
    error = "" if ece is None else f"expected calibration error {number(ece)} · "
    hint = f"{error}below the diagonal the model is too sure of itself"
    return styled(figure, "Calibration", 500, hint).update_layout(margin_t=84)


def per_class(rows: Sequence[Mapping[str, Any]], score: str = "f1") -> go.Figure:
    """Draw one score a class, best on top, and the mean over the classes that occur.

    Args:
        rows: what `metrics.classification.per_class` gives: `name`, `support` true samples and scores, 0..1;
            a class without support has no score.
        score: "f1", "precision" or "recall".
    """
    label = {"f1": "F1"}.get(score, score)
    values = [row[score] if row["support"] else None for row in rows]
    known = finite(values)
    mean = sum(known) / len(known) if known else None
    hover = [
        f"{plain(row['name'])}<br>precision {number(row['precision'])}, recall {number(row['recall'])}, "
        f"F1 {number(row['f1'])}<br>{row['support']:,} samples"
        for row in rows
    ]
    names = [str(row["name"]) for row in rows]
    return ranked_bars(names, values, f"{label} per class", label, average=mean, hover=hover)


def group_bars(accuracies: Mapping[str, float | None], kind: str = "subject") -> go.Figure:
    """Draw the accuracy of every group (subject, video, …), sorted, the worst one highlighted.

    Args:
        accuracies: group to accuracy, 0..1; None or NaN where nothing was scored.
        kind: what a group is.
    """
    names, values = list(accuracies), list(accuracies.values())
    title = f"Accuracy per {kind}"
    known = finite(values)
    if not known:
        return no_data(title, f"no {kind} was scored")
    # Equal worst groups are all marked: to pick one of them would be arbitrary.
    low = min(known)
    worst = {i: WRONG for i, v in enumerate(values) if v == low}
    spread = f"worst {number(low)}, best {number(max(known))}, {len(known)} {kind}s"
    mean = sum(known) / len(known)
    return ranked_bars(names, values, title, "accuracy", spread, mean, worst).update_yaxes(title_text=kind)
