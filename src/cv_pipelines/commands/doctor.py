"""`kedro cv doctor`: is there what the project needs, and what mends it?"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
from kedro.framework.startup import ProjectMetadata

from cv_pipelines.commands.project import configuration

if TYPE_CHECKING:
    from cv_pipelines.diagnosis.check import Check

PATIENCE = 30.0
"""Seconds that a check may take: a driver, a database or a network drive may never answer."""


@click.command()
@click.option("--env", "-e", help="As for kedro run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def doctor(metadata: ProjectMetadata, env: str | None, as_json: bool) -> None:
    """Check versions, GPU, disk, parameters, data, git, DVC and MLflow, and say what mends what is wrong.

    Fails if something is missing without which nothing runs.
    """
    if as_json:
        logging.disable(logging.WARNING)
    found = checks(Path(metadata.project_path), env)
    if as_json:
        click.echo(json.dumps([asdict(check) for check in found], indent=2))
    else:
        show(found)
    if any(check.status == "missing" for check in found):
        sys.exit(1)


def checks(project: Path, env: str | None) -> list[Check]:
    """Look at everything; what does not answer is told as such."""
    from cv_pipelines.diagnosis import checkout, hardware, software
    from cv_pipelines.diagnosis.check import Check

    found = [
        _within("Python", lambda: software.python(project)),
        _within("libraries", lambda: software.libraries(project)),
        _within("lock", lambda: software.locked(project)),
        _within("extras", lambda: software.extras(project)),
        _within("GPU", hardware.gpu),
        _within("shared memory", hardware.shared_memory),
    ]
    try:
        conf = configuration(project, env)
        params, places = conf["parameters"], conf["globals"]
    except Exception as error:  # whatever is wrong with the files, the other checks are worth having
        mend = "kedro registry list shows the same; mend the file that it names"
        return [*found, Check("configuration", "missing", str(error)[:300], mend)]
    found += [
        _within("disk", lambda: hardware.disk(project / places["data"])),
        parameters(project, params),
        *data(project, params, Path(places["raw"])),
        _within("git", lambda: checkout.repository(project)),
        _within("DVC", lambda: checkout.dvc(project), 90.0),
        _within("dvc.yaml", lambda: _stages(project)),
        _within("MLflow", lambda: mlflow(project, conf["mlflow"])),
    ]
    return found


def _stages(project: Path) -> Check:
    from cv_pipelines.diagnosis.checkout import stages
    from cv_pipelines.stages import dvc_yaml

    return stages(project, dvc_yaml(project / "conf"))


def _within(name: str, check: Callable[[], Check], patience: float = PATIENCE) -> Check:
    """Run a check; one that fails or does not end is a warning, for others need what it looks at."""
    from cv_pipelines.diagnosis.check import Check
    from cv_pipelines.io.patience import within

    try:
        return within(patience, check)
    except Exception as error:
        return Check(name, "warn", f"{type(error).__name__}: {str(error)[:200]}")


def parameters(project: Path, params: dict[str, Any]) -> Check:
    """Check the sections of all sources, experiments, ensembles, studies and promotions."""
    from cv_pipelines.diagnosis.check import Check
    from cv_pipelines.errors import CvPipelinesError
    from cv_pipelines.pipeline_registry import register_pipelines
    from cv_pipelines.validation import check_sections

    try:
        pipelines = register_pipelines()
        names = {str(node.namespace) for one in pipelines.values() for node in one.nodes}
        check_sections(project, params, names)
    except CvPipelinesError as error:
        return Check("parameters", "missing", str(error), "mend the file that is named")
    return Check("parameters", "ok", f"{len(pipelines)} pipelines, {len(names)} sections")


def data(project: Path, params: dict[str, Any], raw: Path) -> list[Check]:
    """Check the folder of the raw data, and every source."""
    from cv_pipelines.config import SourceConfig, parse
    from cv_pipelines.diagnosis import sources
    from cv_pipelines.errors import CvPipelinesError
    from cv_pipelines.experiments import find_sources

    given = os.environ.get("CV_PIPELINES_RAW")
    found = [_within("raw data", lambda: sources.raw_folder(raw, given))]
    try:
        configs = {name: parse(name, SourceConfig, params[name]) for name in find_sources(project / "conf")}
    except CvPipelinesError:
        return found  # `parameters` says what is wrong
    return found + [
        _within(f"source {name}", lambda name=name, config=config: sources.source(name, config))  # type: ignore[misc]
        for name, config in configs.items()
    ]


def mlflow(project: Path, section: dict[str, Any]) -> Check:
    """Check that MLflow answers, and that no entries wait for it."""
    from cv_pipelines.diagnosis.check import Check
    from cv_pipelines.io.history import connect, waiting
    from cv_pipelines.io.tracking import Tracker, TrackingConfig

    config = TrackingConfig.model_validate(section)
    uri = re.sub(r"//([^:/@]+):[^@]+@", r"//\1:…@", Tracker(config, project).uri)  # no password
    entries = waiting(config, project)
    later = f"; entries of {entries} runs wait in data/outbox for the next run" if entries else ""
    try:
        found = connect(config, project)
    except Exception as error:
        why = (str(error).splitlines() or [type(error).__name__])[0][:200]
        told = f"{uri} does not answer: {why}; runs go on, their entries wait"
        return Check("MLflow", "warn", told, _server(uri))
    known = "" if found else f"; it has no experiment {config.experiment} yet, the first run makes it"
    return Check("MLflow", "ok", f"{uri}{known}{later}")


def _server(uri: str) -> str:
    """Return what brings back an MLflow that does not answer."""
    away = "export MLFLOW_TRACKING_URI=… of one that answers"
    address = urlsplit(uri)
    if address.scheme not in {"http", "https"}:
        return f"see that {uri} is there and can be written; or {away}"
    if address.hostname in {"localhost", "127.0.0.1", "::1"}:
        return f"mlflow server --host {address.hostname} --port {address.port or 80}; or {away}"
    return f"start the server of {address.hostname}; or {away}"


def show(found: list[Check]) -> None:
    """Print the checks."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    styles = {"ok": "green", "warn": "yellow", "missing": "bold red"}
    table = Table()
    for heading in ("what", "", "seen", "mended by"):
        table.add_column(heading, overflow="fold")
    for check in found:
        status = f"[{styles[check.status]}]{check.status}[/]"
        table.add_row(escape(check.name), status, escape(check.told), escape(check.mend))
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    counts = {status: sum(check.status == status for check in found) for status in styles}
    console.print(", ".join(f"{count} {status}" for status, count in counts.items() if count))
