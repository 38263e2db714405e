"""The map of the system: sources × data stages + experiments × model stages.

An experiment's pipeline runs from its source's raw files to its report, through every experiment whose
checkpoint it starts from. A task's pipeline runs that task's experiments of the tour; a group's pipeline
runs the experiments that name it, and draws their curves together; an ensemble's pipeline runs its members,
and lets them predict together.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from kedro.pipeline import Pipeline

from cv_pipelines.errors import ConfigError
from cv_pipelines.experiments import (
    Ensemble,
    Experiment,
    find_ensembles,
    find_experiments,
    find_sources,
    groups_of,
)
from cv_pipelines.pipelines.compare import pipeline as compare
from cv_pipelines.pipelines.ensemble import pipeline as ensemble
from cv_pipelines.pipelines.evaluate import pipeline as evaluate
from cv_pipelines.pipelines.ingest import pipeline as ingest
from cv_pipelines.pipelines.prepare import pipeline as prepare
from cv_pipelines.pipelines.report import pipeline as report
from cv_pipelines.pipelines.train import pipeline as train

# A dataset's name says whose it is, and an experiment reads the tables of its source: dots are meant.
warnings.filterwarnings("ignore", message="One or more dataset names contain '.' characters")

CONF = Path(__file__).resolve().parents[2] / "conf"


def data_pipeline(source: str) -> Pipeline:
    """Raw files of a source to its manifest, statistics and data report."""
    return ingest.create_pipeline(source) + prepare.create_pipeline(source)


def model_pipeline(experiment: Experiment) -> Pipeline:
    """Manifest to checkpoint, predictions, scores and report."""
    name, source = experiment.name, experiment.source
    return (
        train.create_pipeline(name, source, experiment.init_from)
        + evaluate.create_pipeline(name, source, experiment.task, experiment.embedder)
        + report.create_pipeline(name, source)
    )


def experiment_pipeline(experiment: Experiment, experiments: dict[str, Experiment]) -> Pipeline:
    """Everything one experiment needs, from raw files to its report."""
    whole = data_pipeline(experiment.source) + model_pipeline(experiment)
    return sum((experiment_pipeline(experiments[n], experiments) for n in experiment.needs), whole)


def check_names(
    experiments: dict[str, Experiment], sources: list[str], ensembles: dict[str, Ensemble]
) -> None:
    """Check that no name is used twice: it is a folder, a namespace and a pipeline.

    Raises:
        ConfigError: names those that are.
    """
    taken = {"__default__", "everything", *sources, *(e.task for e in experiments.values())}
    taken |= {f"data_{name}" for name in sources}
    taken |= groups_of(experiments).keys()
    for kind, names in (("experiment", experiments.keys()), ("ensemble", ensembles.keys())):
        twice = sorted(taken & names)
        if twice:
            others = "a task, a source or a group" + (", or an experiment" if kind == "ensemble" else "")
            raise ConfigError(f"{', '.join(twice)}: an {kind} may not be named like {others}")
        taken |= names


def register_pipelines() -> dict[str, Pipeline]:
    """Return every pipeline by name."""
    experiments, known = find_experiments(CONF), find_sources(CONF)
    ensembles = find_ensembles(CONF, experiments)
    check_names(experiments, known, ensembles)
    single = {name: experiment_pipeline(e, experiments) for name, e in experiments.items()}
    sources = {f"data_{name}": data_pipeline(name) for name in known}
    tour = [name for name, experiment in experiments.items() if experiment.tour]
    tasks = sorted({experiments[name].task for name in tour})
    compared = {
        group: sum((single[name] for name in names), compare.create_pipeline(group, names))
        for group, names in groups_of(experiments).items()
    }
    joined = {
        name: sum((single[member] for member in one.members), ensemble.create_pipeline(one))
        for name, one in ensembles.items()
    }
    groups = {
        task: sum((single[name] for name in tour if experiments[name].task == task), Pipeline([]))
        for task in tasks
    }
    return {
        "__default__": sum((single[name] for name in tour), Pipeline([])),
        "everything": sum(
            [*single.values(), *compared.values(), *joined.values()], sum(sources.values(), Pipeline([]))
        ),
        **groups,
        **compared,
        **joined,
        **single,
        **sources,
    }
