"""Commands of scheduled retraining."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from kedro.framework.startup import ProjectMetadata

from cv_pipelines.commands.project import configuration

if TYPE_CHECKING:
    from cv_pipelines.retraining.steps import Retraining

STEPS = ("pull", "data", "train", "promote", "publish")
FOLDER = "build/retrain"


@click.command()
@click.argument("step", type=click.Choice([*STEPS, "announce"]), required=False)
@click.pass_obj
def retrain(metadata: ProjectMetadata, step: str | None) -> None:
    """Bring up to date what conf/base/retrain.yml lists, and put better models to use.

    Without STEP all of them, but `announce`, which tells people on GitHub. Exit status: 0 done, 3 a model was
    refused, 4 data were refused, 1 something failed; build/retrain/summary.md says what happened.
    """
    from cv_pipelines.errors import CvPipelinesError

    project = Path(metadata.project_path)
    # What runs is stopped, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        with _alone(project / FOLDER):
            status = _announce(project) if step == "announce" else _run(project, (step,) if step else STEPS)
    except CvPipelinesError as error:
        raise click.ClickException(f"{type(error).__name__}: {error}") from None
    sys.exit(status)


@click.command()
@click.option("--since", default="origin/main", show_default=True, help="Commit to compare with.")
@click.pass_obj
def changes(metadata: ProjectMetadata, since: str) -> None:
    """Write build/changes.md: the figures of dvc.lock here and at another commit."""
    from cv_pipelines.errors import CvPipelinesError
    from cv_pipelines.files import write_text
    from cv_pipelines.retraining.changes import changes as changed

    project = Path(metadata.project_path)
    try:
        text = changed(project, since)
    except CvPipelinesError as error:
        raise click.ClickException(f"{type(error).__name__}: {error}") from None
    write_text(project / "build/changes.md", text)
    click.echo(text)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let no second retraining of a checkout begin.

    Raises:
        RetrainingError: one is running.
    """
    from filelock import FileLock, Timeout

    from cv_pipelines.errors import RetrainingError

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RetrainingError(f"another retraining is running here ({lock.lock_file})") from None
    try:
        yield
    finally:
        lock.release()


def _run(project: Path, steps: tuple[str, ...]) -> int:
    """Run steps; return the exit status of one alone, or of all."""
    from cv_pipelines.retraining import record as records
    from cv_pipelines.retraining.publish import gather, write_summary
    from cv_pipelines.retraining.steps import STEPS as FUNCTIONS

    folder = project / FOLDER
    retraining = _retraining(project, fresh="pull" in steps)
    status = 0
    for name in steps:
        click.echo(f"Retraining: {name}")
        items = FUNCTIONS[name](retraining)
        status = int(records.gravest(items))
        records.save(retraining.record, folder)
    if "publish" in steps:
        gather(retraining.record, retraining.reporting, folder / "reports")
        write_summary(retraining.record, folder / "summary.md")
        click.echo(f"Summary: {folder / 'summary.md'}")
    return int(retraining.record.status) if len(steps) > 1 else status


def _retraining(project: Path, fresh: bool) -> Retraining:
    """Return the retraining that steps before began, or a fresh one."""
    from cv_pipelines.retraining import record as records
    from cv_pipelines.retraining.lock_branch import git
    from cv_pipelines.retraining.plan import make_plan
    from cv_pipelines.retraining.steps import Retraining

    plan = make_plan(project / "conf", configuration(project)["retrain"])
    if not fresh:
        return Retraining(project, plan, records.load(project / FOLDER))
    began = datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00")
    record = records.begin(plan, began, git(project, "rev-parse", "HEAD"))
    records.save(record, project / FOLDER)
    return Retraining(project, plan, record)


def _announce(project: Path) -> int:
    from cv_pipelines.errors import RetrainingError
    from cv_pipelines.files import write_text
    from cv_pipelines.retraining import record as records
    from cv_pipelines.retraining.announce import announce

    folder = project / FOLDER
    summary = folder / "summary.md"
    try:
        record: records.Record | None = records.load(folder)
    except RetrainingError as error:
        record = None
        write_text(summary, f"The retraining could not begin: {error}.\n")
    for line in announce(project, record, summary):
        click.echo(line)
    return 0
