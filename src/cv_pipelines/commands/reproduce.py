"""`kedro cv reproduce`: a tracked run once more, from its code and data, and whether it gives the same."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.startup import ProjectMetadata

from cv_pipelines.commands.project import configuration
from cv_pipelines.files import write_text

if TYPE_CHECKING:
    from rich.table import Table

    from cv_pipelines.reproduction.record import Record

PATIENCE = 60.0
"""Seconds that MLflow has to give what it keeps."""


@click.command()
@click.argument("run_id")
@click.option("--env", "-e", help="Whose MLflow knows the run: as given to the `kedro run` that made it.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    help="By how much a figure may differ; 0 where both runs are on a CPU, else 0.01, if not given.",
)
@click.option("--without-changes", is_flag=True, help="Run the commit alone, if the run's code was in none.")
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), help="JSON file of the outcome.")
@click.option("--keep", is_flag=True, help="Leave the worktree there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; what the run prints goes to stderr.")
@click.pass_obj
def reproduce(
    metadata: ProjectMetadata,
    run_id: str,
    env: str | None,
    tolerance: float | None,
    without_changes: bool,
    to: Path | None,
    keep: bool,
    as_json: bool,
) -> None:
    """Run the MLflow run RUN_ID again from its code and data, and compare all figures.

    Fails if one differs.
    """
    from cv_pipelines.errors import CvPipelinesError

    project = Path(metadata.project_path)
    try:
        with tempfile.TemporaryDirectory() as place:
            found = again(project, run_id, env, Path(place), tolerance, without_changes, keep)
    except CvPipelinesError as error:
        raise click.ClickException(str(error)) from None
    folder = project / configuration(project, env)["globals"]["data"] / "08_reporting" / found["experiment"]
    to = to or folder / f"reproduced_{run_id[:8]}.json"
    write_text(to, json.dumps(found, indent=2) + "\n")
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        show(found, to)
    if not found["passed"]:
        sys.exit(1)


def again(
    project: Path,
    run_id: str,
    env: str | None,
    place: Path,
    tolerance: float | None,
    without_changes: bool,
    keep: bool,
) -> dict[str, Any]:
    """Run a run again, and compare.

    Args:
        project: the project's folder.
        run_id: of the run.
        env: of the configuration whose MLflow knows it.
        place: an empty folder.
        tolerance: see `compared`; None for what suits the devices.
        without_changes: whether to do without the changes that were in no commit.
        keep: whether to leave the worktree there.

    Raises:
        ReproductionError: it cannot be run again.
    """
    from cv_pipelines.io.runs import fetch_run
    from cv_pipelines.reproduction.compare import compared, told_apart, tolerance_of
    from cv_pipelines.reproduction.record import Record
    from cv_pipelines.reproduction.worktree import checked_out, configure, fetch_tracked, run_again

    files = fetch_run(client_of(project, env), run_id, place)
    record = Record.model_validate_json(files["record.json"].read_text(encoding="utf8"))
    then = json.loads(files["metrics.json"].read_text(encoding="utf8"))
    patch = patch_of(record, files, without_changes)
    started = time.perf_counter()
    with checked_out(project, record, patch, keep) as tree:
        tracked = fetch_tracked(tree, project)
        configure(tree, record, project)
        run_again(tree, record, sys.stderr)
        report = tree / "data/08_reporting" / record.experiment / "metrics.json"
        now = json.loads(report.read_text(encoding="utf8"))
    tolerance = tolerance_of(then, now) if tolerance is None else tolerance
    rows = compared(then, now, tolerance)
    return {
        "run": run_id,
        "experiment": record.experiment,
        "commit": record.commit,
        "changes_applied": patch is not None,
        "data_from_dvc": tracked,
        "passed": all(row["passed"] for row in rows),
        "tolerance": tolerance,
        "largest_difference": max((abs(row["difference"] or 0.0) for row in rows), default=0.0),
        "devices": [then["device"], now["device"]],
        "fingerprints": [then["fingerprint"], now["fingerprint"]],
        "made_from_other": told_apart(then, now),
        "seconds": round(time.perf_counter() - started, 1),
        "worktree": str(tree) if keep else None,
        "metrics": rows,
    }


def client_of(project: Path, env: str | None) -> Any:
    """Return MLflow's client.

    Raises:
        ReproductionError: MLflow does not answer, or does not know this project.
    """
    from cv_pipelines.errors import ReproductionError
    from cv_pipelines.io.history import connect
    from cv_pipelines.io.patience import within
    from cv_pipelines.io.tracking import TrackingConfig

    config = TrackingConfig.model_validate(configuration(project, env)["mlflow"])
    try:
        found = within(PATIENCE, lambda: connect(config, project))
    except Exception as error:
        raise ReproductionError(f"MLflow cannot be reached: {str(error)[:300]}") from None
    if found is None:
        raise ReproductionError("MLflow knows no run of this project; was another --env meant?")
    return found[0]


def patch_of(record: Record, files: dict[str, Path], without_changes: bool) -> Path | None:
    """Return the changes that a run's code had beside its commit; None for none.

    Raises:
        ReproductionError: there were some that were not kept, or there is no commit.
    """
    from cv_pipelines.errors import ReproductionError

    if record.commit is None:
        raise ReproductionError("the run was made outside git: what code it ran is not known")
    if not record.dirty or without_changes:
        return None
    if "changes.patch" not in files:
        raise ReproductionError(
            "the run's code had changes that are in no commit and were too many to keep; "
            "--without-changes runs the commit alone"
        )
    return files["changes.patch"]


def show(found: dict[str, Any], file: Path) -> None:
    """Print an outcome."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(figures_table(found))
    changes = ", with the changes kept with the run" if found["changes_applied"] else ""
    then, now = found["devices"]
    verdict = "PASS" if found["passed"] else "FAIL"
    failed = sum(not row["passed"] for row in found["metrics"])
    of = f"{failed} of {len(found['metrics'])} figures differ" if failed else "all figures are the same"
    if not failed and found["largest_difference"]:
        of = f"all figures are within {found['tolerance']:g}"
    for line in (
        f"Code       {found['commit']}{changes}",
        f"Device     {then} then, {now} now",
        *(f"Differs    {one}" for one in found["made_from_other"]),
        f"Outcome    {file}",
        f"{verdict}       {of}; the largest difference is {found['largest_difference']:.3g}",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def figures_table(found: dict[str, Any]) -> Table:
    """Lay out every figure: then, now, difference."""
    from rich.markup import escape
    from rich.table import Table

    title = f"{found['experiment']}, run {found['run']}"
    table = Table(title=escape(title), title_justify="left")
    table.add_column("figure", overflow="fold")
    for heading in ("then", "now", "difference", ""):
        table.add_column(heading, justify="right")
    for row in found["metrics"]:
        a, b, difference = (
            "n/a" if row[key] is None else f"{row[key]:.6g}" for key in ("then", "now", "difference")
        )
        table.add_row(escape(row["name"]), a, b, difference, "same" if row["passed"] else "differs")
    return table
