"""Wiring of the compare stage."""

from kedro.pipeline import Node, Pipeline

from cv_pipelines.pipelines.compare.nodes import compare, measure_costs
from cv_pipelines.pipelines.named import told
from cv_pipelines.pipelines.source_data import source_inputs


def create_pipeline(group: str, experiments: dict[str, str]) -> Pipeline:
    """Checkpoints, histories and scores of a group's experiments to one page.

    Args:
        group: its name.
        experiments: its members in order, and the source of each.
    """
    parameters = {f"{name}__parameters": f"params:{name}" for name in experiments}
    models = {f"{name}__checkpoint": f"{name}.checkpoint" for name in experiments}
    tables = {
        f"{source}__{table}": dataset
        for source in sorted(set(experiments.values()))
        for table, dataset in source_inputs(source).items()
    }
    results = {f"{name}__{kind}": f"{name}.{kind}" for name in experiments for kind in ("history", "metrics")}
    costs = f"{group}.costs"
    return Pipeline(
        [
            Node(
                told(measure_costs, experiments),
                inputs=parameters | models | tables,
                outputs=costs,
                name="measure_costs",
                namespace=group,
                tags=["report", "gpu"],
            ),
            Node(
                told(compare, group, list(experiments)),
                inputs=parameters | results | {"costs": costs},
                outputs=f"{group}.comparison",
                name="compare",
                namespace=group,
                tags=["report"],
            ),
        ]
    )
