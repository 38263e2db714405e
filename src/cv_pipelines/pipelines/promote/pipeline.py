"""Wiring of the promote stage."""

from kedro.pipeline import Node, Pipeline

from cv_pipelines.experiments import Experiment
from cv_pipelines.pipelines.named import told
from cv_pipelines.pipelines.promote.nodes import enforce_decision, promote
from cv_pipelines.pipelines.source_data import source_inputs


def create_pipeline(promotion: str, candidate: Experiment) -> Pipeline:
    """Checkpoint and scores of an experiment to a decision; its model may be in use afterwards."""
    name, decision = candidate.name, f"{promotion}.decision"
    inputs = {
        "promotion": f"params:{promotion}",
        "experiment": f"params:{name}",
        "checkpoint": f"{name}.checkpoint",
        "metrics": f"{name}.metrics",
        "facts": f"{candidate.source}.data_facts",
        "predictions": f"{name}.predictions",
        "summary": f"{candidate.source}.summary",
        **source_inputs(candidate.source, "statistics"),
    }
    nodes = [
        Node(
            told(promote, promotion),
            inputs=inputs,
            outputs=[decision, *(f"{promotion}.{part}" for part in ("decision_page", "card", "card_page"))],
            name="promote",
            namespace=promotion,
            tags=["gpu"],
        ),
        Node(
            told(enforce_decision, promotion),
            inputs={"decision": decision},
            outputs=None,
            name="enforce_decision",
            namespace=promotion,
        ),
    ]
    return Pipeline([node.tag("promote") for node in nodes])
