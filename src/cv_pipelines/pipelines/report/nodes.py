"""Nodes of the report stage. The core is imported when a node runs, so that listing pipelines is fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cv_pipelines.pipelines.source_data import source_data

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from cv_pipelines.config import ExperimentConfig
    from cv_pipelines.data.datasets import SourceData
    from cv_pipelines.training.checkpoints import Checkpoint


def analyse_errors(
    name: str, experiment: dict[str, Any], predictions: pd.DataFrame, measures: pd.DataFrame, **tables: Any
) -> dict[str, Any]:
    """Say what the first seed gets wrong: kinds of error, worst samples, slices; needs no GPU."""
    from cv_pipelines.config import ExperimentConfig, parse
    from cv_pipelines.error_analysis.analyse import analyse
    from cv_pipelines.training.predict import scored_part

    config = parse(name, ExperimentConfig, experiment)
    data = scored_part(config, source_data(**tables))
    return analyse(name, config.task, _of_first_seed(predictions, config), data, measures)


def explain(
    experiment: dict[str, Any],
    checkpoint: dict[int, Checkpoint],
    predictions: pd.DataFrame,
    errors: dict[str, Any],
    **tables: Any,
) -> pd.DataFrame:
    """Compute where the first seed's classifier looks, on its worst samples and some others."""
    from cv_pipelines.config import ExperimentConfig, parse
    from cv_pipelines.error_analysis import explain as core

    config = parse("experiment", ExperimentConfig, experiment)
    first = checkpoint[config.train.seeds[0]]
    return core.explain(config, source_data(**tables), first, _of_first_seed(predictions, config), errors)


def draw_report(
    name: str,
    experiment: dict[str, Any],
    history: pd.DataFrame,
    predictions: pd.DataFrame,
    metrics: dict[str, Any],
    details: dict[str, Any],
    sample_scores: pd.DataFrame,
    errors: dict[str, Any],
    explanations: pd.DataFrame | None = None,
    **tables: Any,
) -> tuple[str, go.Figure, go.Figure, go.Figure, str, go.Figure, go.Figure]:
    """Draw curves, score figures, gallery, errors and worst cases.

    Returns:
        The page, and for previews and tracking the curves, the main score figure and the gallery; the page of
        errors, what their kinds cost, and the slices.
    """
    from cv_pipelines.config import ExperimentConfig, parse
    from cv_pipelines.plots.experiment import draw

    config = parse(name, ExperimentConfig, experiment)
    data = source_data(**tables).only(config.evaluate.split)
    first = _of_first_seed(predictions, config)
    page = draw(config, data, history, first, metrics, details, sample_scores, errors, explanations)
    return *page, *draw_errors(data, first, errors)


def draw_errors(
    data: SourceData, predictions: pd.DataFrame, errors: dict[str, Any]
) -> tuple[str, go.Figure, go.Figure]:
    """Draw what stands beside a report: the page of errors, what their kinds cost, and the slices."""
    from cv_pipelines.plots.browse import browse_page
    from cv_pipelines.plots.error_report import kinds_figure, slices_figure

    return browse_page(data, predictions, errors), kinds_figure(errors), slices_figure(errors)


def _of_first_seed(predictions: pd.DataFrame, config: ExperimentConfig) -> pd.DataFrame:
    return predictions[predictions["seed"] == config.train.seeds[0]].reset_index(drop=True)
