"""Predicting an input from end to end: read ahead, predict, write parts, take up what was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from cv_pipelines.errors import InputError
from cv_pipelines.inference.coco_file import write_coco
from cv_pipelines.inference.model import Batch, Trained
from cv_pipelines.inference.parts import Parts
from cv_pipelines.inference.pictured import annotated, picture_path, save_picture
from cv_pipelines.inference.rows import named, prediction_schema
from cv_pipelines.inference.samples import Input
from cv_pipelines.inference.stream import batched, mapped_ahead

PATIENCE = 30.0
"""Seconds after which results are written even if they are few."""


@dataclass(frozen=True)
class Options:
    """How an input is predicted.

    Attributes:
        batch_size: samples that go through the model at once; as in `evaluate` if None.
        workers: threads that read ahead.
        part_size: inputs in a part of the tables, at most that many and one batch.
        pictures: whether to draw predictions on the images.
        fresh: begin anew in a folder that holds results.
    """

    batch_size: int | None = None
    workers: int = 2
    part_size: int = 1000
    pictures: bool = False
    fresh: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        inputs: that were looked at, in this run and those before it.
        before: of them, those of earlier runs.
        samples: that were predicted.
        predictions: rows.
        defects: rows of the quarantine.
        seconds: of this run.
        files: what lies where, by what it is.
    """

    inputs: int
    before: int
    samples: int
    predictions: int
    defects: int
    seconds: float
    files: dict[str, Path]


def predict_input(
    model: Trained,
    given: Input,
    folder: Path,
    options: Options = Options(),
    report: Callable[[int], None] = lambda count: None,
) -> Outcome:
    """Predict all samples of an input that are not in the folder yet.

    Args:
        model: that predicts.
        given: what it predicts.
        folder: of the results; see `Parts`.
        options: how.
        report: called with the number of inputs that are done, as they get done.

    Raises:
        InputError: the input turns out to be unreadable, or the folder holds other results.
    """
    if options.pictures and model.kind != "image":
        raise InputError(f"{model.name} reads signals: there are no pictures to draw on")
    started = time.monotonic()
    meta = model.meta
    identity = {"experiment": meta.experiment, "seed": meta.seed, "fingerprint": meta.fingerprint}
    schema = prediction_schema(model.task_name, meta.categories, model.task.target)
    parts = Parts(folder, identity | {"input": given.place}, schema, fresh=options.fresh)
    try:
        before = len(parts.done)
        report(before)
        _predict(model, given, parts, options, report)
        return _conclude(model, parts, before, started)
    finally:
        parts.close()


def _predict(
    model: Trained, given: Input, parts: Parts, options: Options, report: Callable[[int], None]
) -> None:
    size = options.batch_size or model.batch_size
    batches = batched(given.pending(frozenset(parts.done)), size)
    written = time.monotonic()
    for batch in mapped_ahead(lambda some: model.read(some, options.pictures), batches, options.workers):
        rows = [named(model.task_name, row, model.meta.categories) for row in model.predict(batch)]
        if options.pictures:
            _draw(model, batch, rows, parts.folder / "pictures")
        refused = {row["file"] for row in batch.defects if row["action"] == "dropped"}
        samples = [sample for sample in batch.samples if sample["sample_id"] not in refused]
        parts.add(batch.names, samples, rows, batch.defects)
        report(len(parts.done) + parts.waiting)
        if parts.waiting >= options.part_size or time.monotonic() - written > PATIENCE:
            parts.flush()
            written = time.monotonic()
    parts.flush()


def _draw(model: Trained, batch: Batch, rows: list[dict[str, Any]], folder: Path) -> None:
    by_sample = {name: list(some) for name, some in groupby(rows, key=lambda row: row["sample_id"])}
    for sample, image in zip(batch.samples, batch.images, strict=True):
        name = sample["sample_id"]
        if name in by_sample or model.task_name == "detection":
            drawn = annotated(model.task_name, image, by_sample.get(name, []), model.meta.categories)
            save_picture(drawn, picture_path(folder, name))


def _conclude(model: Trained, parts: Parts, before: int, started: float) -> Outcome:
    if model.task_name == "detection":
        write_coco(parts, model.meta.categories, parts.folder / "coco.json")
    names = ("predictions", "samples", "quarantine", "coco.json", "pictures")
    return Outcome(
        inputs=len(parts.done),
        before=before,
        samples=parts.count("samples"),
        predictions=parts.count("predictions"),
        defects=parts.count("quarantine"),
        seconds=time.monotonic() - started,
        files={name: parts.folder / name for name in names if (parts.folder / name).exists()},
    )
