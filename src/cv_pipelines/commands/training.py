"""Commands about how an experiment trains."""

from __future__ import annotations

from pathlib import Path

import click
from kedro.framework.startup import ProjectMetadata

from cv_pipelines.commands.project import configuration, job_of, reports_of, source_parameters
from cv_pipelines.files import write_text


@click.command(name="find-lr")
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


@click.command(name="find-batch-size")
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


@click.command()
@click.argument("experiment")
@click.option("--steps", type=int, default=20, show_default=True, help="Batches that are measured.")
@click.pass_obj
def profile(metadata: ProjectMetadata, experiment: str, steps: int) -> None:
    """Say where the time of a training of EXPERIMENT goes."""
    from cv_pipelines.training import finders

    trace = reports_of(metadata, experiment) / "trace.json"
    speed, table = finders.profile(job_of(metadata, experiment), trace, steps)
    click.echo(f"{table}\n{speed:.0f} samples a second\nTrace: {trace} (for ui.perfetto.dev)")


@click.command()
@click.argument("experiment")
@click.option("--steps", type=int, default=200, show_default=True)
@click.pass_obj
def overfit(metadata: ProjectMetadata, experiment: str, steps: int) -> None:
    """Train EXPERIMENT on one batch alone: a sound model learns it by heart."""
    from cv_pipelines.training import finders

    losses = finders.overfit(job_of(metadata, experiment), steps)
    for step in sorted({*range(0, steps, max(steps // 10, 1)), steps - 1}):
        click.echo(f"step {step:>5}: loss {losses[step]:.4f}")


@click.command()
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
