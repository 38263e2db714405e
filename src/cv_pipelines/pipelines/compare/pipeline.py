"""Wiring of the compare stage."""

from kedro.pipeline import Node, Pipeline

from cv_pipelines.pipelines.compare.nodes import compare
from cv_pipelines.pipelines.named import told


def create_pipeline(group: str, experiments: list[str]) -> Pipeline:
    """Histories and scores of a group's experiments to one page."""
    inputs: dict[str, str] = {}
    for name in experiments:
        inputs |= {f"{name}__{kind}": f"{name}.{kind}" for kind in ("history", "metrics")}
        inputs[f"{name}__parameters"] = f"params:{name}"
    node = Node(
        told(compare, group, experiments),
        inputs=inputs,
        outputs=f"{group}.comparison",
        name="compare",
        namespace=group,
        tags=["report"],
    )
    return Pipeline([node])
