"""What scored experiments and ensembles left on the disk, ready to be compared."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cv_pipelines.comparing.figures import FIGURES, Figures, figures
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.errors import ComparisonError, ContractError

TOLERANCE = 1e-6
"""How far figures may lie from those of `metrics.json`: sums in another order."""


@dataclass(frozen=True)
class Results:
    """One scored experiment or ensemble.

    Attributes:
        name: of it.
        metrics: `metrics.json`.
        predictions: its table; with `seed` where it is an experiment.
    """

    name: str
    metrics: dict[str, Any]
    predictions: pd.DataFrame

    def by_seed(self) -> list[pd.DataFrame]:
        """Return the rows of each seed, in the order of `metrics.json`; an ensemble has one table."""
        if "seeds" not in self.metrics:
            return [self.predictions]
        seeds = self.predictions["seed"] if len(self.predictions) else pd.Series([], dtype=int)
        return [
            self.predictions[seeds == int(seed)].drop(columns="seed", errors="ignore").reset_index(drop=True)
            for seed in self.metrics["seeds"]
        ]


def load(data: Path, name: str) -> Results:
    """Read the results of an experiment or ensemble.

    Args:
        data: the project's data folder.
        name: of the experiment or ensemble.

    Raises:
        ComparisonError: a file is missing or damaged; names it and the command that makes it.
    """
    metrics, predictions = (
        data / "08_reporting" / name / "metrics.json",
        data / "07_model_output" / name / "predictions.parquet",
    )
    try:
        found = Results(name, json.loads(metrics.read_text(encoding="utf8")), pd.read_parquet(predictions))
        _ = found.metrics["task"], found.metrics["values"], found.metrics["contract"]["source"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ComparisonError(
            f"{name}: no results to compare: {error}; run `kedro run --pipeline {name}` first"
        ) from None
    return found


def check_contracts(one: Results, other: Results) -> None:
    """Check that two models were scored alike.

    Raises:
        ContractError: names every field that differs, with both values.
    """
    fields = {"task": (one.metrics["task"], other.metrics["task"])}
    mine, theirs = one.metrics["contract"], other.metrics["contract"]
    fields |= {key: (mine.get(key), theirs.get(key)) for key in sorted(mine.keys() | theirs.keys())}
    told = [f"{key!r}: {a!r} and {b!r}" for key, (a, b) in fields.items() if a != b]
    if told:
        raise ContractError(
            f"{one.name} and {other.name} were scored under contracts that differ in {'; '.join(told)}"
        )


def scored(task: str, predictions: pd.DataFrame, part: SourceData) -> SourceData:
    """Return the samples that count: of a segmentation those with a mask, else all of the split."""
    if task != "segmentation":
        return part
    return part.where(part.samples["sample_id"].isin(predictions["sample_id"]).to_numpy())


def figures_of(results: Results, data: SourceData) -> list[Figures]:
    """Make the figures of each seed, and check that they are those of `metrics.json`.

    Args:
        results: of one model.
        data: the scored samples.

    Raises:
        ComparisonError: the task has nothing to pair, or predictions, data and `metrics.json` do not belong
            together.
    """
    task = results.metrics["task"]
    if task not in FIGURES:
        raise ComparisonError(
            f"{results.name}: task {task!r} predicts no given sample, so there is nothing to pair; "
            f"comparable are {', '.join(FIGURES)}"
        )
    again = f"run `kedro run --pipeline {results.name}` again"
    try:
        made = [figures(task, rows, data) for rows in results.by_seed()]
    except (KeyError, ValueError, IndexError) as error:
        raise ComparisonError(
            f"{results.name}: its predictions do not fit the data as they are now: {error}; {again}"
        ) from None
    once = np.ones((1, len(data.samples)))
    for metric in [m for m in made[0].beside if results.metrics["values"].get(m) is not None]:
        now = float(np.mean([one.measure(metric, once)[0][0] for one in made]))
        then = results.metrics["values"][metric]
        if not math.isclose(now, then, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            raise ComparisonError(
                f"{results.name}: its predictions give {metric} {now:.6g} on the data as they are now, its "
                f"metrics.json says {then:.6g}; {again}"
            )
    return made
