"""Wiring of an ensemble."""

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Node, Pipeline

from cv_pipelines.experiments import Ensemble
from cv_pipelines.pipelines.ensemble.nodes import analyse_errors, coco_files, draw_report, predict, score
from cv_pipelines.pipelines.named import told
from cv_pipelines.pipelines.report.pipeline import ERROR_FIGURES
from cv_pipelines.pipelines.source_data import source_inputs

SCORED = ("metrics", "details", "sample_scores")
FIGURES = ("report", "members", "score_figure", "gallery")


def create_pipeline(ensemble: Ensemble) -> Pipeline:
    """Checkpoints of the members to joint predictions, scores and a report."""
    name = ensemble.name
    common = {"ensemble": f"params:{name}"} | source_inputs(ensemble.source)
    members = {
        f"{member}__{artefact}": f"{member}.{artefact}"
        for member in ensemble.members
        for artefact in ("checkpoint", "metrics")
    } | {f"{member}__parameters": f"params:{member}" for member in ensemble.members}
    results = {key: f"{name}.{key}" for key in ("predictions", "member_predictions", *SCORED)}
    predicted = {"predictions": results["predictions"]}
    both = predicted | {"member_predictions": results["member_predictions"]}

    def node(
        function: Callable[..., Any], inputs: dict[str, str], outputs: list[str] | str, *tags: str
    ) -> Node:
        """Name a node after its function and the ensemble."""
        named = told(function, name)
        return Node(named, inputs, outputs, name=function.__name__, namespace=name, tags=list(tags))

    nodes = [
        node(
            predict,
            common | members | {"statistics": f"{ensemble.source}.statistics"},
            list(both.values()),
            *("evaluate", "gpu"),
        ),
        node(
            score,
            common | members | both | {"facts": f"{ensemble.source}.data_facts"},
            [results[key] for key in SCORED],
            "evaluate",
        ),
        node(
            draw_report,
            common | predicted | {key: results[key] for key in SCORED} | {"errors": f"{name}.errors"},
            [f"{name}.{figure}" for figure in (*FIGURES, *ERROR_FIGURES)],
            "report",
        ),
        node(
            analyse_errors,
            common | predicted | {"metrics": results["metrics"], "measures": f"{ensemble.source}.measures"},
            f"{name}.errors",
            "report",
        ),
    ]
    if ensemble.task == "detection":
        outputs = [f"{name}.coco_truth", f"{name}.coco_results"]
        nodes.append(node(coco_files, common | predicted, outputs, "evaluate"))
    return Pipeline(nodes)
