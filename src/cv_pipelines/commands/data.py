"""Commands about sources."""

from __future__ import annotations

import json
from pathlib import Path

import click
from kedro.framework.startup import ProjectMetadata

from cv_pipelines.commands.project import reports_of, source_parameters
from cv_pipelines.files import write_text
from cv_pipelines.stages import accepted, raw_note


@click.command()
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


@click.command()
@click.argument("source")
@click.option(
    "--old",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A data folder with the version to compare with: of another checkout, or as `dvc get` brings it. "
    "If not given, the version that was accepted last.",
)
@click.option("--accept", is_flag=True, help="Accept SOURCE as it is, however far it has drifted.")
@click.pass_obj
def drift(metadata: ProjectMetadata, source: str, old: Path | None, accept: bool) -> None:
    """Report how far SOURCE has drifted; fail beyond its `limits.drift`.

    Compared with the version that was accepted last, SOURCE is accepted itself if it does not fail. The first
    version is accepted.
    """
    from cv_pipelines.config import SourceConfig, parse
    from cv_pipelines.data import drift as measured
    from cv_pipelines.errors import CvPipelinesError, DataLimitError
    from cv_pipelines.experiments import file_of
    from cv_pipelines.plots.drift import drift_page

    project = Path(metadata.project_path)
    config = parse(source, SourceConfig, source_parameters(project, source))
    folder, kept = reports_of(metadata, f"drift_{source}"), project / accepted(source)
    data = project / "data"
    try:
        versions = (old or (kept if kept.exists() else data), data)
        before, now = (measured.load_version(place, source) for place in versions)
        found = measured.drift(before, now, config.limits.drift)
        write_text(folder / "drift.json", json.dumps(found, indent=2) + "\n")
        write_text(folder / "drift.html", drift_page(source, found, before, now))
        for name, distance in found["distances"].items():
            click.echo(f"{name:<24} {distance:.3f}")
        click.echo(f"Report: {folder / 'drift.html'}")
        if not accept:
            measured.enforce_drift(source, found)
        if accept or old is None:
            measured.keep_version(data, source, kept)
    except DataLimitError as error:
        file = file_of(project / "conf", source)
        where = f"{file.relative_to(project)}: " if file else ""
        raise click.ClickException(f"DataLimitError: {where}{error}") from None
    except CvPipelinesError as error:
        raise click.ClickException(f"{source}: {error}") from None


@click.command(name="augment-gallery")
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
