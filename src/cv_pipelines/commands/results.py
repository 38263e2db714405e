"""Commands about what experiments gave: comparing, promoting, using."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from kedro.framework.startup import ProjectMetadata

from cv_pipelines.commands.project import reports_of, source_parameters, tracker_of
from cv_pipelines.files import write_text

if TYPE_CHECKING:
    from cv_pipelines.inference.export import Format


@click.command()
@click.pass_obj
def results(metadata: ProjectMetadata) -> None:
    """Write leaderboard.csv and index.html from the results on disk, and print them."""
    from cv_pipelines.summary import conclude
    from cv_pipelines.training.leaderboard import collect

    reporting = Path(metadata.project_path) / "data/08_reporting"
    board = collect(reporting)
    if board.empty:
        raise click.ClickException(f"no results under {reporting}: run `kedro run` first")
    conclude(
        reporting, list(board["experiment"]), dict(zip(board["experiment"], board["seconds"], strict=True))
    )


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--metric", help="Figure that is compared by class and slice; that of the task if not given.")
@click.option("--resamples", type=click.IntRange(100), default=2000, show_default=True)
@click.option(
    "--confidence", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.95, show_default=True
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws.")
@click.pass_obj
def compare(
    metadata: ProjectMetadata,
    a: str,
    b: str,
    metric: str | None,
    resamples: int,
    confidence: float,
    seed: int,
) -> None:
    """Compare the results on disk of two experiments or ensembles, A and B, scored under one contract."""
    from cv_pipelines.comparing.compare import compare as compared
    from cv_pipelines.comparing.results import check_contracts, load
    from cv_pipelines.config.comparison import Bootstrap
    from cv_pipelines.errors import CvPipelinesError
    from cv_pipelines.pipelines.source_data import stored_source
    from cv_pipelines.plots.compared import compared_page
    from cv_pipelines.summary import conclude_comparison
    from cv_pipelines.training.leaderboard import main_score
    from cv_pipelines.training.score import clean

    project = Path(metadata.project_path)
    page = reports_of(metadata, "comparisons") / f"{a}_{b}.html"
    try:
        one, other = (load(project / "data", name) for name in (a, b))
        check_contracts(one, other)
        source, split = (one.metrics["contract"][key] for key in ("source", "split"))
        data = stored_source(project, source, source_parameters(project, source)).only(split)
        settings = Bootstrap(resamples=resamples, confidence=confidence, seed=seed)
        found = clean(compared(one, other, data, metric or main_score(one.metrics)[0], settings))
    except CvPipelinesError as error:
        raise click.ClickException(f"{type(error).__name__}: {error}") from None
    write_text(page.with_suffix(".json"), json.dumps(found, indent=2) + "\n")
    write_text(page, compared_page(found))
    conclude_comparison(found, page)


@click.command()
@click.argument("model")
@click.option("--env", "-e", help="As given to the `kedro run` that promoted.")
@click.pass_obj
def rollback(metadata: ProjectMetadata, model: str, env: str | None) -> None:
    """Make the champion of before the champion of MODEL (<task>.<source>) again."""
    from cv_pipelines.errors import CvPipelinesError
    from cv_pipelines.io.registry import MlflowRegistry

    try:
        gone, now = MlflowRegistry(tracker_of(Path(metadata.project_path), env)).rollback(model)
    except CvPipelinesError as error:
        raise click.ClickException(str(error)) from None
    after = f"version {now.number} ({now.experiment}) is the champion again" if now else "there is none now"
    click.echo(f"{model}: version {gone.number} ({gone.experiment}) is not the champion any more; {after}")


ENV = click.option("--env", "-e", help="As given to the `kedro run` whose MLflow holds MODEL.")
SEED = click.option("--seed", type=int, help="Of the trainings of MODEL; the first one if not given.")


@click.command()
@click.argument("model")
@click.argument("given", metavar="INPUT")
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of the results; where it holds some of the same run, only what is missing is done.",
)
@click.option("--pictures", is_flag=True, help="Draw the predictions on the images.")
@SEED
@click.option("--batch-size", type=click.IntRange(1), help="Samples at once; as in evaluation if not given.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Reading threads.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Frames of a video.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="As in training if not given.")
@click.option("--fresh", is_flag=True, help="Remove the results that lie there first.")
@ENV
@click.pass_obj
def predict(
    metadata: ProjectMetadata,
    model: str,
    given: str,
    folder: Path,
    pictures: bool,
    seed: int | None,
    batch_size: int | None,
    workers: int,
    every: int,
    device: str | None,
    fresh: bool,
    env: str | None,
) -> None:
    """Predict INPUT with the trained MODEL.

    MODEL is an experiment, models:/NAME@champion or models:/NAME/VERSION of MLflow's registry, or runs:/ID.
    INPUT is an image, a folder of images, a video, the HTTP address of an image, or for sensor models a CSV
    file of windows or of a recording. Fails if nothing in it could be predicted.
    """
    from cv_pipelines import use
    from cv_pipelines.errors import CvPipelinesError
    from cv_pipelines.inference.run import Options
    from cv_pipelines.io.models import find_model

    project = Path(metadata.project_path)
    options = Options(batch_size, workers, pictures=pictures, fresh=fresh)
    try:
        found = find_model(project / "data", model, seed, lambda: tracker_of(project, env))
        outcome = use.predict(found, given, folder, options, device, every)
    except CvPipelinesError as error:
        raise click.ClickException(str(error)) from None
    if not outcome.samples:
        raise click.ClickException(f"nothing could be predicted; {folder / 'quarantine'} says why")


@click.command()
@click.argument("experiment")
@SEED
@ENV
@click.pass_obj
def log_model(metadata: ProjectMetadata, experiment: str, seed: int | None, env: str | None) -> None:
    """Log the model of a trained EXPERIMENT with its run in MLflow, in a form that loads and serves alone."""
    from cv_pipelines.errors import CvPipelinesError
    from cv_pipelines.io.logged_models import log_checkpoint
    from cv_pipelines.io.models import find_model
    from cv_pipelines.pipelines.source_data import stored_source

    project = Path(metadata.project_path)
    try:
        found = find_model(project / "data", experiment, seed)
        source: str = found.meta.config["source"]
        data = stored_source(project, source, source_parameters(project, source))
        logged = log_checkpoint(tracker_of(project, env), experiment, found, data)
    except CvPipelinesError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{experiment}: models:/{logged.model_id}, of runs:/{logged.source_run_id}")


@click.command()
@click.argument("model")
@click.option("--format", "form", type=click.Choice(["onnx", "torch"]), default="onnx", show_default=True)
@click.option("--int8", is_flag=True, help="Also in 8 bits, with the score that it costs; for ONNX.")
@SEED
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the files; data/06_models/<experiment>/export if not given.",
)
@ENV
@click.pass_obj
def export(
    metadata: ProjectMetadata,
    model: str,
    form: Format,
    int8: bool,
    seed: int | None,
    folder: Path | None,
    env: str | None,
) -> None:
    """Write the trained MODEL for use without this project, checked on samples of its source.

    MODEL is an experiment, models:/NAME@champion or models:/NAME/VERSION of MLflow's registry, or runs:/ID.
    """
    if int8 and form != "onnx":
        raise click.UsageError("--int8 writes an ONNX file: leave out --format, or say onnx")
    from cv_pipelines import use
    from cv_pipelines.errors import CvPipelinesError
    from cv_pipelines.inference.graphs import check_exportable
    from cv_pipelines.io.models import find_model
    from cv_pipelines.pipelines.source_data import stored_source

    project = Path(metadata.project_path)
    try:
        found = find_model(project / "data", model, seed, lambda: tracker_of(project, env))
        meta = found.meta
        source: str = meta.config["source"]
        check_exportable(meta.experiment, meta.config["task"])
        data = stored_source(project, source, source_parameters(project, source))
        folder = folder or project / "data/06_models" / meta.experiment / "export"
        use.export(found, data, folder, form, int8)
    except CvPipelinesError as error:
        raise click.ClickException(str(error)) from None
