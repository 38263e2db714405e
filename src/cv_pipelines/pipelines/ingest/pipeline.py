"""Wiring of the ingest stage."""

from kedro.pipeline import Node, Pipeline

from cv_pipelines.pipelines.ingest.nodes import read_source

TABLES = ["samples", "annotations", "categories", "arrays", "quarantine", "facts", "ingested"]


def create_pipeline(source: str) -> Pipeline:
    """Raw files of one source to its tables."""
    node = Node(
        read_source,
        inputs=[f"params:{source}", f"{source}.store"],
        outputs=[f"{source}.{table}" for table in TABLES],
        name="read_source",
        namespace=source,
        tags=["ingest"],
    )
    return Pipeline([node])
