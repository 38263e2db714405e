"""From saved predictions to `errors.json`: the one entry for every task."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pandas as pd

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.error_analysis.form import Report
from cv_pipelines.training.score import clean

REPORTS = {
    "activity": "cv_pipelines.error_analysis.classification:report",
    "autoencoder": "cv_pipelines.error_analysis.reconstruction:report",
    "classification": "cv_pipelines.error_analysis.classification:report",
    "detection": "cv_pipelines.error_analysis.detection:report",
    "gan": "cv_pipelines.error_analysis.generation:report",
    "landmarks": "cv_pipelines.error_analysis.landmarks:report",
    "segmentation": "cv_pipelines.error_analysis.segmentation:report",
}
"""What reports on the errors of a task: `report(predictions, data, measures)`."""


def analyse(
    name: str, task: str, predictions: pd.DataFrame, data: SourceData, measures: pd.DataFrame
) -> dict[str, Any]:
    """Report on the errors of one model; needs no device and no model.

    Args:
        name: of the experiment or ensemble.
        task: a key of `REPORTS`.
        predictions: its rows, of one seed.
        data: the samples that were scored.
        measures: of the source's samples, see `data.measures.measure`.

    Returns:
        What `errors.json` holds: `experiment`, `task`, `n`, and the attributes of `form.Report`; numbers that
        are not finite are null.
    """
    module, function = REPORTS[task].split(":")
    made: Report = getattr(import_module(module), function)(predictions, data, measures)
    found: dict[str, Any] = clean(
        {"experiment": name, "task": task, "n": len(data.samples), **made.as_dict()}
    )
    return found
