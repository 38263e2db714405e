"""Figures of how samples look in numbers: the light of images, the motion of signals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cv_pipelines.data.schema import SPLITS
from cv_pipelines.plots.theme import MUTED, SPLIT_COLORS, no_data, styled


def image_looks(measures: pd.DataFrame, split: np.ndarray) -> go.Figure:
    """Draw how brightness and contrast are spread, a line a split.

    Args:
        measures: `brightness` and `contrast`, 0..255, a row a sample.
        split: (N,) of the samples.
    """
    title = "Light"
    if measures.empty:
        return no_data(title, "the source gave no image")
    figure = make_subplots(1, 2, horizontal_spacing=0.08, subplot_titles=["brightness", "contrast"])
    for column, (name, top) in enumerate((("brightness", 255), ("contrast", 128)), start=1):
        edges = np.linspace(0, top, 33)
        for one in [s for s in SPLITS if (split == s).any()]:
            values = np.clip(measures[name].to_numpy(np.float64)[split == one], 0, top)
            share = np.histogram(values, edges)[0] / len(values)
            figure.add_scatter(
                x=((edges[:-1] + edges[1:]) / 2).round(2).tolist(),
                y=share.round(5).tolist(),
                mode="lines",
                line={"color": SPLIT_COLORS.get(one, MUTED), "shape": "hvh"},
                name=one,
                legendgroup=one,
                showlegend=column == 1,
                hovertemplate="%{x:.0f}: %{y:.1%}",
                row=1,
                col=column,
            )
        figure.update_xaxes(title_text=f"{name} (0 to 255)", row=1, col=column)
    figure.update_yaxes(tickformat=".0%").update_yaxes(title_text="share of the samples", col=1)
    styled(figure, title, 360, "mean and deviation of the luma")
    return figure.update_layout(margin_t=100, legend_y=1.12)


def signal_looks(
    measures: pd.DataFrame, split: np.ndarray, channel_names: Sequence[str] | None = None
) -> go.Figure:
    """Draw the deviation within a window of each channel: median and quartiles, a box a split.

    Args:
        measures: `deviation_<k>` of each channel k, a row a sample.
        split: (N,) of the samples.
        channel_names: of the channels, in order; their numbers if not given.
    """
    title = "Motion"
    channels = [name for name in measures.columns if name.startswith("deviation_")]
    if measures.empty or not channels:
        return no_data(title, "the source gave no window")
    figure = go.Figure()
    for one in [s for s in SPLITS if (split == s).any()]:
        quartiles = np.quantile(measures.loc[split == one, channels], [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
        low, first, middle, third, high = quartiles.round(5).tolist()
        figure.add_box(
            x=list(channel_names or [name.removeprefix("deviation_") for name in channels]),
            **{"lowerfence": low, "q1": first, "median": middle, "q3": third, "upperfence": high},
            name=one,
            marker_color=SPLIT_COLORS.get(one, MUTED),
        )
    figure.update_layout(boxmode="group")
    figure.update_xaxes(title_text="channel", type="category")
    figure.update_yaxes(title_text="deviation within a window")
    return styled(figure, title, 380, "median, quartiles, and the middle nine tenths of the windows")
