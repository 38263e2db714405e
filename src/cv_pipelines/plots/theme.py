"""The one look of every figure and page: colours, fonts, margins, and what a figure without data shows."""

from __future__ import annotations

import colorsys
import html
import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import plotly.graph_objects as go

RGB: TypeAlias = tuple[int, int, int]

COLORS = ("#3B6FB6", "#E07B39", "#2E9E7A", "#B5476B", "#8A6FC0", "#B8901F", "#3FA3CC", "#6B7280")
INK, SOFT_INK, GRID, MUTED = "#1F2933", "#5B6673", "#E6EAF0", "#B9C2CE"
RIGHT, WRONG = "#17804F", "#C23B35"
TRUTH_RGB: RGB = (22, 190, 98)
PREDICTION_RGB: RGB = (255, 140, 0)
SPLIT_COLORS = {"train": COLORS[0], "val": COLORS[1], "test": COLORS[2]}
FONT = "Inter, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"
WIDTH = 1080
"""The width in pixels that figures are laid out for; in a page they follow the page's width."""

_AXIS = {
    "gridcolor": GRID,
    "linecolor": MUTED,
    "zerolinecolor": GRID,
    "ticks": "outside",
    "tickcolor": MUTED,
    "ticklen": 4,
    "automargin": True,
    "title": {"font": {"size": 13, "color": SOFT_INK}, "standoff": 8},
}

TEMPLATE = go.layout.Template(
    layout={
        "colorway": list(COLORS),
        "font": {"family": FONT, "size": 13, "color": INK},
        "title": {"font": {"size": 17}, "x": 0.0, "xref": "container", "xanchor": "left", "pad": {"l": 12}},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 16, "r": 24, "t": 64, "b": 40},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"},
        "hoverlabel": {"font": {"family": FONT, "size": 13}, "align": "left"},
        "hovermode": "closest",
        "bargap": 0.25,
    }
)


def styled(figure: go.Figure, title: str, height: int = 380, subtitle: str = "") -> go.Figure:
    """Give a figure the project's look, in place, and return it.

    Args:
        figure: any Plotly figure.
        title: plain text; markup in it is shown, not interpreted.
        height: pixels.
        subtitle: plain text, one smaller line below the title.
    """
    figure.update_layout(template=TEMPLATE, height=height)
    # A title at a fixed number of pixels from the top: as a share it drifts into tall figures.
    figure.update_layout(title={"text": plain(title), "y": 1 - 24 / height, "yanchor": "middle"})
    if subtitle:
        figure.update_layout(
            title_subtitle={"text": plain(subtitle), "font": {"size": 13, "color": SOFT_INK}}
        )
    return figure


def no_data(title: str, reason: str) -> go.Figure:
    """Return a figure that says "no data: …" where there is nothing to draw."""
    figure = styled(go.Figure(), title, height=160)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(
        text=plain(f"no data: {reason}"),
        showarrow=False,
        x=0.5,
        y=0.5,
        xref="paper",
        yref="paper",
        font={"size": 15, "color": SOFT_INK},
    )
    return figure


def plain(text: object, limit: int = 0) -> str:
    """Return text from data so that Plotly shows it as it is (its labels interpret HTML).

    Args:
        text: anything with a `str`.
        limit: most characters to keep (the cut is marked by …); 0 keeps all.
    """
    words = str(text)
    if limit and len(words) > limit:
        words = words[: max(limit - 1, 1)].rstrip() + "…"
    return html.escape(words, quote=False)


def name_ticks(names: Sequence[str], limit: int = 28) -> dict[str, Any]:
    """Return axis settings that put names at 0, 1, …: so equal names keep places of their own."""
    labels = [plain(name, limit) for name in names]
    return {"tickvals": list(range(len(names))), "ticktext": labels, "ticks": "", "ticklabelstandoff": 6}


def finite(values: Iterable[float | None]) -> list[float]:
    """Return the values that are numbers, leaving out None, NaN and infinities."""
    return [float(v) for v in values if v is not None and math.isfinite(v)]


def number(value: float | None, digits: int = 3) -> str:
    """Write a score for people: 0.931, 12.30, 1,234, 0.00021, ∞; "n/a" where there is no number.

    Args:
        value: any float, or None.
        digits: decimals of a number below 10; larger ones have fewer, very small ones two significant digits.
    """
    if value is None or math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value != 0 and abs(value) < 10 ** (1 - digits):
        return f"{value:.2g}"
    whole = len(str(int(abs(value))))
    return f"{value:,.{max(digits + 1 - whole, 0)}f}"


def class_colors(names: Sequence[str], colors: Sequence[RGB | None] | None = None) -> dict[str, RGB]:
    """Give every class a colour, in index order.

    Args:
        names: class names in index order; a repeated name gets its index added, so none is lost.
        colors: the source's own RGB (0..255), None where it has none; missing ones are spread over the hues.
    """
    given = list(colors or [None] * len(names))
    table: dict[str, RGB] = {}
    for index, (name, color) in enumerate(zip(names, given, strict=True)):
        table[f"{name} ({index})" if name in table else name] = color or spread_color(index)
    return table


def spread_color(index: int) -> RGB:
    """Return the index-th of an endless sequence of well separated colours (golden-ratio hue steps)."""
    hue = (0.58 + index * 0.618034) % 1.0
    saturation, value = (0.70, 0.88) if index % 2 == 0 else (0.85, 0.68)
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def css(color: RGB) -> str:
    """Return an RGB triple as a CSS colour."""
    return f"#{color[0]:02x}{color[1]:02x}{color[2]:02x}"
