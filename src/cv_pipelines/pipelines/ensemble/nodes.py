"""Nodes of an ensemble. The core is imported when a node runs, so that listing pipelines is fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cv_pipelines.pipelines.source_data import source_data

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from cv_pipelines.config.ensemble import EnsembleConfig
    from cv_pipelines.training.ensemble import Member

ARTEFACTS = ("checkpoint", "metrics", "parameters")
"""What the nodes read of each member, as `<member>__<artefact>`."""


def predict(
    name: str, ensemble: dict[str, Any], statistics: dict[str, Any], **given: Any
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predict with every model of every member, and make one prediction of them a sample.

    Returns:
        The fused predictions, and those of each model alone.
    """
    from cv_pipelines.training import ensemble as core

    config, members, tables = _gathered(name, ensemble, given)
    return core.predict(config, members, source_data(statistics=statistics, **tables))


def score(
    name: str,
    ensemble: dict[str, Any],
    facts: dict[str, Any],
    predictions: pd.DataFrame,
    member_predictions: pd.DataFrame,
    **given: Any,
) -> tuple[dict[str, Any], dict[str, Any], pd.DataFrame]:
    """Score the ensemble and each of its models alone, from saved predictions; needs no GPU.

    Returns:
        `metrics.json`, the details for figures, and a row a sample.
    """
    from cv_pipelines.training import ensemble as core

    config, members, tables = _gathered(name, ensemble, given)
    data = source_data(**tables)
    return core.score(name, config, members, predictions, member_predictions, data, facts)


def coco_files(
    name: str, ensemble: dict[str, Any], predictions: pd.DataFrame, **tables: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Write truth and results in COCO's form, so that any COCO tool can score them.

    Returns:
        `coco_truth.json` and `coco_results.json`.
    """
    from cv_pipelines.config import parse
    from cv_pipelines.config.ensemble import EnsembleConfig
    from cv_pipelines.training import score as scorer

    config = parse(name, EnsembleConfig, ensemble)
    truth, found = scorer.coco_form(source_data(**tables).only(config.evaluate.split), predictions)
    return truth, found["bbox"]  # no masks and no poses are fused


def draw_report(
    name: str,
    ensemble: dict[str, Any],
    predictions: pd.DataFrame,
    metrics: dict[str, Any],
    details: dict[str, Any],
    sample_scores: pd.DataFrame,
    errors: dict[str, Any],
    **tables: Any,
) -> tuple[str, go.Figure, go.Figure, go.Figure, str, go.Figure, go.Figure]:
    """Draw the ensemble beside its members, score figures, gallery, errors and worst cases.

    Returns:
        The page, and for previews and tracking the comparison, the main score figure and the gallery; the
        page of errors, what their kinds cost, and the slices.
    """
    from cv_pipelines.config import parse
    from cv_pipelines.config.ensemble import EnsembleConfig
    from cv_pipelines.pipelines.report.nodes import draw_errors
    from cv_pipelines.plots.ensemble import draw
    from cv_pipelines.training.leaderboard import main_score

    config = parse(name, EnsembleConfig, ensemble)
    data = source_data(**tables).only(config.evaluate.split)
    page = draw(data, predictions, metrics, details, sample_scores, errors, main_score(metrics)[0])
    return *page, *draw_errors(data, predictions, errors)


def analyse_errors(
    name: str,
    ensemble: dict[str, Any],
    predictions: pd.DataFrame,
    metrics: dict[str, Any],
    measures: pd.DataFrame,
    **tables: Any,
) -> dict[str, Any]:
    """Say what the ensemble gets wrong: kinds of error, worst samples, slices; needs no GPU."""
    from cv_pipelines.comparing.results import scored
    from cv_pipelines.config import parse
    from cv_pipelines.config.ensemble import EnsembleConfig
    from cv_pipelines.error_analysis.analyse import analyse

    config = parse(name, EnsembleConfig, ensemble)
    part = source_data(**tables).only(config.evaluate.split)
    task = metrics["task"]
    return analyse(name, task, predictions, scored(task, predictions, part), measures)


def _gathered(
    name: str, ensemble: dict[str, Any], given: dict[str, Any]
) -> tuple[EnsembleConfig, list[Member], dict[str, Any]]:
    """Sort what a node was given into its parameters, the members, and the tables of their source."""
    from cv_pipelines.config import ExperimentConfig, parse
    from cv_pipelines.config.ensemble import EnsembleConfig
    from cv_pipelines.training.ensemble import Member

    config = parse(name, EnsembleConfig, ensemble)
    members = []
    for member in config.members:
        checkpoint, metrics, parameters = (given.pop(f"{member}__{artefact}") for artefact in ARTEFACTS)
        parsed = parse(member, ExperimentConfig, parameters)
        members.append(Member(member, parsed, checkpoint, metrics["contract"]))
    return config, members, given
