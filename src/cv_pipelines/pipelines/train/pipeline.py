"""Wiring of the train stage."""

from kedro.pipeline import Node, Pipeline

from cv_pipelines.pipelines.named import told
from cv_pipelines.pipelines.source_data import source_inputs
from cv_pipelines.pipelines.train.nodes import train_model


def create_pipeline(experiment: str, source: str, init_from: str | None) -> Pipeline:
    """Manifest and statistics to checkpoints; `init_from` adds the edge from another experiment."""
    own = {"experiment": f"params:{experiment}", "folder": f"{experiment}.work", "cache": f"{source}.packed"}
    inputs = own | source_inputs(source, "statistics", "verdict")
    if init_from:
        inputs["init"] = f"{init_from}.checkpoint"
    node = Node(
        told(train_model, experiment),
        inputs=inputs,
        outputs=[f"{experiment}.checkpoint", f"{experiment}.history"],
        name="train_model",
        namespace=experiment,
        tags=["train", "gpu"],
    )
    return Pipeline([node])
