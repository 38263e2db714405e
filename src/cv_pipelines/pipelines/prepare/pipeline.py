"""Wiring of the prepare stage."""

from kedro.pipeline import Node, Pipeline

from cv_pipelines.pipelines.named import told
from cv_pipelines.pipelines.prepare.nodes import (
    compute_statistics,
    enforce_limits,
    measure_samples,
    report_source,
    split_samples,
)
from cv_pipelines.pipelines.source_data import source_inputs


def create_pipeline(source: str) -> Pipeline:
    """Tables of one source to its manifest, statistics and data report."""
    parameters = f"params:{source}"
    report = source_inputs(source, "quarantine", "measures", "statistics") | {"facts": f"{source}.data_facts"}
    nodes = [
        Node(
            split_samples,
            inputs=[parameters, f"{source}.samples", f"{source}.facts"],
            outputs=[f"{source}.manifest", f"{source}.data_facts"],
            name="split_samples",
            namespace=source,
        ),
        Node(
            compute_statistics,
            inputs=source_inputs(source),
            outputs=f"{source}.statistics",
            name="compute_statistics",
            namespace=source,
        ),
        Node(
            measure_samples,
            inputs=source_inputs(source),
            outputs=f"{source}.measures",
            name="measure_samples",
            namespace=source,
        ),
        Node(
            told(report_source, source),
            inputs=report,
            outputs=[f"{source}.{name}" for name in ("page", "summary", "class_counts", "samples_gallery")],
            name="report_source",
            namespace=source,
        ),
        Node(
            told(enforce_limits, source),
            inputs={"source": parameters, "summary": f"{source}.summary"},
            outputs=f"{source}.verdict",
            name="enforce_limits",
            namespace=source,
        ),
    ]
    return Pipeline([node.tag("prepare") for node in nodes])
