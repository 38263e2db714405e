"""Wiring of the evaluate stage."""

from kedro.pipeline import Node, Pipeline

from cv_pipelines.pipelines.evaluate.nodes import coco_files, predict, score
from cv_pipelines.pipelines.named import told
from cv_pipelines.pipelines.source_data import source_inputs

COCO_FILES = ("coco_truth", "coco_results", "coco_mask_results", "coco_keypoint_results")


def create_pipeline(experiment: str, source: str, task: str, embedder: str | None) -> Pipeline:
    """Checkpoints to predictions and scores; `embedder` adds the edge from a classifier (GANs)."""
    common = {"experiment": f"params:{experiment}"} | source_inputs(source)
    trained = common | {"checkpoint": f"{experiment}.checkpoint"}
    inputs = trained | {"statistics": f"{source}.statistics"}
    if embedder:
        inputs["embedder"] = f"{embedder}.checkpoint"
    predictions = f"{experiment}.predictions"
    nodes = [
        Node(predict, inputs=inputs, outputs=predictions, name="predict", namespace=experiment, tags=["gpu"]),
        Node(
            told(score, experiment),
            inputs=trained | {"facts": f"{source}.data_facts", "predictions": predictions},
            outputs=[f"{experiment}.{name}" for name in ("metrics", "details", "sample_scores")],
            name="score",
            namespace=experiment,
        ),
    ]
    if task == "detection":
        nodes.append(
            Node(
                coco_files,
                inputs=common | {"predictions": predictions},
                outputs=[f"{experiment}.{name}" for name in COCO_FILES],
                name="coco_files",
                namespace=experiment,
            )
        )
    return Pipeline([node.tag("evaluate") for node in nodes])
