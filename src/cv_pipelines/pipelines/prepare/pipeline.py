"""Wiring of the prepare stage."""

from kedro.pipeline import Node, Pipeline

from cv_pipelines.pipelines.prepare.nodes import compute_statistics, report_source, split_samples

DATA = ["manifest", "annotations", "categories", "arrays"]


def create_pipeline(source: str) -> Pipeline:
    """Tables of one source to its manifest, statistics and data report."""

    def named(*tables: str) -> list[str]:
        """Return the source's parameters and tables as catalog names."""
        return [f"params:{source}", *(f"{source}.{table}" for table in tables)]

    nodes = [
        Node(
            split_samples,
            inputs=named("samples", "facts"),
            outputs=[f"{source}.manifest", f"{source}.data_facts"],
            name="split_samples",
            namespace=source,
        ),
        Node(
            compute_statistics,
            inputs=named(*DATA),
            outputs=f"{source}.statistics",
            name="compute_statistics",
            namespace=source,
        ),
        Node(
            report_source,
            inputs=named(*DATA, "quarantine", "data_facts"),
            outputs=[f"{source}.{name}" for name in ("page", "summary", "class_counts", "samples_gallery")],
            name="report_source",
            namespace=source,
        ),
    ]
    return Pipeline([node.tag("prepare") for node in nodes])
