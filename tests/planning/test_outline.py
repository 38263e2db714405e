"""A plan as a whole: every node of every pipeline belongs to one step."""

import pytest

from cv_pipelines.pipeline_registry import register_pipelines
from cv_pipelines.planning.outline import certain_nodes, outline, with_nodes
from cv_pipelines.planning.steps import Step

STEPS = {
    "digits": ["read_source", "prepare"],
    "classification_digits": ["train_model", "predict", "score", "draw_report"],
    "detection_sample": ["train_model", "predict", "score", "draw_report"],
    "gan_digits": ["train_model", "predict", "score", "draw_report"],
    "ensemble_digits": ["predict"],
    "training_craft": ["compare"],
    "tune_digits": ["study"],
    "promote_digits": ["promotion"],
}


@pytest.mark.parametrize("name", STEPS)
def test_every_node_belongs_to_one_step(name):
    pipeline = register_pipelines()[f"data_{name}" if name == "digits" else name]
    own = [node.name for node in pipeline.nodes if node.namespace == name]
    steps = [with_nodes(Step(name, step), own, alone=len(STEPS[name]) == 1) for step in STEPS[name]]
    assert sorted(node for step in steps for node in step.nodes) == sorted(own)


def test_what_runs_for_certain():
    steps = [
        Step("a", "read_source", nodes=["a.read_source"]),
        Step("a", "prepare", nodes=["a.split"], state="maybe"),
        Step("b", "train_model", nodes=["b.train_model"], state="maybe"),
        Step("c", "train_model", nodes=["c.train_model"], state="run"),
    ]
    assert certain_nodes(steps) == ["a.split", "c.train_model"]


def test_what_is_missing_and_what_is_gone():
    steps = [
        Step("a", "read_source", state="missing", reasons=["no folder /a"]),
        Step("b", "read_source", state="run", reasons=["source changed"], gone=["/b/x is gone"]),
        Step("b", "prepare", state="missing", reasons=["b.read_source cannot be made"]),
    ]
    assert outline(steps, 0)["missing"] == ["a: no folder /a", "b: /b/x is gone"]
