"""Ranked horizontal bars: the one form for a score or a count a class, a subject or an experiment."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from cv_pipelines.plots.theme import (
    COLORS,
    MUTED,
    SOFT_INK,
    finite,
    name_ticks,
    no_data,
    number,
    plain,
    styled,
)

LIMIT = 40
"""Bars that one figure shows at most."""

ROW = 22
"""Pixels a bar takes."""


def ranked_bars(
    names: Sequence[str],
    values: Sequence[float | None],
    title: str,
    axis: str,
    subtitle: str = "",
    average: float | None = None,
    highlight: dict[int, str] | None = None,
    colors: Sequence[str] | None = None,
    hover: Sequence[str] | None = None,
) -> go.Figure:
    """Draw one bar a name, best on top, names without a value (None, NaN) at the bottom as "n/a".

    Above `LIMIT` names only the best and the worst half of `LIMIT` are shown; the subtitle says so.

    Args:
        names: one a bar; they may repeat.
        values: one a name; scores are expected in 0..1 for the axis to be fixed to that.
        title: plain text.
        axis: what the values are.
        subtitle: plain text.
        average: where to draw the dashed line, None for none.
        highlight: index in `names` to CSS colour, for bars that must stand out.
        colors: a CSS colour a name; the theme's first if not given.
        hover: Plotly text for when the mouse is on a bar, one a name; name and value if not given.

    Raises:
        ValueError: `names` and `values` differ in length.
    """
    pairs = list(zip(names, values, strict=True))
    if not finite(values):
        return no_data(title, "no class has a value" if pairs else "there are no classes")
    order = _ranking(values)
    if len(order) > LIMIT:
        half = LIMIT // 2
        note = f"the {half} best and the {half} worst of {len(order)}; {len(order) - LIMIT} between not shown"
        subtitle = f"{subtitle} · {note}" if subtitle else note
        measured = [i for i in order if _known(values[i])]
        order = measured[:half] + measured[half:][-half:]
    shown = [values[i] if _known(values[i]) else None for i in order]
    shades = [(highlight or {}).get(i, colors[i] if colors else COLORS[0]) for i in order]
    told = [hover[i] if hover else f"{plain(names[i])}: {number(values[i])}" for i in order]
    figure = go.Figure(_trace(told, shown, shades))
    figure.update_xaxes(title_text=axis, range=value_range(finite(shown)))
    figure.update_yaxes(**name_ticks([names[i] for i in order]), autorange="reversed", showgrid=False)
    if average is not None and math.isfinite(average):
        _mark(figure, average)
    styled(figure, title, max(len(order) * ROW + 170, 240), subtitle)
    return figure.update_layout(margin_t=84)


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _ranking(values: Sequence[float | None]) -> list[int]:
    def key(index: int) -> tuple[bool, float, int]:
        """Sort by value, highest first; what has none comes last."""
        value = values[index]
        return (False, -value, index) if value is not None and math.isfinite(value) else (True, 0.0, index)

    return sorted(range(len(values)), key=key)


def _trace(told: Sequence[str], values: Sequence[float | None], shades: Sequence[str]) -> go.Bar:
    return go.Bar(
        x=[0.0 if v is None else v for v in values],
        y=list(range(len(values))),
        orientation="h",
        marker_color=[MUTED if v is None else shade for v, shade in zip(values, shades, strict=True)],
        text=[number(v) for v in values],
        textposition="outside",
        cliponaxis=False,
        hovertext=list(told),
        hoverinfo="text",
    )


def value_range(values: Sequence[float]) -> list[float]:
    """Return an axis range that leaves room for the numbers beside the bars: 0..1 for scores."""
    low, top = min(values), max(values)
    if low >= 0 and top <= 1:
        return [0.0, 1.06]
    span = max(top, 0.0) - min(low, 0.0) or 1.0
    return [min(low * 1.1, 0.0), max(top, 0.0) + 0.1 * span]


def _mark(figure: go.Figure, average: float) -> None:
    figure.add_vline(
        x=average,
        line={"color": SOFT_INK, "dash": "dash", "width": 1.5},
        annotation={"text": f"mean {number(average)}", "font": {"color": SOFT_INK, "size": 12}},
        annotation_position="top",
    )
