"""The data report: splits, classes, object sizes, samples, defects of one source."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.schema import SPLITS
from cv_pipelines.data.statistics import class_counts
from cv_pipelines.plots.page import Section, data_page
from cv_pipelines.plots.samples import sample_gallery
from cv_pipelines.plots.source import box_sizes, class_bars, quarantine_table, split_bars


def draw(
    title: str, data: SourceData, quarantine: pd.DataFrame, facts: dict[str, Any]
) -> tuple[str, dict[str, Any], go.Figure, go.Figure]:
    """Draw the data report.

    Args:
        title: what the source is called.
        data: all splits.
        quarantine: what was set aside or repaired.
        facts: of the reader and of the splits.

    Returns:
        The page, its content as JSON-able numbers, the class counts and the gallery.
    """
    counts = {str(s): int((data.samples["split"] == s).sum()) for s in SPLITS}
    counts = {split: count for split, count in counts.items() if count}
    by_class = {split: class_counts(data.only(split)) for split in counts}
    names = data.categories.names("labels")
    classes = class_bars(names, by_class)
    gallery = sample_gallery(data)
    sections = [
        Section("Splits", "How many samples train, choose and test.", split_bars(counts)),
        Section("Classes", "How often each class occurs in each split.", classes),
    ]
    if len(data.annotations):
        sizes = box_sizes(data.annotations, data.samples)
        sections.append(Section("Objects", "How large the objects are.", sizes))
    sections.append(Section("Samples", "Spread evenly over the train split.", gallery))
    if len(quarantine):
        sections.append(Section("Defects", "What was set aside or repaired.", quarantine_table(quarantine)))
    reasons = quarantine.groupby(["reason", "action"]).size().reset_index(name="n")
    summary = {
        "splits": counts,
        "objects": len(data.annotations),
        "classes": {s: dict(zip(names, c, strict=True)) for s, c in by_class.items()},
        "quarantine": reasons.to_dict("records"),
        "facts": facts,
    }
    page = data_page(f"Data: {title}", f"{len(data.samples):,} samples", facts, sections, quarantine)
    return page, summary, classes, gallery
