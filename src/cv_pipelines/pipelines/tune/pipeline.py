"""Wiring of the tune stage."""

from kedro.pipeline import Node, Pipeline

from cv_pipelines.pipelines.named import told
from cv_pipelines.pipelines.source_data import source_inputs
from cv_pipelines.pipelines.tune.nodes import draw_study, search


def create_pipeline(study: str, experiment: str, source: str, init_from: str | None) -> Pipeline:
    """Manifest and statistics to the best experiment and the page that shows how it was found."""
    parameters = {"study": f"params:{study}", "experiment": f"params:{experiment}"}
    inputs = parameters | {"folder": f"{study}.work", "cache": f"{source}.packed"}
    inputs |= source_inputs(source, "statistics", "verdict")
    if init_from:
        inputs["init"] = f"{init_from}.checkpoint"
    nodes = [
        Node(
            told(search, study),
            inputs=inputs,
            outputs=[f"{study}.trials", f"{study}.study"],
            name="search",
            namespace=study,
            tags=["tune", "gpu"],
        ),
        Node(
            draw_study,
            inputs=parameters | {"trials": f"{study}.trials", "found": f"{study}.study"},
            outputs=[f"{study}.report", f"{study}.winner"],
            name="draw_study",
            namespace=study,
            tags=["report"],
        ),
    ]
    return Pipeline(nodes)
