"""The drift report: what changed between two versions of a source, the largest change first."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cv_pipelines.data.drift import Version, values
from cv_pipelines.plots.document import Block, Section, document, paragraphs, sections_html, table
from cv_pipelines.plots.theme import COLORS, MUTED, name_ticks, plain, styled

SHOWN = 6
BINS = 40
SHADES = {"old": MUTED, "new": COLORS[0]}


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
    lead = (
        f"{counts['added']:,} samples were added, {counts['removed']:,} removed, {counts['changed']:,} have "
        "another content. A distance is 0 where two distributions are the same and 1 where they have nothing "
        "in common."
    )
    rows = [[name, value] for name, value in found["distances"].items()]
    sections = [
        Section(heading, "Shares before and now.", share_bars(found["shares"][kind], heading))
        for kind, heading in (("classes", "Classes"), ("objects", "Objects"))
        if found["shares"][kind]
    ]
    numbers = [name for name in found["distances"] if name not in found["shares"]][:SHOWN]
    if numbers:
        figure = histograms(numbers, values(old), values(new))
        sections.append(Section("Distributions", "The measures that changed most.", figure))
    blocks = [
        Block("What changed", paragraphs(lead) + table(["measure", "distance"], rows)),
        *sections_html(sections),
    ]
    return document(f"Drift: {title}", told, blocks)


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
    return styled(figure, title, 150 + 30 * len(order), note)


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
