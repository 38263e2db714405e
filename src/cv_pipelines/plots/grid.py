"""Pictures with captions in rows and columns, as one Plotly figure of embedded images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from PIL import Image

from cv_pipelines.plots.rasters import data_uri
from cv_pipelines.plots.theme import INK, WIDTH, plain, styled

GAP, LINE, TALLEST = 10, 17, 560
"""Pixels between cells, of a caption line, and of the tallest picture."""


@dataclass(frozen=True)
class Cell:
    """One picture and the (text, CSS colour) lines above it; `lossless` stores it as PNG."""

    image: Image.Image
    caption: tuple[tuple[str, str], ...] = ()
    lossless: bool = False


def picture_grid(cells: Sequence[Cell], columns: int, title: str, subtitle: str = "") -> go.Figure:
    """Lay out pictures; dragging zooms in, a double click goes back.

    Coordinates are pixels of a figure `WIDTH` wide; pictures keep their aspect at any width.

    Args:
        cells: at least one.
        columns: pictures a row.
        title: plain text.
        subtitle: plain text.
    """
    columns = max(min(columns, len(cells)), 1)
    cell = (WIDTH - 32) / columns
    head = max(len(c.caption) for c in cells) * LINE + 4
    figure = go.Figure(go.Scatter(x=[None], y=[None], showlegend=False, hoverinfo="skip"))
    foot = 0.0
    for start in range(0, len(cells), columns):
        row, top = cells[start : start + columns], foot - head
        tall = min(max(_tall(item.image, cell - GAP) for item in row), TALLEST)
        for place, item in enumerate(row):
            figure.add_layout_image(_embedded(item, place * cell + GAP / 2, top, cell - GAP, tall))
            for line, (text, color) in enumerate(reversed(item.caption)):
                figure.add_annotation(
                    _line(text, color, (place + 0.5) * cell, top + line * LINE, int(cell / 6.8))
                )
        foot = top - tall - GAP
    figure.update_xaxes(visible=False, range=[0, columns * cell])
    figure.update_yaxes(visible=False, range=[foot, 0])
    styled(figure, title, round(88 - foot), subtitle)
    return figure.update_layout(margin={"l": 16, "r": 16, "t": 64, "b": 24}, dragmode="zoom")


def _tall(image: Image.Image, width: float) -> float:
    return width * image.height / image.width


def _embedded(item: Cell, left: float, top: float, width: float, height: float) -> dict[str, object]:
    return {
        "source": data_uri(item.image, item.lossless),
        "xref": "x",
        "yref": "y",
        "x": left,
        "y": top,
        "sizex": width,
        "sizey": height,
        "xanchor": "left",
        "yanchor": "top",
        "sizing": "contain",
    }


def _line(text: str, color: str, middle: float, foot: float, limit: int) -> dict[str, object]:
    return {
        "text": plain(text, limit),
        "x": middle,
        "y": foot,
        "xref": "x",
        "yref": "y",
        "xanchor": "center",
        "yanchor": "bottom",
        "showarrow": False,
        "borderpad": 0,
        "font": {"size": 12, "color": color or INK},
    }
