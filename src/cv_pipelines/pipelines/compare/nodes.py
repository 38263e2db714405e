"""Nodes of the compare stage. The core is imported when a node runs, so that listing pipelines is fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cv_pipelines.pipelines.source_data import TABLES, source_data

if TYPE_CHECKING:
    from cv_pipelines.data.datasets import SourceData


def measure_costs(experiments: dict[str, str], **artefacts: Any) -> dict[str, dict[str, Any]]:
    """Measure what using the models of a group costs, in one run.

    Args:
        experiments: its members in order, and the source of each.
        artefacts: `<experiment>__parameters` and `<experiment>__checkpoint` of each; `<source>__source` and
            the tables of each source, named alike.

    Returns:
        `costs.json`; see `training.costs.Costs`.
    """
    from cv_pipelines.config import ExperimentConfig, parse
    from cv_pipelines.training.costs import measure

    def prepared(source: str) -> SourceData:
        """Gather a source."""
        return source_data(**{table: artefacts[f"{source}__{table}"] for table in ("source", *TABLES)})

    sources = {source: prepared(source) for source in set(experiments.values())}
    return measure(
        {
            name: (
                parse(name, ExperimentConfig, artefacts[f"{name}__parameters"]),
                sources[source],
                next(iter(artefacts[f"{name}__checkpoint"].values())),
            )
            for name, source in experiments.items()
        }
    )


def compare(group: str, experiments: list[str], costs: dict[str, dict[str, Any]], **artefacts: Any) -> str:
    """Draw the curves of the experiments of a group, panel by panel, and what each costs.

    Args:
        group: its name.
        experiments: its members, in order.
        costs: what using each costs.
        artefacts: `<experiment>__parameters`, `<experiment>__history` and `<experiment>__metrics` of each.

    Returns:
        The page.
    """
    from cv_pipelines.config import ExperimentConfig, parse
    from cv_pipelines.plots.comparison import Run, comparison_page
    from cv_pipelines.training.leaderboard import main_score

    panels: dict[str, list[Run]] = {}
    for name in experiments:
        config = parse(name, ExperimentConfig, artefacts[f"{name}__parameters"])
        history, metrics = (artefacts[f"{name}__{kind}"] for kind in ("history", "metrics"))
        assert config.group is not None
        for panel, label in config.group.panels.items():
            run = Run(name, label, history, metrics, main_score(metrics)[0], costs[name])
            panels.setdefault(panel, []).append(run)
    return comparison_page(group, panels)
