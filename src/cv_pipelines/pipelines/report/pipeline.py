"""Wiring of the report stage."""

from kedro.pipeline import Node, Pipeline

from cv_pipelines.pipelines.named import told
from cv_pipelines.pipelines.report.nodes import analyse_errors, draw_report, explain
from cv_pipelines.pipelines.source_data import source_inputs

RESULTS = ["history", "predictions", "metrics", "details", "sample_scores", "errors"]
FIGURES = ["report", "curves", "score_figure", "gallery"]
ERROR_FIGURES = ["error_page", "error_kinds", "error_slices"]
EXPLAINED = {"activity", "classification"}
"""Tasks whose models have class activation maps."""


def create_pipeline(experiment: str, source: str, task: str) -> Pipeline:
    """Saved results of one experiment to what it gets wrong, its page and figures."""
    common = {"experiment": f"params:{experiment}"} | source_inputs(source)
    predictions = {"predictions": f"{experiment}.predictions"}
    results = {name: f"{experiment}.{name}" for name in RESULTS}
    nodes = [
        Node(
            told(analyse_errors, experiment),
            inputs=common | predictions | {"measures": f"{source}.measures"},
            outputs=f"{experiment}.errors",
            name="analyse_errors",
            namespace=experiment,
        )
    ]
    if task in EXPLAINED:
        results["explanations"] = f"{experiment}.explanations"
        nodes.append(
            Node(
                explain,
                inputs=common
                | predictions
                | {"checkpoint": f"{experiment}.checkpoint", "errors": f"{experiment}.errors"},
                outputs=f"{experiment}.explanations",
                name="explain",
                namespace=experiment,
                tags=["gpu"],
            )
        )
    nodes.append(
        Node(
            told(draw_report, experiment),
            inputs=common | results,
            outputs=[f"{experiment}.{name}" for name in (*FIGURES, *ERROR_FIGURES)],
            name="draw_report",
            namespace=experiment,
        )
    )
    return Pipeline([node.tag("report") for node in nodes])
