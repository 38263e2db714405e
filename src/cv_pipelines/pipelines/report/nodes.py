"""Node of the report stage. The core is imported when a node runs, so that listing pipelines is fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cv_pipelines.pipelines.source_data import source_data

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


def draw_report(
    name: str,
    experiment: dict[str, Any],
    history: pd.DataFrame,
    predictions: pd.DataFrame,
    metrics: dict[str, Any],
    details: dict[str, Any],
    sample_scores: pd.DataFrame,
    **tables: Any,
) -> tuple[str, go.Figure, go.Figure, go.Figure]:
    """Draw curves, score figures, gallery and worst cases.

    Returns:
        The page, and for previews and tracking the curves, the main score figure and the gallery.
    """
    from cv_pipelines.config import ExperimentConfig, parse
    from cv_pipelines.plots.experiment import draw

    config = parse(name, ExperimentConfig, experiment)
    data = source_data(**tables).only(config.evaluate.split)
    first = predictions[predictions["seed"] == config.train.seeds[0]].reset_index(drop=True)
    return draw(config, data, history, first, metrics, details, sample_scores)
