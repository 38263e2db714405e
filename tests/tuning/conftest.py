"""A tiny study: a search over an experiment that trains in a blink."""

import pytest

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.config.study import StudyConfig
from cv_pipelines.training.fit import Job
from cv_pipelines.tuning import search as module
from cv_pipelines.tuning.search import Plan, Search
from cv_pipelines.tuning.tables import trials_table
from cv_pipelines.tuning.watch import Watcher

PARAMETERS = {
    "task": "classification",
    "source": "toy",
    "model": {"name": "residual_cnn", "channels": [4, 8], "blocks": 1},
    "train": {"epochs": 2, "batch_size": 8, "device": "cpu", "optimizer": {"name": "adamw", "lr": 0.003}},
}
LR = "train.optimizer.lr"


@pytest.fixture
def plan(sources, tmp_path):
    """Builds a plan; keywords replace keys of the study, `train` and `sections` those of the experiment."""

    def build(train=None, sections=None, data=None, folder=tmp_path / "study", **study):
        values = {
            "experiment": "toy",
            "trials": 3,
            "sampler": "random",
            "space": {LR: {"low": 0.001, "high": 0.02}},
        }
        parameters = PARAMETERS | (sections or {}) | {"train": PARAMETERS["train"] | (train or {})}
        config = ExperimentConfig.model_validate(parameters)
        job = Job("toy", config, data or sources["classification"], folder)
        return Plan("toy_study", StudyConfig.model_validate(values | study), parameters, job)

    return build


@pytest.fixture
def searched():
    """Runs a plan to its end; returns its table."""

    def run(plan, watcher=None):
        search = Search(plan, watcher or Watcher())
        search.run()
        return trials_table(search)

    return run


@pytest.fixture
def trainings(monkeypatch):
    """The names of the trials that are trained, as they are."""
    names, fit = [], module.fit

    def counted(job, **options):
        names.append(job.experiment)
        return fit(job, **options)

    monkeypatch.setattr(module, "fit", counted)
    return names
