"""`kedro cv plan`: what a run would do and why; nothing is changed."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.startup import ProjectMetadata

from cv_pipelines.commands.planned import show
from cv_pipelines.commands.project import configuration

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline

    from cv_pipelines.planning.costs import Past
    from cv_pipelines.planning.steps import Step
    from cv_pipelines.training.job import Job

PATIENCE = 20.0
"""Seconds that MLflow has to answer."""

TOGETHER = {
    "prepare": ("split_samples", "compute_statistics", "measure_samples", "report_source", "enforce_limits"),
    "score": ("score", "coco_files"),
}
"""Nodes that one step stands for, where they are several; a step of no such name stands for its node."""


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
        planner = Planner(Path(metadata.project_path), name, env)
        found = planner.plan(probe)
    except CvPipelinesError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        show(found)
    if found["missing"]:
        sys.exit(1)


@dataclass(frozen=True)
class Planner:
    """Plans one pipeline of a project.

    Attributes:
        project: its folder.
        name: of the pipeline.
        env: of the configuration.
    """

    project: Path
    name: str
    env: str | None

    @cached_property
    def conf(self) -> Any:
        """Kedro's configuration."""
        return configuration(self.project, self.env)

    @cached_property
    def params(self) -> dict[str, Any]:
        """All sections of the parameters files."""
        found: dict[str, Any] = self.conf["parameters"]
        return found

    @cached_property
    def folder(self) -> str:
        """The data folder, from the project."""
        return str(self.conf["globals"]["data"])

    @cached_property
    def pipeline(self) -> Pipeline:
        """What would be run.

        Raises:
            ConfigError: there is no pipeline of that name.
        """
        from cv_pipelines.errors import ConfigError
        from cv_pipelines.pipeline_registry import register_pipelines

        known = register_pipelines()
        if self.name not in known:
            raise ConfigError(f"no pipeline {self.name!r}; `kedro registry list` names them")
        return known[self.name]

    @cached_property
    def steps(self) -> dict[str, list[Step]]:
        """The steps of each namespace, filled while they are planned."""
        return {}

    def plan(self, probe: bool) -> dict[str, Any]:
        """Return the plan, in what JSON can tell.

        Raises:
            ConfigError: a parameters file is wrong; lists all defects.
        """
        from cv_pipelines.hooks import ExperimentHooks

        namespaces = list(dict.fromkeys(str(node.namespace) for node in self.pipeline.nodes))
        hooks = ExperimentHooks()
        hooks.project, hooks.params = self.project, self.params
        hooks.check(set(namespaces))
        for namespace in namespaces:
            self.of(namespace)
        steps = [self.with_nodes(step) for namespace in namespaces for step in self.steps[namespace]]
        return self.told(steps) | {"probes": self.probes(steps) if probe else {}}

    def of(self, name: str) -> list[Step]:
        """Plan a namespace, after all that it reads."""
        from cv_pipelines.experiments import (
            find_ensembles,
            find_experiments,
            find_promotions,
            find_sources,
            find_studies,
        )

        if name in self.steps:
            return self.steps[name]
        conf = self.project / "conf"
        experiments = find_experiments(conf)
        if name in find_sources(conf):
            found = self.source(name)
        elif name in experiments:
            found = self.experiment(name)
        elif name in (ensembles := find_ensembles(conf, experiments)):
            found = self.ensemble(name, list(ensembles[name].members))
        elif name in find_studies(conf, experiments):
            found = self.always(name, "study")
        elif name in find_promotions(conf, experiments):
            found = self.always(name, "promotion")
        else:
            found = self.comparison(name, [n for n, e in experiments.items() if e.group == name])
        self.steps[name] = found
        return found

    def source(self, name: str) -> list[Step]:
        """Plan a source."""
        from cv_pipelines.config import SourceConfig, parse
        from cv_pipelines.planning.sources import source_steps

        config = parse(name, SourceConfig, self.params[name])
        return source_steps(name, config, self.project / self.folder)

    def experiment(self, name: str) -> list[Step]:
        """Plan an experiment, with what its training takes."""
        from cv_pipelines.config import ExperimentConfig, parse
        from cv_pipelines.planning.costs import sized, timed
        from cv_pipelines.planning.experiments import Asked, experiment_steps, load_metas

        config = parse(name, ExperimentConfig, self.params[name])
        above = {"source": self.of(config.source)}
        above |= {
            key: self.of(other)
            for key, other in (("init", config.init_from), ("embedder", config.embedder))
            if other
        }
        models = self.project / self.folder / "06_models"
        init = load_metas(models / config.init_from / "checkpoint") if config.init_from else {}
        data = self.data(config.source)
        asked = Asked(name, config, data, next(iter(init.values()), None))
        train, *others = experiment_steps(asked, self.project / self.folder, above)
        if train.needed:
            train = sized(timed(train, config, self.past(name)), config, data)
        return [train, *others]

    def ensemble(self, name: str, members: list[str]) -> list[Step]:
        """Plan an ensemble."""
        from cv_pipelines.config import parse
        from cv_pipelines.config.ensemble import EnsembleConfig
        from cv_pipelines.planning.others import ensemble_steps

        above = [step for member in members for step in self.of(member)]
        config = parse(name, EnsembleConfig, self.params[name])
        return ensemble_steps(name, config, self.project / self.folder, above)

    def comparison(self, name: str, members: list[str]) -> list[Step]:
        """Plan the page of a group."""
        from cv_pipelines.planning.others import page_steps

        above = [step for member in members for step in self.of(member)]
        return page_steps(name, self.project / self.folder / "08_reporting" / name / "comparison.html", above)

    def always(self, name: str, kind: str) -> list[Step]:
        """Plan a study or a promotion."""
        from cv_pipelines.planning.others import always_steps

        return always_steps(name, kind)

    def data(self, source: str) -> Any:
        """Return a source as it is prepared now; None if it is not."""
        from cv_pipelines.errors import SourceError
        from cv_pipelines.pipelines.source_data import stored_source

        try:
            return stored_source(self.project, source, self.params[source], self.folder)
        except (SourceError, OSError, ValueError):
            return None

    def past(self, experiment: str) -> list[Past]:
        """Return the earlier trainings of an experiment."""
        from cv_pipelines.io.history import on_disk, tracked
        from cv_pipelines.io.patience import within

        found = on_disk(self.project / self.folder / "08_reporting", experiment)
        if self.mlflow is None:
            return found
        client, runs = self.mlflow
        try:
            return found + within(PATIENCE, lambda: tracked(client, runs, experiment))
        except Exception:  # MLflow's, the database's: the figures on disk have to do
            return found

    @cached_property
    def mlflow(self) -> Any:
        """MLflow's client and experiment; None if it does not answer."""
        from cv_pipelines.io.history import connect
        from cv_pipelines.io.patience import within
        from cv_pipelines.io.tracking import TrackingConfig

        config = TrackingConfig.model_validate(self.conf["mlflow"])
        try:
            return within(PATIENCE, lambda: connect(config, self.project))
        except Exception as error:
            click.echo(f"MLflow cannot be asked about earlier runs: {str(error)[:200]}", err=True)
            return None

    def with_nodes(self, step: Step) -> Step:
        """Add the nodes of the pipeline that a step stands for."""
        own = [node for node in self.pipeline.nodes if node.namespace == step.namespace]
        names = {f"{step.namespace}.{name}" for name in TOGETHER.get(step.name, (step.name,))}
        if not any(node.name in names for node in own) or len(self.steps[step.namespace]) == 1:
            return replace(step, nodes=[node.name for node in own])
        return replace(step, nodes=[node.name for node in own if node.name in names])

    def told(self, steps: list[Step]) -> dict[str, Any]:
        """Sum up: what is missing, disk, time, and the command that runs only what is needed."""
        from cv_pipelines.planning.costs import free_bytes

        needed = [step for step in steps if step.needed]
        trained = [step for step in needed if step.name == "train_model"]
        unknown = [step.namespace for step in trained if step.seconds is None]
        seconds = sum(step.seconds or 0.0 for step in trained)
        # Whether trainings that may run have to is known once the tables are there.
        first = [step for step in needed if step.state == "run" or step.name == "prepare"]
        certain = [name for step in first for name in step.nodes]
        only = [] if len(certain) == len(self.pipeline.nodes) else ["--nodes", ",".join(certain)]
        run = ["kedro", "run", *(["--env", self.env] if self.env else [])]
        run += [] if self.name == "__default__" else ["--pipeline", self.name]
        return {
            "pipeline": self.name,
            "env": self.env,
            "nodes": len(self.pipeline.nodes),
            "steps": [asdict(step) for step in steps],
            "missing": [
                f"{step.namespace}: {why}"
                for step in steps
                if step.state == "missing" and step.name == "read_source"
                for why in step.reasons
            ],
            "disk": {
                "needed": sum(step.disk or 0 for step in needed),
                "unknown": [
                    f"{step.namespace}.{step.name}"
                    for step in needed
                    if step.disk is None and step.name in {"read_source", "train_model"}
                ],
                "free": free_bytes(self.project / self.folder),
            },
            "training": {
                "minutes": None if unknown and not seconds else round(seconds / 60, 2),
                "unknown": unknown,
            },
            "command": " ".join([*run, *only]) if certain else None,
        }

    def probes(self, steps: list[Step]) -> dict[str, Any]:
        """Do one step of each training that is needed, where its source is prepared."""
        from cv_pipelines.training.probe import probe

        found: dict[str, Any] = {}
        for step in steps:
            if step.name == "train_model" and step.needed:
                job = self.job(step.namespace)
                found[step.namespace] = probe(job) if job else {"error": "its source is not prepared yet"}
        return found

    def job(self, experiment: str) -> Job | None:
        """Gather a training; None where its source is not prepared."""
        from cv_pipelines.config import ExperimentConfig, parse
        from cv_pipelines.training.job import Job

        config = parse(experiment, ExperimentConfig, self.params[experiment])
        data = self.data(config.source)
        # First weights are of the same size, wherever they are from.
        return Job(experiment, config, data, Path()) if data else None
