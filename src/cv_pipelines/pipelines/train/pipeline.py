"""Wiring of the train stage."""

from functools import partial, update_wrapper

from kedro.pipeline import Node, Pipeline

from cv_pipelines.pipelines.train.nodes import train_model

DATA = ["manifest", "annotations", "categories", "arrays", "statistics"]


def create_pipeline(experiment: str, source: str, init_from: str | None) -> Pipeline:
    """Manifest and statistics to checkpoints; `init_from` adds the edge from another experiment."""
    inputs = {
        "experiment": f"params:{experiment}",
        "source": f"params:{source}",
        **{name: f"{source}.{name}" for name in DATA},
        "folder": f"{experiment}.work",
    }
    if init_from:
        inputs["init"] = f"{init_from}.checkpoint"
    node = Node(
        update_wrapper(partial(train_model, experiment), train_model),
        inputs=inputs,
        outputs=[f"{experiment}.checkpoint", f"{experiment}.history"],
        name="train_model",
        namespace=experiment,
        tags=["train", "gpu"],
    )
    return Pipeline([node])
