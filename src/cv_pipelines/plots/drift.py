"""The drift report: what changed between two versions of a source, the largest change first."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cv_pipelines.data.drift import Version, values
from cv_pipelines.plots.document import LISTED, Block, Section, document, paragraphs, sections_html, table
from cv_pipelines.plots.theme import COLORS, name_ticks, number, plain, styled

SHOWN = 6
HEADINGS = {"classes": "Classes", "objects": "Objects", "pixels": "Pixels"}
BINS = 40
SHADES = {"old": "#9AA5B4", "new": COLORS[0]}


def drift_page(title: str, found: dict[str, Any], old: Version, new: Version) -> str:
    """Return the drift report as one HTML page that needs no network.

    Args:
        title: what the source is called.
        found: as `drift.drift` gives it.
        old: the version compared with.
        new: the version judged.
    """
    counts = found["samples"]
    told = f"{counts['old']:,} samples before, {counts['new']:,} now"
    sections = [
        Section(heading, _appeared(found, kind), share_bars(found["shares"][kind], heading))
        for kind, heading in HEADINGS.items()
        if found["shares"][kind]
    ]
    moved = [name for name, value in found["distances"].items() if value > 0]
    numbers = [name for name in moved if name not in found["shares"]][:SHOWN]
    if numbers:
        figure = histograms(numbers, values(old), values(new))
        sections.append(Section("Distributions", "The measures that changed most.", figure))
    defects = [[reason, before, now] for reason, (before, now) in found["defects"].items()]
    if defects:
        sections.append(
            Section("Defects", "Rows of the quarantine.", body=table(["reason", "old", "new"], defects))
        )
    changed = Block("What changed", _verdict(found) + _distances(found))
    return document(f"Drift: {title}", told, [changed, *sections_html(sections)])


def _verdict(found: dict[str, Any]) -> str:
    counts, distances, most = found["samples"], found["distances"], found["limit"]
    worst = next(iter(distances.items()), None)
    limit = "No limit is set (limits.drift)."
    if most is not None:
        names = ", ".join(found["beyond"])
        limit = (
            f"Beyond the limit of {most:g}: {names}." if names else f"All are within the limit of {most:g}."
        )
    return paragraphs(
        f"{counts['added']:,} samples were added, {counts['removed']:,} removed, {counts['changed']:,} have "
        "another content. "
        + (f"What changed most is {worst[0]}, by {worst[1]:.3f}. " if worst else "")
        + limit
        + "\n\nA distance is 0 where two distributions are the same and 1 where they have nothing in common: "
        "of shares, the part that would have to move; of a measure, the largest difference of the shares of "
        "samples below any value."
    )


def _distances(found: dict[str, Any]) -> str:
    rows: list[list[Any]] = []
    for name, value in found["distances"].items():
        before, now = (
            (number(v) for v in found["medians"].get(name, ())) if name in found["medians"] else ("", "")
        )
        rows.append([name, before, now, value, "beyond the limit" if name in found["beyond"] else ""])
    return table(["measure", "old median", "new median", "distance", ""], rows)


def _appeared(found: dict[str, Any], kind: str) -> str:
    """Say which classes are new and which are gone."""
    told = ["Shares before and now."]
    for word, names in (("New", found["appeared"][kind]), ("Gone", found["vanished"][kind])):
        if names:
            rest = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
            told.append(f"{word}: {', '.join(names[:LISTED])}{rest}.")
    return " ".join(told)


def share_bars(shares: dict[str, tuple[float, float]], title: str, limit: int = 30) -> go.Figure:
    """Draw the shares of classes in both versions, those that changed most on top.

    Args:
        shares: class to (old, new), 0 to 1.
        title: plain text.
        limit: classes to show at most.
    """
    order = sorted(shares, key=lambda name: -abs(shares[name][0] - shares[name][1]))[:limit]
    figure = go.Figure()
    for place, (version, color) in enumerate(SHADES.items()):
        figure.add_bar(
            x=[shares[name][place] for name in order],
            y=list(range(len(order))),
            orientation="h",
            name=version,
            marker_color=color,
            customdata=[plain(name) for name in order],
            hovertemplate="%{customdata}: %{x:.1%}",
        )
    figure.update_layout(barmode="group")
    figure.update_xaxes(title_text="share", tickformat=".0%")
    figure.update_yaxes(**name_ticks(order), autorange="reversed", showgrid=False)
    note = f"{len(shares)} classes" + (
        f", the {limit} that changed most shown" if len(shares) > limit else ""
    )
    return styled(figure, f"{title} by share", 150 + 30 * len(order), note)


def histograms(names: list[str], old: dict[str, np.ndarray], new: dict[str, np.ndarray]) -> go.Figure:
    """Draw the distributions of measures in both versions.

    Args:
        names: which measures.
        old: name to values.
        new: name to values.
    """
    rows = -(-len(names) // 2)
    figure = make_subplots(
        rows,
        2,
        subplot_titles=[plain(name) for name in names],
        horizontal_spacing=0.08,
        vertical_spacing=0.36 / rows,
    )
    for place, name in enumerate(names):
        both = np.concatenate([old[name], new[name]]).astype(np.float64)
        low, high = np.quantile(both, [0.005, 0.995])
        edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
        for (version, color), column in zip(SHADES.items(), (old[name], new[name]), strict=True):
            share = np.histogram(np.clip(column, edges[0], edges[-1]), edges)[0] / len(column)
            figure.add_scatter(
                x=((edges[:-1] + edges[1:]) / 2).tolist(),
                y=share.tolist(),
                mode="lines",
                line={"color": color, "shape": "hvh"},
                name=version,
                legendgroup=version,
                showlegend=place == 0,
                row=place // 2 + 1,
                col=place % 2 + 1,
            )
    figure.update_yaxes(tickformat=".0%")
    return styled(figure, "Distributions", 120 + 230 * rows).update_layout(margin_t=100)
