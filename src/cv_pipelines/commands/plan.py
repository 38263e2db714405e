"""`kedro cv plan`: what a run would do and why; nothing is changed."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.startup import ProjectMetadata

from cv_pipelines.commands.plan_view import show
from cv_pipelines.commands.project import configuration

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline

    from cv_pipelines.data.datasets import SourceData
    from cv_pipelines.planning.planner import Planner


@click.command()
@click.option("--pipeline", "-p", "name", default="__default__", show_default=True, help="As for kedro run.")
@click.option("--env", "-e", help="As for kedro run.")
@click.option("--probe", is_flag=True, help="Do one step of each training that is needed, to see its memory.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def plan(metadata: ProjectMetadata, name: str, env: str | None, probe: bool, as_json: bool) -> None:
    """Say what of a pipeline is out of date and why, what is missing, and what a run takes; change nothing.

    Fails if something is missing that the run needs.
    """
    from cv_pipelines.errors import CvPipelinesError

    if as_json:
        logging.disable(logging.WARNING)
    try:
        found = planned(Path(metadata.project_path), name, env, probe)
    except CvPipelinesError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        show(found)
    if found["missing"]:
        sys.exit(1)


def planned(project: Path, name: str, env: str | None, probe: bool) -> dict[str, Any]:
    """Return the plan of a pipeline, in what JSON can tell.

    Args:
        project: its folder.
        name: of the pipeline.
        env: of the configuration.
        probe: whether to do one step of each training that is needed.

    Raises:
        ConfigError: there is no such pipeline, or a parameters file is wrong; lists all defects.
    """
    from cv_pipelines.planning.costs import free_bytes
    from cv_pipelines.planning.durations import read_durations
    from cv_pipelines.planning.outline import certain_nodes, expected, outline, probes, with_nodes
    from cv_pipelines.validation import check_sections

    pipeline, conf = pipeline_of(name), configuration(project, env)
    own: dict[str, list[str]] = {}
    for node in pipeline.nodes:
        own.setdefault(str(node.namespace), []).append(node.name)
    check_sections(project, conf["parameters"], set(own))
    planner = planner_of(project, conf)
    durations = read_durations(planner.folder / "08_reporting")
    steps = [
        expected(with_nodes(step, nodes, alone=len(planner.of(namespace)) == 1), durations)
        for namespace, nodes in own.items()
        for step in planner.of(namespace)
    ]
    return {
        "pipeline": name,
        "env": env,
        "nodes": len(pipeline.nodes),
        **outline(steps, free_bytes(planner.folder)),
        "command": command(name, env, certain_nodes(steps), len(pipeline.nodes)),
        "probes": probes(steps, planner.job) if probe else {},
    }


def pipeline_of(name: str) -> Pipeline:
    """Return a pipeline.

    Raises:
        ConfigError: there is none of that name.
    """
    from cv_pipelines.errors import ConfigError
    from cv_pipelines.pipeline_registry import register_pipelines

    known = register_pipelines()
    if name not in known:
        raise ConfigError(f"no pipeline {name!r}; `kedro registry list` names them")
    return known[name]


def planner_of(project: Path, conf: Any) -> Planner:
    """Return what plans a project, with its data and its history at hand.

    Args:
        project: its folder.
        conf: Kedro's loader of its configuration.
    """
    from cv_pipelines.errors import SourceError
    from cv_pipelines.io.history import History
    from cv_pipelines.io.tracking import TrackingConfig
    from cv_pipelines.pipelines.source_data import stored_source
    from cv_pipelines.planning.planner import Planner

    folder, params = str(conf["globals"]["data"]), conf["parameters"]

    def stored(source: str) -> SourceData | None:
        """Return a source as it is prepared now; None if it is not."""
        try:
            return stored_source(project, source, params[source], folder)
        except (SourceError, OSError, ValueError):
            return None

    history = History(TrackingConfig.model_validate(conf["mlflow"]), project, project / folder)
    return Planner(project / "conf", params, project / folder, stored, history.past)


def command(name: str, env: str | None, nodes: list[str], count: int) -> str | None:
    """Return the command that runs some nodes of a pipeline; None where there are none to run.

    Args:
        name: of the pipeline.
        env: of the configuration.
        nodes: to run.
        count: nodes of the whole pipeline.
    """
    only = [] if len(nodes) == count else ["--nodes", ",".join(nodes)]
    run = ["kedro", "run", *(["--env", env] if env else [])]
    run += [] if name == "__default__" else ["--pipeline", name]
    return " ".join([*run, *only]) if nodes else None
