"""The report of an experiment: curves, score figures, predictions against truth, the worst cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.encoding import decode_png
from cv_pipelines.plots import classification, detection, segmentation
from cv_pipelines.plots.curves import curves
from cv_pipelines.plots.gallery import GalleryItem, gallery
from cv_pipelines.plots.generative import reconstruction_pairs, sample_grid
from cv_pipelines.plots.page import Section, report_page
from cv_pipelines.plots.rasters import Box
from cv_pipelines.plots.samples import (
    boxes_of,
    evenly,
    label_of,
    mask_colors,
    mask_of,
    picture_of,
    windows,
)
from cv_pipelines.plots.theme import no_data

SHOWN = 12
MIN_SCORE = 0.3
"""Detections below are not drawn."""

Report = tuple[str, go.Figure, go.Figure, go.Figure]


def draw(
    config: ExperimentConfig,
    data: SourceData,
    history: pd.DataFrame,
    predictions: pd.DataFrame,
    metrics: dict[str, Any],
    details: dict[str, Any],
    samples: pd.DataFrame,
) -> Report:
    """Draw the report.

    Args:
        config: the experiment.
        data: the scored split.
        history: `seed`, `epoch`, `name`, `value`.
        predictions: of the first seed.
        metrics: `metrics.json`.
        details: of scoring.
        samples: `sample_id`, `score`, `note` of the first seed.

    Returns:
        The page, curves, the main score figure, the gallery.
    """
    lines = curves(history)
    figures = score_figures(config.task, details, data)
    shown, worst = galleries(config.task, data, predictions, samples)
    sections = [Section("Curves", "Loss and validation figures of every epoch.", lines)]
    sections += [Section(heading, text, figure) for heading, text, figure in figures]
    sections.append(Section("Predictions", "Samples spread evenly over the scored split.", shown))
    if worst is not None:
        sections.append(Section("Worst cases", "The samples the model does worst on, worst first.", worst))
    seeds = config.train.seeds
    notes = [f"Figures are means over {len(seeds)} trainings, seeds {seeds}; pictures are of the first."]
    if len(seeds) == 1:
        notes = [f"One training, seed {seeds[0]}."]
    subtitle = (
        f"{config.task} on {config.source} · {config.model.name} · {metrics['seconds']:.0f} s of training"
    )
    notes += passed_over(metrics.get("passed_over", {}))
    page = report_page(
        metrics["experiment"], subtitle, metrics["values"], metrics["contract"], sections, notes
    )
    return page, lines, figures[0][2] if figures else shown, shown


def passed_over(batches: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Say of which batches nothing was learnt, because their loss was no number.

    Args:
        batches: of each seed: `epoch`, `step`, `sample_ids`.
    """
    return [
        f"Passed over, since its loss was no number: seed {seed}, epoch {batch['epoch']}, "
        f"step {batch['step']}, with the samples {', '.join(batch['sample_ids'])}."
        for seed, of_seed in batches.items()
        for batch in of_seed
    ]


def score_figures(task: str, details: dict[str, Any], data: SourceData) -> list[tuple[str, str, go.Figure]]:
    """Return (heading, text, figure) of a task's scores, the main one first."""
    if task in {"classification", "activity"} and "confusion" in details:
        return _class_figures(details)
    if task == "detection":
        return [
            ("Precision and recall", "At IoU 0.5, a line a class.", detection.pr_curves(details)),
            ("Average precision", "Mean over IoU 0.50 to 0.95.", detection.ap_bars(details)),
        ]
    if task == "segmentation":
        colors = [c.color for c in data.categories.mask]
        bars = segmentation.iou_bars(details["classes"], details["iou"], colors)
        matrix = classification.confusion(np.array(details["confusion"]), details["classes"], "pixels")
        return [
            ("IoU per class", "From one confusion matrix of all pixels.", bars),
            ("Confusion", "Pixels by true and predicted class.", matrix),
        ]
    return []


def _class_figures(details: dict[str, Any]) -> list[tuple[str, str, go.Figure]]:
    matrix = classification.confusion(np.array(details["confusion"]), details["classes"])
    figures = [
        ("Confusion", "True class by row, predicted class by column.", matrix),
        ("F1 per class", "", classification.per_class(details["per_class"])),
        (
            "Calibration",
            "Is it right as often as it says?",
            classification.calibration(details["calibration"]),
        ),
    ]
    if details.get("groups"):
        figures.append(("Groups", "Accuracy of each group.", classification.group_bars(details["groups"])))
    return figures


