"""Training curves: losses, scores and learning rate against the epoch, small multiples."""

from __future__ import annotations

import math

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cv_pipelines.plots.theme import COLORS, SPLIT_COLORS, no_data, plain, styled

DASHES = ("solid", "dot", "dash", "dashdot", "longdash", "longdashdot")
PANELS_A_ROW = 3
TITLE = "Training curves"


def curves(history: pd.DataFrame) -> go.Figure:
    """Draw one panel a quantity (losses first, the learning rate last), train and val overlaid.

    Colour tells train from val, the dash tells the seed. Values that are not finite leave a gap.

    Args:
        history: a row a value: `seed` int, `epoch` int, `name` ("train_loss", "val_loss", "lr", …), `value`.
    """
    if history.empty:
        return no_data(TITLE, "the history is empty")
    rows = history.assign(split=[_split(n) for n in history["name"]])
    rows["quantity"] = [_quantity(n) for n in rows["name"]]
    quantities = sorted(rows["quantity"].unique(), key=_panel_order)
    columns = min(len(quantities), 2 if len(quantities) == 4 else PANELS_A_ROW)
    lines = math.ceil(len(quantities) / columns)
    figure = make_subplots(
        lines,
        columns,
        subplot_titles=[plain(q.replace("_", " ")) for q in quantities],
        horizontal_spacing=0.07,
        vertical_spacing=min(0.3 / lines, 0.16),
    )
    _draw(figure, rows, quantities, columns)
    figure.update_xaxes(title_text="epoch", rangemode="tozero")
    figure.update_yaxes(exponentformat="power", tickformat="~g")
    styled(figure, TITLE, 110 + 270 * lines)
    return figure.update_layout(hovermode="x unified", legend={"y": 1 + 34 / (270 * lines)}, margin_t=90)


def _split(name: str) -> str:
    head = name.split("_", 1)[0]
    return head if head in SPLIT_COLORS and head != name else ""


def _quantity(name: str) -> str:
    return name.split("_", 1)[1] if _split(name) else name


def _panel_order(quantity: str) -> tuple[int, str]:
    if quantity in {"lr", "learning_rate"} or quantity.startswith("lr"):
        return 3, quantity
    if quantity == "loss":
        return 0, quantity
    return (1 if "loss" in quantity else 2), quantity


def _draw(figure: go.Figure, rows: pd.DataFrame, quantities: list[str], columns: int) -> None:
    seeds = sorted(rows["seed"].unique())
    seen: set[str] = set()
    for (quantity, split, seed), part in rows.groupby(["quantity", "split", "seed"], sort=True):
        label = (split or "run") + (f" · seed {seed}" if len(seeds) > 1 else "")
        place = quantities.index(quantity)
        figure.add_trace(
            _line(part.sort_values("epoch", kind="stable"), split, seeds.index(seed)).update(
                name=label, legendgroup=label, showlegend=bool(split) and label not in seen
            ),
            row=place // columns + 1,
            col=place % columns + 1,
        )
        seen.add(label)


def _line(part: pd.DataFrame, split: str, seed_place: int) -> go.Scatter:
    values = part["value"].astype("float64")
    return go.Scatter(
        x=part["epoch"].tolist(),
        y=[v if math.isfinite(v) else None for v in values],
        # A single epoch is a point: a line alone would show nothing.
        mode="lines+markers" if len(part) <= 15 else "lines",
        line={
            "color": SPLIT_COLORS.get(split, COLORS[-1]),
            "dash": DASHES[seed_place % len(DASHES)],
            "width": 2,
        },
        marker={"size": 5},
        hovertemplate="%{y:.4g}",
    )
