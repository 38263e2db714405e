"""What `kedro cv predict` and `kedro cv export` do, with progress and a table on the terminal."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cv_pipelines.inference.inputs import open_input
from cv_pipelines.inference.model import Trained
from cv_pipelines.inference.run import Options, Outcome, predict_input
from cv_pipelines.training.checkpoints import Checkpoint

WHAT = {
    "predictions": "Parquet, what the model says",
    "samples": "Parquet, a row an input that was predicted",
    "quarantine": "Parquet, what was left out or corrected, and why",
    "coco.json": "images and detections in COCO's form",
    "pictures": "JPEG, the predictions drawn",
}


def predict(
    checkpoint: Checkpoint, where: str, folder: Path, options: Options, device: str | None, every: int
) -> Outcome:
    """Predict an input, and say what came out.

    Args:
        checkpoint: the model.
        where: a file, a folder or an address; see `open_input`.
        folder: of the results.
        options: how.
        device: where it computes; as in training if None.
        every: of a video, each so-manieth frame.

    Raises:
        InputError: the input is not there or not for this model, or the folder holds other results.
    """
    model = Trained(checkpoint, device)
    given = open_input(where, model, every=every, skip=folder)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(f"{model.name}: {given.kind}", total=given.count())
        outcome = predict_input(
            model, given, folder, options, lambda count: progress.update(bar, completed=count)
        )
    console().print(outcome_table(model, given.kind, outcome))
    return outcome


def outcome_table(model: Trained, kind: str, outcome: Outcome) -> Table:
    """Lay out how many of what came out, and where it lies."""
    fresh = outcome.inputs - outcome.before
    speed = f", {fresh / outcome.seconds:.1f} a second" if fresh and outcome.seconds > 0 else ""
    earlier = f", {outcome.before} of them earlier" if outcome.before else ""
    title = f"{model.name}: {kind}, {outcome.inputs} inputs{earlier}, {outcome.seconds:.1f} s{speed}"
    table = Table(title=title, title_justify="left")
    for heading in ("what", "rows", "where", ""):
        table.add_column(heading, justify="right" if heading == "rows" else "left", overflow="fold")
    counts = {
        "predictions": outcome.predictions,
        "samples": outcome.samples,
        "quarantine": outcome.defects,
    }
    for name, path in outcome.files.items():
        table.add_row(name, str(counts.get(name, "")), str(path), WHAT[name])
    return table


def console() -> Console:
    """Return the terminal; in a file, lines may be longer than the 80 columns that Rich then assumes."""
    return Console(width=None if sys.stdout.isatty() else 160)
