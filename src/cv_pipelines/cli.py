"""`kedro cv …`: the project's own commands beside Kedro's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.startup import ProjectMetadata

from cv_pipelines.io.page import write_text
from cv_pipelines.stages import dvc_yaml, raw_note

if TYPE_CHECKING:
    from cv_pipelines.inference.export import Format
    from cv_pipelines.training.job import Job


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
    """Write dvc.yaml: a stage for each source, experiment and ensemble of conf/base."""
    path = Path(metadata.project_path) / "dvc.yaml"
    text = dvc_yaml(Path(metadata.project_path) / "conf")
    if not check:
        write_text(path, text)
    elif not path.exists() or path.read_text(encoding="utf8") != text:
        raise click.ClickException("dvc.yaml does not match conf/base/parameters: run `kedro cv dvc`")


@cv.command()
@click.argument("source")
@click.pass_obj
def raw(metadata: ProjectMetadata, source: str) -> None:
    """Note which raw files SOURCE has (paths, sizes, times), so that DVC sees when they change.

    They are fetched first where the source says from where and they are not there.
    """
    from cv_pipelines.config import SourceConfig, parse
    from cv_pipelines.errors import FetchError
    from cv_pipelines.sources.fetch import fetch
    from cv_pipelines.sources.ingest import digest_of_files

    project = Path(metadata.project_path)
    config = parse(source, SourceConfig, source_parameters(project, source))
    try:
        root = fetch(config)
    except FetchError as error:
        raise click.ClickException(f"{source}: {error}") from None
    if root is None or not root.is_dir():
        raise click.ClickException(f"{source}: no folder {root}; does CV_PIPELINES_RAW name the raw data?")
    note = {"files": digest_of_files(root)}
    write_text(project / raw_note(source), json.dumps(note) + "\n")


@cv.command()
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


@cv.command()
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


@cv.command()
@click.argument("source")
@click.option(
    "--old",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="A data folder with the version to compare with: of another checkout, or as `dvc get` brings it.",
)
@click.pass_obj
def drift(metadata: ProjectMetadata, source: str, old: Path) -> None:
    """Report how far SOURCE has drifted from an older version; fail beyond its `limits.drift`."""
    from cv_pipelines.config import SourceConfig, parse
    from cv_pipelines.data import drift as measured
    from cv_pipelines.errors import CvPipelinesError, DataLimitError
    from cv_pipelines.experiments import file_of
    from cv_pipelines.plots.drift import drift_page

    project = Path(metadata.project_path)
    config = parse(source, SourceConfig, source_parameters(project, source))
    folder = project / "data/08_reporting" / f"data_{source}"
    try:
        before, now = (measured.load_version(data, source) for data in (old, project / "data"))
        found = measured.drift(before, now, config.limits.drift)
        write_text(folder / "drift.json", json.dumps(found, indent=2) + "\n")
        write_text(folder / "drift.html", drift_page(source, found, before, now))
        for name, distance in found["distances"].items():
            click.echo(f"{name:<24} {distance:.3f}")
        click.echo(f"Report: {folder / 'drift.html'}")
        measured.enforce_drift(source, found)
    except DataLimitError as error:
        file = file_of(project / "conf", source)
        where = f"{file.relative_to(project)}: " if file else ""
        raise click.ClickException(f"{where}{error}") from None
    except CvPipelinesError as error:
        raise click.ClickException(f"{source}: {error}") from None


@cv.command()
@click.argument("model")
@click.option("--env", "-e", help="As given to the `kedro run` that promoted.")
@click.pass_obj
def rollback(metadata: ProjectMetadata, model: str, env: str | None) -> None:
    """Make the champion of before the champion of MODEL (<task>.<source>) again."""
    from cv_pipelines.errors import CvPipelinesError
    from cv_pipelines.io.registry import MlflowRegistry
    from cv_pipelines.io.tracking import Tracker, TrackingConfig

    project = Path(metadata.project_path)
    config = TrackingConfig.model_validate(configuration(project, env)["mlflow"])
    try:
        gone, now = MlflowRegistry(Tracker(config, project)).rollback(model)
    except CvPipelinesError as error:
        raise click.ClickException(str(error)) from None
    after = f"version {now.number} ({now.experiment}) is the champion again" if now else "there is none now"
    click.echo(f"{model}: version {gone.number} ({gone.experiment}) is not the champion any more; {after}")


@cv.command(name="augment-gallery")
@click.argument("source")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to; beside the data report."
)
@click.option("--sample", help="Id of the sample to show; one with something to see if not given.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draws.")
@click.pass_obj
def augment_gallery(
    metadata: ProjectMetadata, source: str, out: Path | None, sample: str | None, seed: int
) -> None:
    """Show what each augmentation that fits SOURCE does to one of its samples."""
    from cv_pipelines.errors import CvPipelinesError
    from cv_pipelines.pipelines.source_data import stored_source
    from cv_pipelines.plots.augmentations import augmentation_page

    project = Path(metadata.project_path)
    out = out or project / "data/08_reporting" / f"data_{source}" / "augmentations.html"
    try:
        data = stored_source(project, source, source_parameters(project, source))
        write_text(out, augmentation_page(source, data, sample, seed))
    except CvPipelinesError as error:
        raise click.ClickException(f"{source}: {error}") from None
    except OSError as error:
        hint = "does CV_PIPELINES_RAW name the raw data?"
        raise click.ClickException(f"{source}: {error}; {hint}") from None
    click.echo(f"Gallery: {out}")


@cv.command(name="find-lr")
@click.argument("experiment")
@click.option("--low", type=float, default=1e-6, show_default=True, help="First rate.")
@click.option("--high", type=float, default=1.0, show_default=True, help="Last rate.")
@click.option("--steps", type=int, default=100, show_default=True, help="Batches.")
@click.pass_obj
def find_lr(metadata: ProjectMetadata, experiment: str, low: float, high: float, steps: int) -> None:
    """Raise the learning rate of EXPERIMENT step by step, and say where its loss falls most steeply."""
    from cv_pipelines.plots.comparison import rates_page
    from cv_pipelines.training.finders import find_rate

    found = find_rate(job_of(metadata, experiment), low, high, steps)
    page = reports_of(metadata, experiment) / "learning_rates.html"
    write_text(page, rates_page(experiment, found.rates, found.losses, found.suggestion))
    click.echo(f"Learning rate: {found.suggestion:.2g}" if found.suggestion else "The loss never falls.")
    click.echo(f"Curve: {page}")


@cv.command(name="find-batch-size")
@click.argument("experiment")
@click.option("--first", type=int, default=2, show_default=True, help="Size that is tried first.")
@click.pass_obj
def find_batch_size(metadata: ProjectMetadata, experiment: str, first: int) -> None:
    """Double the batch of EXPERIMENT until memory or data run out."""
    from cv_pipelines.errors import ConfigError
    from cv_pipelines.training import finders

    try:
        size = finders.find_batch_size(job_of(metadata, experiment), first)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"Largest batch that went through: {size}" if size else f"Not even {first} samples fit.")


@cv.command()
@click.argument("experiment")
@click.option("--steps", type=int, default=20, show_default=True, help="Batches that are measured.")
@click.pass_obj
def profile(metadata: ProjectMetadata, experiment: str, steps: int) -> None:
    """Say where the time of a training of EXPERIMENT goes."""
    from cv_pipelines.training import finders

    trace = reports_of(metadata, experiment) / "trace.json"
    speed, table = finders.profile(job_of(metadata, experiment), trace, steps)
    click.echo(f"{table}\n{speed:.0f} samples a second\nTrace: {trace} (for ui.perfetto.dev)")


@cv.command()
@click.argument("experiment")
@click.option("--steps", type=int, default=200, show_default=True)
@click.pass_obj
def overfit(metadata: ProjectMetadata, experiment: str, steps: int) -> None:
    """Train EXPERIMENT on one batch alone: a sound model learns it by heart."""
    from cv_pipelines.training import finders

    losses = finders.overfit(job_of(metadata, experiment), steps)
    for step in sorted({*range(0, steps, max(steps // 10, 1)), steps - 1}):
        click.echo(f"step {step:>5}: loss {losses[step]:.4f}")


@cv.command()
@click.argument("experiment")
@click.option("--env", "-e", help="As given to the `kedro run` that this joins.")
@click.option("--patience", type=float, default=86400.0, show_default=True, help="Seconds to wait for it.")
@click.pass_obj
def worker(metadata: ProjectMetadata, experiment: str, env: str | None, patience: float) -> None:
    """Train EXPERIMENT on this machine, too, with the one where `kedro run` runs it."""
    from cv_pipelines.config import ExperimentConfig, parse
    from cv_pipelines.errors import CvPipelinesError
    from cv_pipelines.training.launch import join

    project = Path(metadata.project_path)
    try:
        config = parse(experiment, ExperimentConfig, source_parameters(project, experiment, env))
        folder = project / configuration(project, env)["globals"]["data"] / "06_models" / experiment / "work"
        join(experiment, config.train, folder, patience)
    except CvPipelinesError as error:
        raise click.ClickException(f"{experiment}: {error}") from None


@cv.command()
@click.argument("experiment")
@click.argument("given", metavar="INPUT")
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of the results; where it holds some of the same run, only what is missing is done.",
)
@click.option("--pictures", is_flag=True, help="Draw the predictions on the images.")
@click.option("--seed", type=int, help="Of the trainings of EXPERIMENT; the first one if not given.")
@click.option("--batch-size", type=click.IntRange(1), help="Samples at once; as in evaluation if not given.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Reading threads.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Frames of a video.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="As in training if not given.")
@click.option("--fresh", is_flag=True, help="Remove the results that lie there first.")
@click.pass_obj
def predict(
    metadata: ProjectMetadata,
    experiment: str,
    given: str,
    folder: Path,
    pictures: bool,
    seed: int | None,
    batch_size: int | None,
    workers: int,
    every: int,
    device: str | None,
    fresh: bool,
) -> None:
    """Predict INPUT with the trained EXPERIMENT.

    INPUT is an image, a folder of images, a video, the HTTP address of an image, or for sensor models a CSV
    file of windows or of a recording. Fails if nothing in it could be predicted.
    """
    from cv_pipelines import use
    from cv_pipelines.errors import CvPipelinesError
    from cv_pipelines.inference.run import Options
    from cv_pipelines.io.models import find_model

    options = Options(batch_size, workers, pictures=pictures, fresh=fresh)
    try:
        model = find_model(Path(metadata.project_path) / "data", experiment, seed)
        outcome = use.predict(model, given, folder, options, device, every)
    except CvPipelinesError as error:
        raise click.ClickException(str(error)) from None
    if not outcome.samples:
        raise click.ClickException(f"nothing could be predicted; {folder / 'quarantine'} says why")


@cv.command()
@click.argument("experiment")
@click.option("--format", "form", type=click.Choice(["onnx", "torch"]), default="onnx", show_default=True)
@click.option("--int8", is_flag=True, help="Also in 8 bits, with the score that it costs; for ONNX.")
@click.option("--seed", type=int, help="Of the trainings of EXPERIMENT; the first one if not given.")
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the files; data/06_models/EXPERIMENT/export if not given.",
)
@click.pass_obj
def export(
    metadata: ProjectMetadata,
    experiment: str,
    form: Format,
    int8: bool,
    seed: int | None,
    folder: Path | None,
) -> None:
    """Write the trained EXPERIMENT for use without this project, checked on samples of its source."""
    if int8 and form != "onnx":
        raise click.UsageError("--int8 writes an ONNX file: leave out --format, or say onnx")
    from cv_pipelines import use
    from cv_pipelines.errors import CvPipelinesError
    from cv_pipelines.inference.graphs import check_exportable
    from cv_pipelines.io.models import find_model
    from cv_pipelines.pipelines.source_data import stored_source

    project = Path(metadata.project_path)
    folder = folder or project / "data/06_models" / experiment / "export"
    try:
        model = find_model(project / "data", experiment, seed)
        source: str = model.meta.config["source"]
        check_exportable(experiment, model.meta.config["task"])
        data = stored_source(project, source, source_parameters(project, source))
        use.export(model, data, folder, form, int8)
    except CvPipelinesError as error:
        raise click.ClickException(str(error)) from None


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
        prepared = project / "data/05_model_input" / config.source / "statistics.json"
        data = replace(data, statistics=json.loads(prepared.read_text(encoding="utf8")))
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


def configuration(project: Path, env: str | None = None) -> Any:
    """Return Kedro's loader of a project's configuration."""
    from cv_pipelines.settings import CONFIG_LOADER_ARGS, CONFIG_LOADER_CLASS

    options: dict[str, Any] = CONFIG_LOADER_ARGS
    return CONFIG_LOADER_CLASS(conf_source=str(project / "conf"), env=env, **options)
