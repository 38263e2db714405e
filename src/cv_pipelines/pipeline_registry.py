"""The map of the system: sources × data stages + experiments × model stages.

An experiment's pipeline runs from its source's raw files to its report, through every experiment whose
checkpoint it starts from. A task's pipeline runs that task's experiments of the tour; a group's pipeline
runs the experiments that name it, and draws their curves and costs together. An ensemble's pipeline runs its
members, and lets them predict together; a study's searches the parameters of an experiment. A promotion's
runs an experiment and may put its model to use.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from kedro.pipeline import Pipeline

from cv_pipelines.errors import ConfigError
from cv_pipelines.experiments import (
    Ensemble,
    Experiment,
    Promotion,
    Study,
    find_ensembles,
    find_experiments,
    find_promotions,
    find_sources,
    find_studies,
    groups_of,
)
from cv_pipelines.pipelines.compare import pipeline as compare
from cv_pipelines.pipelines.ensemble import pipeline as ensemble
from cv_pipelines.pipelines.evaluate import pipeline as evaluate
from cv_pipelines.pipelines.ingest import pipeline as ingest
from cv_pipelines.pipelines.prepare import pipeline as prepare
from cv_pipelines.pipelines.promote import pipeline as promote
from cv_pipelines.pipelines.report import pipeline as report
from cv_pipelines.pipelines.train import pipeline as train
from cv_pipelines.pipelines.tune import pipeline as tune

# A dataset's name says whose it is, and an experiment reads the tables of its source: dots are meant.
warnings.filterwarnings("ignore", message="One or more dataset names contain '.' characters")

CONF = Path(__file__).resolve().parents[2] / "conf"


def united(pipelines: Iterable[Pipeline]) -> Pipeline:
    """Put pipelines together, each node once; adding them one by one takes a second with all experiments."""
    return Pipeline({node for pipeline in pipelines for node in pipeline.nodes})


@cache
def data_pipeline(source: str) -> Pipeline:
    """Raw files of a source to its manifest, statistics and data report."""
    return ingest.create_pipeline(source) + prepare.create_pipeline(source)


def model_pipeline(experiment: Experiment) -> Pipeline:
    """Manifest to checkpoint, predictions, scores and report."""
    name, source = experiment.name, experiment.source
    return united(
        [
            train.create_pipeline(name, source, experiment.init_from),
            evaluate.create_pipeline(name, source, experiment.task, experiment.embedder),
            report.create_pipeline(name, source, experiment.task),
        ]
    )


def experiment_pipeline(experiment: Experiment, experiments: dict[str, Experiment]) -> Pipeline:
    """Everything one experiment needs, from raw files to its report."""
    needed = (experiment_pipeline(experiments[name], experiments) for name in experiment.needs)
    return united([data_pipeline(experiment.source), model_pipeline(experiment), *needed])


def study_pipeline(study: Study, experiments: dict[str, Experiment]) -> Pipeline:
    """Everything a search needs, from raw files to its report; not the experiment's own training."""
    base = experiments[study.experiment]
    search = tune.create_pipeline(study.name, base.name, base.source, base.init_from)
    needed = [experiment_pipeline(experiments[base.init_from], experiments)] if base.init_from else []
    return united([data_pipeline(base.source), search, *needed])


def check_names(
    experiments: dict[str, Experiment],
    sources: list[str],
    ensembles: dict[str, Ensemble],
    studies: dict[str, Study],
    promotions: dict[str, Promotion],
) -> None:
    """Check that no name is used twice: it is a folder, a namespace and a pipeline.

    Raises:
        ConfigError: names those that are.
    """
    taken = {"__default__", "comparisons", "everything", *sources, *(e.task for e in experiments.values())}
    taken |= {f"{kind}_{name}" for kind in ("data", "drift", "raw") for name in sources}
    taken |= groups_of(experiments).keys()
    others = "a task, a source or a group"
    for kind, names in (
        ("an experiment", experiments.keys()),
        ("an ensemble", ensembles.keys()),
        ("a study", studies.keys()),
        ("a promotion", promotions.keys()),
    ):
        twice = sorted(taken & names)
        if twice:
            raise ConfigError(f"{', '.join(twice)}: {kind} may not be named like {others}")
        taken |= names
        others += f", or {kind}"


def register_pipelines() -> dict[str, Pipeline]:
    """Return every pipeline by name."""
    experiments, known = find_experiments(CONF), find_sources(CONF)
    ensembles, studies = find_ensembles(CONF, experiments), find_studies(CONF, experiments)
    promotions = find_promotions(CONF, experiments)
    check_names(experiments, known, ensembles, studies, promotions)
    single = {name: experiment_pipeline(e, experiments) for name, e in experiments.items()}
    sources = {f"data_{name}": data_pipeline(name) for name in known}
    tour = [name for name, experiment in experiments.items() if experiment.tour]
    tasks = sorted({experiments[name].task for name in tour})
    compared = {
        group: united(
            [
                compare.create_pipeline(group, {name: experiments[name].source for name in names}),
                *(single[name] for name in names),
            ]
        )
        for group, names in groups_of(experiments).items()
    }
    joined = {
        name: united([ensemble.create_pipeline(one), *(single[member] for member in one.members)])
        for name, one in ensembles.items()
    }
    searches = {name: study_pipeline(study, experiments) for name, study in studies.items()}
    promoted = {
        name: united([single[one.candidate], promote.create_pipeline(name, experiments[one.candidate])])
        for name, one in promotions.items()
    }
    groups = {task: united(single[name] for name in tour if experiments[name].task == task) for task in tasks}
    return {
        "__default__": united(single[name] for name in tour),
        "everything": united(
            [
                *sources.values(),
                *single.values(),
                *compared.values(),
                *joined.values(),
                *searches.values(),
            ]
        ),
        **groups,
        **compared,
        **joined,
        **searches,
        **promoted,  # not part of `everything`: it changes what is in use
        **single,
        **sources,
    }
