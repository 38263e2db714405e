"""Figures of detectors: precision against recall, average precision a class, recall by number of boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from cv_pipelines.plots.bars import ranked_bars
from cv_pipelines.plots.theme import COLORS, INK, MUTED, finite, no_data, number, plain, styled

NAMED_CURVES = 8
"""Classes that have a colour and a legend entry of their own; the others are drawn thin and grey."""


Figure = tuple[str, str, go.Figure]

AREA_LINES = {
    "all": ("all objects", INK, 4),
    "small": ("small, below 32² pixels", COLORS[0], 2),
    "medium": ("medium", COLORS[1], 2),
    "large": ("large, above 96² pixels", COLORS[2], 2),
}
"""Name, colour and width of the lines that are of an area range."""


def figures(details: Mapping[str, Any]) -> list[Figure]:
    """Return (heading, text, figure) of all that a detector was scored for, the main one first.

    Args:
        details: of `metrics.coco.coco_scores` for boxes, with those for `masks` and `keypoints` and the
            `proposals` of `metrics.coco.proposal_recall`, where there are any.
    """
    drawn: list[Figure] = [
        ("Precision and recall", "At IoU 0.5, a line a class.", pr_curves(details)),
        ("Average precision", "Mean over IoU 0.50 to 0.95.", ap_bars(details)),
    ]
    for kind, what, overlap in (("masks", "Masks", "IoU"), ("keypoints", "Poses", "similarity (OKS)")):
        if kind in details:
            title = f"{what}: precision and recall at {overlap} 0.5"
            unit = "true " + what.lower()
            drawn += [
                (
                    what,
                    f"At {overlap} 0.5, a line a class.",
                    pr_curves(details[kind], title=title, unit=unit),
                ),
                (f"{what}: average precision", "", ap_bars(details[kind], unit=unit)),
            ]
    if "proposals" in details:
        text = (
            "How many objects have a box in place, whatever its class, by how many boxes an image may have."
        )
        drawn.append(("Recall by number of boxes", text, proposal_curve(details["proposals"])))
    return drawn


def proposal_curve(proposals: Mapping[str, Sequence[float | None]]) -> go.Figure:
    """Draw average recall against the number of boxes an image may have.

    Args:
        proposals: what `metrics.coco.proposal_recall` gives, also when read back from JSON.
    """
    title, numbers = "Recall by number of boxes", proposals["n"]
    if not finite(proposals["all"]):
        return no_data(title, "there is no true box")
    figure = go.Figure()
    for area, (name, color, width) in AREA_LINES.items():
        if finite(proposals[area]):
            line = {"color": color, "width": width}
            hover = f"%{{y:.3f}} with %{{x:d}} boxes<extra>{name}</extra>"
            figure.add_trace(
                go.Scatter(
                    x=list(numbers), y=list(proposals[area]), name=name, line=line, hovertemplate=hover
                )
            )
    figure.update_xaxes(title_text="boxes an image, surest first", type="log", tickvals=list(numbers))
    figure.update_yaxes(title_text="average recall", range=[0, 1.03])
    return styled(figure, title, 400, "mean over IoU 0.50 to 0.95, classes left out of account")


def pr_curves(
    details: Mapping[str, Any], iou: float = 0.5, title: str = "", unit: str = "true boxes"
) -> go.Figure:
    """Draw precision against recall: the mean over classes thick, the classes with most boxes coloured.

    Args:
        details: what `metrics.coco` and `metrics.voc` give, also when read back from JSON: `pr_curves`, class
            name to `recall` and `precision` (0..1, the same recall levels for every class), and `per_class`.
        iou: the overlap from which a box counts as found.
        title: plain text; says the overlap if not given.
        unit: what there is to be found.
    """
    title = title or f"Precision and recall at IoU {iou:g}"
    curves = {name: c for name, c in (details.get("pr_curves") or {}).items() if len(c["recall"])}
    if not curves:
        return no_data(title, "no class has a true box")
    rows = {row["name"]: row for row in details.get("per_class") or []}
    boxes = {name: int(rows.get(name, {}).get("n") or 0) for name in curves}
    named = sorted(curves, key=lambda name: (-boxes[name], name))[:NAMED_CURVES]
    figure = go.Figure()
    # Later lines lie on top, and the legend runs from the last to the first.
    for name in [*(n for n in curves if n not in named), *reversed(named)]:
        place = named.index(name) if name in named else -1
        figure.add_trace(_curve(name, curves[name], rows.get(name, {}).get("ap_50"), place))
    figure.add_trace(_mean_curve(list(curves.values())))
    figure.update_xaxes(title_text="recall", range=[0, 1.01])
    figure.update_yaxes(title_text="precision", range=[0, 1.03])
    rest = f" ({len(curves) - len(named)} of them grey)" if len(curves) > len(named) else ""
    styled(figure, title, 480, f"{len(curves)} classes{rest}, {sum(boxes.values()):,} {unit}")
    return figure.update_layout(
        legend={
            "orientation": "v",
            "x": 1.02,
            "xanchor": "left",
            "y": 1,
            "yanchor": "top",
            "traceorder": "reversed",
        }
    )


def _curve(name: str, curve: Mapping[str, Sequence[float]], ap: float | None, place: int) -> go.Scatter:
    label = plain(name, 24) + (f" · AP {number(ap)}" if finite([ap]) else "")
    return go.Scatter(
        x=list(curve["recall"]),
        y=list(curve["precision"]),
        mode="lines",
        name=label,
        line={"color": COLORS[place] if place >= 0 else MUTED, "width": 1.8 if place >= 0 else 1},
        opacity=1.0 if place >= 0 else 0.6,
        showlegend=place >= 0,
        hovertemplate="recall %{x:.2f}, precision %{y:.2f}<extra>" + label + "</extra>",
    )


def _mean_curve(curves: Sequence[Mapping[str, Sequence[float]]]) -> go.Scatter:
    mean = np.mean([np.nan_to_num(np.asarray(c["precision"], dtype=np.float64)) for c in curves], axis=0)
    return go.Scatter(
        x=list(curves[0]["recall"]),
        y=mean.round(5).tolist(),
        mode="lines",
        name="mean of the classes",
        line={"color": INK, "width": 4},
        hovertemplate="recall %{x:.2f}, precision %{y:.2f}<extra>mean of the classes</extra>",
    )


def ap_bars(details: Mapping[str, Any], score: str = "ap", unit: str = "true boxes") -> go.Figure:
    """Draw average precision a class, best on top, and the mean over classes with true boxes.

    Args:
        details: what `metrics.coco` and `metrics.voc` give: `per_class` with `name`, `n` true boxes, scores.
        score: "ap" or "ap_50".
        unit: what there is to be found.
    """
    rows = details.get("per_class") or []
    label = {"ap": "AP", "ap_50": "AP at IoU 0.5"}.get(score, score)
    names = [f"{row['name']} ({row['n']:,})" for row in rows]
    values = [row.get(score) if row["n"] else None for row in rows]
    known = finite(values)
    mean = sum(known) / len(known) if known else None
    return ranked_bars(names, values, f"{label} per class", label, f"in brackets: {unit}", mean)