def galleries(
    task: str, data: SourceData, predictions: pd.DataFrame, samples: pd.DataFrame
) -> tuple[go.Figure, go.Figure | None]:
    """Draw samples spread over the split, and those with the lowest score (None for GANs)."""
    if task == "gan":
        made = predictions[predictions["set"] == "generated"]["image"].head(100)
        return sample_grid([decode_png(png) for png in made], title="Generated images"), None
    order = {sample: index for index, sample in enumerate(data.samples["sample_id"])}
    ids = list(samples["sample_id"])
    if not ids:
        return no_data("Predictions", "nothing was scored"), None
    ranked = samples.sort_values("score", kind="stable", na_position="last")
    count = SHOWN if task != "segmentation" else SHOWN // 2
    spread = samples.iloc[evenly(len(ids), count)]
    notes = dict(zip(ids, samples["note"], strict=True))
    draw_some = _drawer(task, data, predictions, order, notes)
    return draw_some(list(spread["sample_id"]), "Predictions"), draw_some(
        list(ranked["sample_id"].head(count)), "Worst cases"
    )


def _drawer(
    task: str, data: SourceData, predictions: pd.DataFrame, order: dict[str, int], notes: dict[str, str]
) -> Callable[[list[str], str], go.Figure]:
    found = dict(list(predictions.groupby("sample_id", sort=False))) if len(predictions) else {}
    colors = mask_colors(data)

    def draw_some(ids: list[str], title: str) -> go.Figure:
        """Draw these samples with prediction and truth."""
        if task == "autoencoder":
            rebuilt = [decode_png(found[i]["image"].iat[0]) for i in ids]
            originals = [picture_of(data, order[i]) for i in ids]
            return reconstruction_pairs(originals, rebuilt, title=title)
        if data.kind == "signal":
            said = [_said(data, found[i]) for i in ids]
            right = [_is_right(data, order[i], found[i]) for i in ids]
            titles = [f"{label_of(data, order[i])} → {s}" for i, s in zip(ids, said, strict=True)]
            return windows(data, [order[i] for i in ids], titles, right, title)
        return gallery(
            [_item(task, data, order[i], found.get(i), notes[i]) for i in ids], colors, title=title
        )

    return draw_some


def _item(task: str, data: SourceData, index: int, rows: pd.DataFrame | None, note: str) -> GalleryItem:
    image, name = picture_of(data, index), str(data.samples["sample_id"].iat[index])
    if task == "detection":
        return GalleryItem(
            image,
            title=f"{name}: {note}",
            truth_boxes=boxes_of(data, index),
            predicted_boxes=[] if rows is None else _predicted_boxes(data, rows),
        )
    assert rows is not None
    if task == "segmentation":
        mask = decode_png(rows["mask"].iat[0])
        return GalleryItem(
            image, title=f"{name}: {note}", truth_mask=mask_of(data, index), predicted_mask=mask
        )
    return GalleryItem(
        image,
        title=name,
        truth=label_of(data, index),
        prediction=_said(data, rows),
        correct=_is_right(data, index, rows),
    )


def _predicted_boxes(data: SourceData, rows: pd.DataFrame) -> list[Box]:
    names = data.categories.names("objects")
    strong = rows[rows["score"] >= MIN_SCORE]
    columns = strong[["x", "y", "w", "h", "category", "score"]].itertuples(index=False)
    return [Box(x, y, w, h, names[int(c)], float(s)) for x, y, w, h, c, s in columns]


def _said(data: SourceData, rows: pd.DataFrame) -> str:
    probabilities = np.asarray(rows["probabilities"].iat[0])
    names = data.categories.names("labels")
    if data.categories.multi_label:
        return ", ".join(names[i] for i in np.flatnonzero(probabilities >= 0.5)) or "nothing"
    best = int(probabilities.argmax())
    return f"{names[best]} ({probabilities[best]:.2f})"


def _is_right(data: SourceData, index: int, rows: pd.DataFrame) -> bool:
    labels = list(data.samples["labels"].iat[index])
    probabilities = np.asarray(rows["probabilities"].iat[0])
    if data.categories.multi_label:
        return sorted(labels) == np.flatnonzero(probabilities >= 0.5).tolist()
    return bool(probabilities.argmax() == labels[0])
