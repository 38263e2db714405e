"""Wiring of the report stage."""

from kedro.pipeline import Node, Pipeline

from cv_pipelines.pipelines.named import told
from cv_pipelines.pipelines.report.nodes import draw_report
from cv_pipelines.pipelines.source_data import source_inputs

RESULTS = ["history", "predictions", "metrics", "details", "sample_scores"]


def create_pipeline(experiment: str, source: str) -> Pipeline:
    """Saved results of one experiment to its page and figures."""
    node = Node(
        told(draw_report, experiment),
        inputs={
            "experiment": f"params:{experiment}",
            **source_inputs(source),
            **{name: f"{experiment}.{name}" for name in RESULTS},
        },
        outputs=[f"{experiment}.{name}" for name in ("report", "curves", "score_figure", "gallery")],
        name="draw_report",
        namespace=experiment,
        tags=["report"],
    )
    return Pipeline([node])
