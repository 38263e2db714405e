"""The data report: splits, classes, object sizes, looks, samples, look-alikes, defects of one source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.duplicates import count_by_pair, near_duplicates
from cv_pipelines.data.schema import SPLITS
from cv_pipelines.data.statistics import class_counts
from cv_pipelines.plots.gallery import GalleryItem, gallery
from cv_pipelines.plots.looks import image_looks, signal_looks
from cv_pipelines.plots.page import Section, data_page
from cv_pipelines.plots.samples import picture_of, sample_gallery
from cv_pipelines.plots.source import box_sizes, class_bars, quarantine_table, split_bars

PAIRS_SHOWN = 8
DEFECTS_SHOWN = 12


def draw(
    title: str,
    data: SourceData,
    quarantine: pd.DataFrame,
    facts: dict[str, Any],
    measures: pd.DataFrame,
) -> tuple[str, dict[str, Any], go.Figure, go.Figure]:
    """Draw the data report.

    Args:
        title: what the source is called.
        data: all splits.
        quarantine: what was set aside or repaired.
        facts: of the reader and of the splits.
        measures: of the samples, see `measures.measure`.

    Returns:
        The page, its content as JSON-able numbers, the class counts and the gallery.
    """
    counts = {str(s): int((data.samples["split"] == s).sum()) for s in SPLITS}
    counts = {split: count for split, count in counts.items() if count}
    by_class = {split: class_counts(data.only(split)) for split in counts}
    names = data.categories.names("labels")
    alike = _look_alikes(data, measures)
    classes, samples = class_bars(names, by_class), sample_gallery(data)
    sections = [
        Section("Splits", "How many samples train, choose and test.", split_bars(counts)),
        Section("Classes", "How often each class occurs in each split.", classes),
    ]
    if len(data.annotations):
        sizes = box_sizes(data.annotations, data.samples)
        sections.append(Section("Objects", "How large the objects are.", sizes))
    sections.append(_looks(data, measures))
    sections.append(Section("Samples", "Spread evenly over the train split.", samples))
    if len(alike):
        sections.append(_alike_section(data, alike))
    if len(quarantine):
        sections.append(Section("Defects", "What was set aside or repaired.", quarantine_table(quarantine)))
        sections += _defect_pictures(data, quarantine)
    reasons = quarantine.groupby(["reason", "action"]).size().reset_index(name="n")
    summary = {
        "splits": counts,
        "objects": len(data.annotations),
        "classes": {s: dict(zip(names, c, strict=True)) for s, c in by_class.items()},
        "near_duplicates": count_by_pair(alike),
        "measures": _means(data, measures),
        "quarantine": reasons.to_dict("records"),
        "facts": facts,
    }
    page = data_page(f"Data: {title}", f"{len(data.samples):,} samples", facts, sections, quarantine)
    return page, summary, classes, samples


def _look_alikes(data: SourceData, measures: pd.DataFrame) -> pd.DataFrame:
    hashes = measures.get("phash", pd.Series(index=measures.index, dtype=object))
    return near_duplicates(data.samples, hashes)


def _looks(data: SourceData, measures: pd.DataFrame) -> Section:
    split = data.samples["split"].to_numpy(object)
    if data.kind == "signal":
        return Section("Signals", "How much each channel moves.", signal_looks(measures, split))
    return Section("Light", "How bright the images are, and how much contrast.", image_looks(measures, split))


def _means(data: SourceData, measures: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return the mean of every measure, by split."""
    numbers = measures.select_dtypes("number")
    means = numbers.groupby(data.samples["split"].to_numpy(object)).mean()
    return {str(split): row.astype(float).to_dict() for split, row in means.iterrows()}


def _alike_section(data: SourceData, alike: pd.DataFrame) -> Section:
    place = {sample_id: index for index, sample_id in enumerate(data.samples["sample_id"])}
    items = []
    for pair in alike.head(PAIRS_SHOWN).itertuples():
        for sample_id, split in ((pair.sample_id, pair.split), (pair.other_id, pair.other_split)):
            truth = f"{split} · {pair.distance} of 64 bits apart"
            items.append(GalleryItem(picture_of(data, place[sample_id]), title=str(sample_id), truth=truth))
    text = f"{len(alike):,} pairs of different splits whose perceptual hashes differ in at most 3 of 64 bits."
    return Section("Look-alikes", text, gallery(items, {}, title="The closest pairs, side by side"))


def _defect_pictures(data: SourceData, quarantine: pd.DataFrame) -> list[Section]:
    """Show the files among the defects that are pictures, as far as they can be read."""
    items: list[GalleryItem] = []
    for row in quarantine.drop_duplicates("file").itertuples():
        image = _readable(Path(data.root or "."), str(row.file))
        if image is not None and len(items) < DEFECTS_SHOWN:
            items.append(GalleryItem(image, title=str(row.file), truth=f"{row.reason} ({row.action})"))
    shown = gallery(items, {}, title="Pictures among them") if items else None
    return [Section("Defects in pictures", "As far as they can be read.", shown)] if items else []


def _readable(root: Path, file: str) -> np.ndarray | None:
    """Read what there is of an image file: of a truncated one the upper part; None if it is none."""
    try:
        with Image.open(root / file) as image:
            try:
                image.load()
            except (OSError, SyntaxError):
                if image.im is None:
                    return None
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
