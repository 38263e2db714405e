"""Wiring of the evaluate stage."""

from functools import partial, update_wrapper

from kedro.pipeline import Node, Pipeline

from cv_pipelines.pipelines.evaluate.nodes import coco_files, predict, score

DATA = ["manifest", "annotations", "categories", "arrays"]


def create_pipeline(experiment: str, source: str, task: str, embedder: str | None) -> Pipeline:
    """Checkpoints to predictions and scores; `embedder` adds the edge from a classifier (GANs)."""
    common = {"experiment": f"params:{experiment}", "source": f"params:{source}"}
    data = common | {name: f"{source}.{name}" for name in DATA}
    checkpoint = {"checkpoint": f"{experiment}.checkpoint"}
    inputs = data | checkpoint | {"statistics": f"{source}.statistics"}
    if embedder:
        inputs["embedder"] = f"{embedder}.checkpoint"
    predictions = f"{experiment}.predictions"
    nodes = [
        Node(predict, inputs=inputs, outputs=predictions, name="predict", namespace=experiment, tags=["gpu"]),
        Node(
            update_wrapper(partial(score, experiment), score),
            inputs=data | checkpoint | {"facts": f"{source}.data_facts", "predictions": predictions},
            outputs=[f"{experiment}.{name}" for name in ("metrics", "details", "sample_scores")],
            name="score",
            namespace=experiment,
        ),
    ]
    if task == "detection":
        tables = {name: f"{source}.{name}" for name in ("manifest", "annotations", "categories")}
        nodes.append(
            Node(
                coco_files,
                inputs=common | tables | {"predictions": predictions},
                outputs=[f"{experiment}.coco_truth", f"{experiment}.coco_results"],
                name="coco_files",
                namespace=experiment,
            )
        )
    return Pipeline([node.tag("evaluate") for node in nodes])
