"""The report of an experiment: curves, score figures, predictions against truth, the worst cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.encoding import decode_png
from cv_pipelines.plots import classification, detection, segmentation
from cv_pipelines.plots.curves import curves
from cv_pipelines.plots.error_report import absences, sections
from cv_pipelines.plots.explanations import cam_figure, features_figure
from cv_pipelines.plots.gallery import gallery
from cv_pipelines.plots.generative import reconstruction_pairs, sample_grid
from cv_pipelines.plots.page import Section, report_page
from cv_pipelines.plots.poses import point_errors
from cv_pipelines.plots.predicted import READING, is_right, kind_colors_of, predicted_item, said, worst_items
from cv_pipelines.plots.samples import evenly, label_of, mask_colors, picture_of, windows
from cv_pipelines.plots.theme import no_data

SHOWN = 12

BROWSE = '<p><a href="errors.html">More of them, to be chosen by kind of error</a></p>'
CAM_TEXT = (
    "Class activation maps by gradients (Grad-CAM, Selvaraju et al. 2017): what is warm speaks for it. "
    "Each map has a scale of its own, so a weak reason glows like a strong one. Maps are of the sample as it "
    "is, not of the views that predictions may be averaged over."
)
FEATURES_TEXT = (
    "Each picture is one channel's output, from its smallest to its largest value over the sample."
)

Report = tuple[str, go.Figure, go.Figure, go.Figure]


def draw(
    config: ExperimentConfig,
    data: SourceData,
    history: pd.DataFrame,
    predictions: pd.DataFrame,
    metrics: dict[str, Any],
    details: dict[str, Any],
    samples: pd.DataFrame,
    errors: dict[str, Any],
    explanations: pd.DataFrame | None = None,
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
        errors: `errors.json`.
        explanations: where a classifier looks; None for other tasks.

    Returns:
        The page, curves, the main score figure, the gallery.
    """
    lines = curves(history)
    figures = score_figures(config.task, details, data)
    shown = spread_gallery(config.task, data, predictions, samples)
    sections = [Section("Curves", "Loss and validation figures of every epoch.", lines)]
    sections += [Section(heading, text, figure) for heading, text, figure in figures]
    sections.append(Section("Predictions", "Samples spread evenly over the scored split.", shown))
    drawn = [section.heading for section in sections]
    sections += error_sections(data, predictions, errors, explanations, drawn)
    seeds = config.train.seeds
    notes = [f"Figures are means over {len(seeds)} trainings, seeds {seeds}; pictures are of the first."]
    if len(seeds) == 1:
        notes = [f"One training, seed {seeds[0]}."]
    subtitle = (
        f"{config.task} on {config.source} · {config.model.name} · {metrics['seconds']:.0f} s of training"
    )
    notes += absences(errors)
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
        return detection.figures(details)
    if task == "landmarks":
        text = "Mean distance between predicted and true points."
        return [("Error per point", text, point_errors(details))]
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


def spread_gallery(
    task: str, data: SourceData, predictions: pd.DataFrame, samples: pd.DataFrame
) -> go.Figure:
    """Draw samples spread over the split (of GANs what they generate) with truth and prediction."""
    if task == "gan":
        made = predictions[predictions["set"] == "generated"]["image"].head(100)
        return sample_grid([decode_png(png) for png in made], title="Generated images")
    order = {sample: index for index, sample in enumerate(data.samples["sample_id"])}
    ids = list(samples["sample_id"])
    if not ids:
        return no_data("Predictions", "nothing was scored")
    count = SHOWN if task != "segmentation" else SHOWN // 2
    spread = samples.iloc[evenly(len(ids), count)]
    notes = dict(zip(ids, samples["note"], strict=True))
    return _drawer(task, data, predictions, order, notes)(list(spread["sample_id"]), "Predictions")


def worst_gallery(data: SourceData, predictions: pd.DataFrame, errors: Mapping[str, Any]) -> go.Figure:
    """Draw the first of the worst samples, with what is wrong about them.

    Args:
        data: the scored split.
        predictions: of the first seed.
        errors: `errors.json`.
    """
    task, title = errors["task"], "Worst cases"
    if not errors["worst"]:
        return no_data(title, errors["absent"]["worst"])
    if data.kind == "signal":
        order = {sample: index for index, sample in enumerate(data.samples["sample_id"])}
        ids = [entry["sample_id"] for entry in errors["worst"][:SHOWN]]
        return _drawer(task, data, predictions, order, {})(ids, title)
    items = worst_items(data, predictions, errors, SHOWN if task != "segmentation" else SHOWN // 2)
    columns = 2 if task == "detection" else 4
    return gallery(items, mask_colors(data), columns, title, kind_colors_of(errors))


def error_sections(
    data: SourceData,
    predictions: pd.DataFrame,
    errors: Mapping[str, Any],
    explanations: pd.DataFrame | None,
    drawn: Sequence[str],
) -> list[Section]:
    """Return what the report says of errors, but for what it has drawn already.

    Args:
        data: the scored split.
        predictions: of the first seed.
        errors: `errors.json`.
        explanations: where a classifier looks; None for other tasks.
        drawn: headings that the page has.
    """
    found = [section for section in sections(errors) if section.heading not in drawn]
    if explanations is not None:
        found += [
            Section("Where it looks", CAM_TEXT, cam_figure(explanations, data)),
            Section("Feature maps", FEATURES_TEXT, features_figure(explanations, data)),
        ]
    text = f"The samples the model does worst on, by {errors['worst_by']}. {READING.get(errors['task'], '')}"
    gallery_of_worst = worst_gallery(data, predictions, errors)
    return [*found, Section("Worst cases", text, gallery_of_worst, BROWSE)]


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
            right = [is_right(data, order[i], found[i]) for i in ids]
            titles = [f"{label_of(data, order[i])} → {said(data, found[i])}" for i in ids]
            return windows(data, [order[i] for i in ids], titles, right, title)
        items = [predicted_item(task, data, order[i], found.get(i), notes[i]) for i in ids]
        return gallery(items, colors, title=title)

    return draw_some
