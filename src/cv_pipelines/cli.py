"""`kedro cv …`: the project's own commands beside Kedro's."""

from __future__ import annotations

from pathlib import Path

import click
from kedro.framework.startup import ProjectMetadata

from cv_pipelines.commands import anchors, data, doctor, plan, reproduce, results, retraining, training
from cv_pipelines.files import write_text
from cv_pipelines.stages import dvc_yaml


@click.group(name="cv_pipelines")
def cli() -> None:
    """Commands of cv_pipelines."""


@cli.group()
def cv() -> None:
    """Commands beside `kedro run`."""


@cv.command()
@click.option("--check", is_flag=True, help="Write nothing; fail if dvc.yaml is out of date.")
@click.pass_obj
def dvc(metadata: ProjectMetadata, check: bool) -> None:
    """Write dvc.yaml: a stage for each source, experiment, ensemble and group of conf/base."""
    path = Path(metadata.project_path) / "dvc.yaml"
    text = dvc_yaml(Path(metadata.project_path) / "conf")
    if not check:
        write_text(path, text)
    elif not path.exists() or path.read_text(encoding="utf8") != text:
        raise click.ClickException("dvc.yaml does not match conf/base/parameters: run `kedro cv dvc`")


for command in (
    data.raw,
    data.drift,
    data.augment_gallery,
    anchors.anchors,
    doctor.doctor,
    plan.plan,
    reproduce.reproduce,
    training.find_lr,
    training.find_batch_size,
    training.profile,
    training.overfit,
    training.worker,
    results.results,
    results.compare,
    results.rollback,
    results.predict,
    results.export,
    results.log_model,
    retraining.changes,
    retraining.retrain,
):
    cv.add_command(command)
