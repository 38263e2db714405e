"""Node of the compare stage. The core is imported when a node runs, so that listing pipelines is fast."""

from __future__ import annotations

from typing import Any


def compare(group: str, experiments: list[str], **artefacts: Any) -> str:
    """Draw the curves of the experiments of a group, panel by panel.

    Args:
        group: its name.
        experiments: its members, in order.
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
            run = Run(name, label, history, metrics, main_score(metrics)[0])
            panels.setdefault(panel, []).append(run)
    return comparison_page(group, panels)
