"""The steps of every namespace of a project, each planned after those that it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cv_pipelines.config import ExperimentConfig, SourceConfig, parse
from cv_pipelines.config.ensemble import EnsembleConfig
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.experiments import (
    find_ensembles,
    find_experiments,
    find_promotions,
    find_sources,
    find_studies,
)
from cv_pipelines.planning.costs import Past, sized, timed
from cv_pipelines.planning.ensembles import Together, ensemble_steps
from cv_pipelines.planning.experiments import Asked, experiment_steps, load_metas
from cv_pipelines.planning.others import always_steps, page_steps
from cv_pipelines.planning.sources import source_steps
from cv_pipelines.planning.steps import Step
from cv_pipelines.training.job import Job


@dataclass(frozen=True)
class Planner:
    """Plans the namespaces of a project whose parameters are sound.

    Attributes:
        conf: folder of the parameters files.
        params: all sections, resolved.
        folder: of the project's data.
        stored: gives a source as it is prepared now; None if it is not.
        past: gives the earlier trainings of an experiment.
    """

    conf: Path
    params: dict[str, Any]
    folder: Path
    stored: Callable[[str], SourceData | None]
    past: Callable[[str], list[Past]]

    @cached_property
    def steps(self) -> dict[str, list[Step]]:
        """The steps of each namespace, filled while they are planned."""
        return {}

    @cached_property
    def sources(self) -> dict[str, SourceData | None]:
        """Prepared sources, filled while they are asked for."""
        return {}

    def of(self, name: str) -> list[Step]:
        """Plan a namespace, after all that it reads."""
        if name in self.steps:
            return self.steps[name]
        experiments = find_experiments(self.conf)
        ensembles = find_ensembles(self.conf, experiments)
        if name in find_sources(self.conf):
            found = source_steps(name, parse(name, SourceConfig, self.params[name]), self.folder)
        elif name in experiments:
            found = self.experiment(name)
        elif name in ensembles:
            found = self.ensemble(name, list(ensembles[name].members))
        elif name in find_studies(self.conf, experiments):
            found = always_steps(name, "study")
        elif name in find_promotions(self.conf, experiments):
            found = always_steps(name, "promotion")
        else:
            members = [n for n, e in experiments.items() if e.group == name]
            page = self.folder / "08_reporting" / name / "comparison.html"
            found = page_steps(name, page, self.all_of(members))
        self.steps[name] = found
        return found

    def all_of(self, names: list[str]) -> list[Step]:
        """Plan several namespaces."""
        return [step for name in names for step in self.of(name)]

    def experiment(self, name: str) -> list[Step]:
        """Plan an experiment, with what its training takes."""
        config = self.config(name)
        above = {"source": self.of(config.source)}
        above |= {
            key: self.of(other)
            for key, other in (("init", config.init_from), ("embedder", config.embedder))
            if other
        }
        models = self.folder / "06_models"
        init = load_metas(models / config.init_from / "checkpoint") if config.init_from else {}
        data = self.data(config.source)
        asked = Asked(name, config, data, next(iter(init.values()), None))
        train, *others = experiment_steps(asked, self.folder, above)
        if train.needed:
            train = sized(timed(train, config, self.past(name)), config, data)
        return [train, *others]

    def ensemble(self, name: str, members: list[str]) -> list[Step]:
        """Plan an ensemble."""
        above = self.all_of(members)
        configs = {member: self.config(member) for member in members}
        data = self.data(configs[members[0]].source)
        asked = Together(name, parse(name, EnsembleConfig, self.params[name]), configs, data)
        return ensemble_steps(asked, self.folder, above)

    def config(self, experiment: str) -> ExperimentConfig:
        """Return the parameters of an experiment."""
        return parse(experiment, ExperimentConfig, self.params[experiment])

    def data(self, source: str) -> SourceData | None:
        """Return a source as it is prepared now; None if it is not."""
        if source not in self.sources:
            self.sources[source] = self.stored(source)
        return self.sources[source]

    def job(self, experiment: str) -> Job | None:
        """Gather a training; None where its source is not prepared."""
        config = self.config(experiment)
        data = self.data(config.source)
        # First weights are of the same size, wherever they are from.
        return Job(experiment, config, data, Path()) if data else None
