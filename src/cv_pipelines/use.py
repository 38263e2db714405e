"""What `kedro cv predict` and `kedro cv export` do, with progress and a table on the terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.files import write_text
from cv_pipelines.inference import int8
from cv_pipelines.inference.export import SUFFIXES, Export, Format, write_model
from cv_pipelines.inference.graphs import graph_of
from cv_pipelines.inference.inputs import open_input
from cv_pipelines.inference.model import Trained
from cv_pipelines.inference.run import Options, Outcome, predict_input
from cv_pipelines.training.checkpoints import Checkpoint
from cv_pipelines.training.predict import scored_part

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


def export(
    checkpoint: Checkpoint, data: SourceData, folder: Path, form: Format, with_int8: bool
) -> dict[str, Any]:
    """Write a model for use elsewhere, check it, and say what came out; the same is kept as JSON beside it.

    Args:
        checkpoint: the model.
        data: its source: outputs are compared on the evaluation split, int8 ranges observed on train.
        folder: of the files.
        form: of the file.
        with_int8: write an ONNX file that computes in 8 bits, too, and measure what that costs and gains.

    Raises:
        ExportError: the model cannot be exported, or what was written says something else.
    """
    graph = graph_of(Trained(checkpoint, "cpu"))
    if with_int8:
        int8.check_measurable(graph)
    path = folder / f"{checkpoint.meta.experiment}{SUFFIXES[form]}"
    written = write_model(graph, scored_part(graph.trained[0].config, data), path, form)
    report = export_report(written)
    if with_int8:
        small = path.with_suffix(".int8.onnx")
        int8.quantize(graph, path, data.only("train"), small)
        report["int8"] = {"file": small.name, **int8.compared(graph, path, small, data)}
    write_text(path.with_name(path.name + ".json"), json.dumps(report, indent=2) + "\n")
    axes = ", ".join(report["contract"]["dynamic_axes"])
    compared = f"{report['samples_compared']} inputs compared"
    largest = f"largest difference {report['largest_difference']:.1g}"
    console().print(f"{path.name}: {compared}, {largest}; free axes: {axes}", soft_wrap=True, highlight=False)
    console().print(export_table(path, report))
    return report


def export_report(written: Export) -> dict[str, Any]:
    """Return what is kept beside an exported file."""
    return {
        "file": written.path.name,
        "bytes": written.path.stat().st_size,
        "largest_difference": written.difference,
        "samples_compared": written.checked,
        "contract": written.contract,
    }


def export_table(path: Path, report: dict[str, Any]) -> Table:
    """Lay out the files that were written, with score, size and speed where they were measured."""
    table = Table()
    measured = report.get("int8")
    score = [measured["score_name"], "ms a sample"] if measured else []
    for heading in ("file", "kB", *score):
        table.add_column(heading, justify="left" if heading == "file" else "right", overflow="fold")
    if measured is None:
        table.add_row(str(path), f"{report['bytes'] / 1000:,.0f}")
        return table
    for kind, file in (("float32", path), ("int8", path.with_name(measured["file"]))):
        found = measured[kind]
        table.add_row(
            str(file),
            f"{found['bytes'] / 1000:,.0f}",
            f"{found['values'][measured['score_name']]:.4f}",
            f"{found['milliseconds_a_sample']:.3f}",
        )
    return table


def console() -> Console:
    """Return the terminal; in a file, lines may be longer than the 80 columns that Rich then assumes."""
    return Console(width=None if sys.stdout.isatty() else 160)
