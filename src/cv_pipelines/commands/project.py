"""What commands need of a project: its parameters, its reports, an experiment ready to train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.startup import ProjectMetadata

if TYPE_CHECKING:
    from cv_pipelines.io.tracking import Tracker
    from cv_pipelines.training.job import Job


def reports_of(metadata: ProjectMetadata, experiment: str) -> Path:
    """Return the folder of an experiment's reports."""
    return Path(metadata.project_path) / "data/08_reporting" / experiment


def job_of(metadata: ProjectMetadata, experiment: str) -> Job:
    """Gather an experiment, its source as it lies in the data folder, and what it starts from.

    Raises:
        click.ClickException: the parameters are wrong, or something was not made yet.
    """
    from cv_pipelines.errors import CvPipelinesError
    from cv_pipelines.experiments import find_sources
    from cv_pipelines.pipelines.source_data import stored_source
    from cv_pipelines.training.checkpoints import load_checkpoints
    from cv_pipelines.training.job import Job
    from cv_pipelines.training.validation import check_experiment

    project = Path(metadata.project_path)
    try:
        values = source_parameters(project, experiment)
        config = check_experiment(experiment, values, find_sources(project / "conf"))
        data = stored_source(project, config.source, source_parameters(project, config.source))
        models = project / "data/06_models"
        start = load_checkpoints(models / config.init_from / "checkpoint") if config.init_from else {}
        return Job(experiment, config, data, models / experiment / "work", next(iter(start.values()), None))
    except CvPipelinesError as error:
        raise click.ClickException(f"{experiment}: {error}") from None


def source_parameters(project: Path, source: str, env: str | None = None) -> dict[str, Any]:
    """Return the resolved section of a source or of an experiment.

    Raises:
        click.ClickException: no parameters file declares it.
    """
    found: dict[str, Any] | None = configuration(project, env)["parameters"].get(source)
    if found is None:
        raise click.ClickException(f"no section {source!r} in conf/base/parameters")
    return found


def tracker_of(project: Path, env: str | None = None) -> Tracker:
    """Connect to the MLflow that a project's runs are tracked on."""
    from cv_pipelines.io.tracking import Tracker, TrackingConfig

    return Tracker(TrackingConfig.model_validate(configuration(project, env)["mlflow"]), project)


def configuration(project: Path, env: str | None = None) -> Any:
    """Return Kedro's loader of a project's configuration."""
    from cv_pipelines.settings import CONFIG_LOADER_ARGS, CONFIG_LOADER_CLASS

    options: dict[str, Any] = CONFIG_LOADER_ARGS
    return CONFIG_LOADER_CLASS(conf_source=str(project / "conf"), env=env, **options)
