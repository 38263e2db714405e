"""Sensor windows as small multiples of line charts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cv_pipelines.plots.theme import COLORS, INK, RIGHT, WRONG, no_data, plain, styled

LANE = 52
"""Pixels of height that a lane takes."""


def signal_gallery(
    items: Sequence[tuple[np.ndarray, str, bool | None]],
    channel_names: Sequence[str] | None = None,
    columns: int = 3,
    title: str = "Signal windows",
    rate: float | None = None,
) -> go.Figure:
    """Draw sensor windows; where channels come in threes (x, y, z), three share a lane and a scale.

    A lane has one scale over all windows, so quiet and lively windows can be compared.

    Args:
        items: (signal (C, T), title, right or wrong or None) each; C is the same for all.
        channel_names: C names, such as "body_acc_x"; a lane is called by what its channels have in common.
        columns: windows a row.
        title: plain text.
        rate: samples a second, for an axis in seconds; sample numbers if not given.

    Raises:
        ValueError: the signals are not (C, T) with one C, or the names are not C.
    """
    usable = [(np.asarray(s, dtype=np.float64), t, ok) for s, t, ok in items if s is not None and np.size(s)]
    if not usable:
        return no_data(title, "there is no window to show")
    names = _checked_names([s for s, _, _ in usable], channel_names)
    lanes = _lanes(len(names))
    scaled = _scaled([s for s, _, _ in usable], lanes)
    columns = max(min(columns, len(usable)), 1)
    rows = -(-len(usable) // columns)
    figure = _panels(rows, columns, [(caption, correct) for _, caption, correct in usable])
    for place, signal in enumerate(scaled):
        for channel, line in enumerate(_lines(signal, names, lanes, rate)):
            line.showlegend = place == 0 and channel < len(lanes[0]) > 1
            figure.add_trace(line, row=place // columns + 1, col=place % columns + 1)
    _label_axes(figure, names, lanes, rate, rows)
    inner = rows * (50 + LANE * len(lanes))
    styled(figure, title, inner + 130)
    return figure.update_layout(
        legend={"x": 0, "xanchor": "left", "y": 1 + 26 / inner}, margin_t=90, margin_b=40
    )


def _checked_names(signals: Sequence[np.ndarray], names: Sequence[str] | None) -> list[str]:
    channels = signals[0].shape[0]
    if any(s.ndim != 2 or s.shape[0] != channels for s in signals):
        raise ValueError(f"signals are (C, T) with one C; got {sorted({s.shape for s in signals})}")
    if names is not None and len(names) != channels:
        raise ValueError(f"{len(names)} channel names for {channels} channels")
    return list(names) if names is not None else [f"channel {i}" for i in range(channels)]


def _lanes(channels: int) -> list[list[int]]:
    width = 3 if channels % 3 == 0 else 1
    return [list(range(first, first + width)) for first in range(0, channels, width)]


def _scaled(signals: Sequence[np.ndarray], lanes: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Bring every lane to ±0.46 around minus its number, with one scale over all windows."""
    scaled = [np.where(np.isfinite(s), s, np.nan) for s in signals]
    for place, lane in enumerate(lanes):
        rows = np.concatenate([s[lane].ravel() for s in scaled])
        known = rows[~np.isnan(rows)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
        reach = (high - low) / 2 or 1.0
        for signal in scaled:
            signal[lane] = (signal[lane] - (low + high) / 2) / reach * 0.46 - place
    return scaled


def _panels(rows: int, columns: int, captions: Sequence[tuple[str, bool | None]]) -> go.Figure:
    signs = {None: "", True: "✓ ", False: "✗ "}
    shades = {None: INK, True: RIGHT, False: WRONG}
    figure = make_subplots(
        rows,
        columns,
        # A blank title would get no annotation, and the captions below would shift.
        subplot_titles=[plain(signs[ok] + text, 48) or "\u200b" for text, ok in captions],
        horizontal_spacing=0.02,
        vertical_spacing=min(0.09, 0.5 / rows),
        shared_xaxes=True,
        shared_yaxes=True,
    )
    for annotation, (_, correct) in zip(figure.layout.annotations, captions, strict=False):
        annotation.font = {"size": 13, "color": shades[correct]}
    return figure


def _lines(
    signal: np.ndarray, names: Sequence[str], lanes: Sequence[Sequence[int]], rate: float | None
) -> list[go.Scatter]:
    times = (np.arange(signal.shape[1]) / (rate or 1.0)).round(4).tolist()
    axes = ("x", "y", "z")
    return [
        go.Scatter(
            x=times,
            y=[None if np.isnan(v) else round(float(v), 3) for v in signal[channel]],
            mode="lines",
            line={"color": COLORS[order], "width": 1.4},
            name=axes[order],
            legendgroup=axes[order],
            hoverinfo="text",
            text=plain(names[channel]),
        )
        for lane in lanes
        for order, channel in enumerate(lane)
    ]


def _label_axes(
    figure: go.Figure, names: Sequence[str], lanes: Sequence[Sequence[int]], rate: float | None, rows: int
) -> None:
    labels = [_lane_name([names[c] for c in lane]) for lane in lanes]
    figure.update_yaxes(
        tickvals=[-place for place in range(len(lanes))],
        ticktext=[plain(label, 18) for label in labels],
        range=[0.55 - len(lanes), 0.55],
        zeroline=False,
    )
    figure.update_xaxes(showgrid=False)
    figure.update_xaxes(title_text="seconds" if rate else "sample", row=rows)


def _lane_name(names: Sequence[str]) -> str:
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in alike).rstrip("_- ") or names[0]
