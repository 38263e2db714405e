"""The figures of one model with intervals: overall, by class, by group, by size."""

from __future__ import annotations

from typing import Any

import numpy as np

from cv_pipelines.comparing.bootstrap import draws, interval
from cv_pipelines.comparing.compare import GROUPS, class_keys, drawn_units, image_sizes
from cv_pipelines.comparing.figures import Figures, Measured
from cv_pipelines.comparing.results import Results, figures_of, scored
from cv_pipelines.config.comparison import Bootstrap
from cv_pipelines.data.datasets import SourceData

Row = dict[str, Any]


def intervals(results: Results, data: SourceData, metric: str, settings: Bootstrap) -> list[Row]:
    """Resample the scored samples (the groups, where there are several) and take percentiles.

    Args:
        results: of one seed of one model.
        data: the source with the scored split.
        metric: a figure of the task, of which classes and slices get rows.
        settings: of the bootstrap.

    Returns:
        Rows of `kind`, `name`, `value`, `low`, `high`, `n`: `overall` (each main figure), `class`, `group`,
        `image size`.

    Raises:
        ComparisonError: the results do not fit the data.
    """
    part = scored(results.metrics["task"], results.by_seed()[0], data)
    figures = figures_of(results, part)[0]
    groups = part.samples["group"].to_numpy().astype(str)
    count = len(groups)
    parts = {("overall", metric): (np.ones(count, dtype=bool), count)}
    names = sorted(set(groups.tolist()))
    if 1 < len(names) <= min(GROUPS, count - 1):
        parts |= {("group", name): (groups == name, int((groups == name).sum())) for name in names}
    parts |= {("image size", name): (mask, int(mask.sum())) for name, mask in image_sizes(part).items()}
    rows: list[Row] = []
    for (kind, name), (mask, n) in parts.items():
        # of a group alone its own samples are drawn
        units = np.arange(count).astype(str) if kind == "group" else drawn_units(groups)
        rows += _rows(figures, metric, mask, units, settings, (kind, name, n))
    return rows


def _rows(
    figures: Figures,
    metric: str,
    mask: np.ndarray,
    units: np.ndarray,
    settings: Bootstrap,
    what: tuple[str, str, int],
) -> list[Row]:
    """Return the row of a part of the samples; of all samples, also those of other figures and of classes."""
    kind, name, n = what
    beside = [other for other in figures.beside if other != metric] if kind == "overall" else []
    drawn: dict[str, list[Measured]] = {figure: [] for figure in (metric, *beside)}
    for weights in draws(units[mask], settings):
        for figure, measured in drawn.items():
            measured.append(figures.measure(figure, _spread(weights, mask)))
    rows = []
    for figure, measured in drawn.items():
        point, classes = figures.measure(figure, np.where(mask, 1.0, 0.0)[None])
        values = np.concatenate([value for value, _ in measured])
        label = figure if kind == "overall" else name
        rows.append(_row(kind, label, float(point[0]), values, settings.confidence, n))
        if figure == metric and kind == "overall" and not np.isnan(classes).all():
            by_class = np.concatenate([found for _, found in measured])
            for k, (_, class_name) in enumerate(class_keys(figures.classes)):
                found = by_class[:, k], settings.confidence, figures.counts[k]
                rows.append(_row("class", class_name, float(classes[0, k]), *found))
    return rows


def _spread(weights: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Lay (R, n) weights of some samples out over all, (R, N)."""
    whole = np.zeros((len(weights), len(mask)))
    whole[:, mask] = weights
    return whole


def _row(kind: str, name: str, value: float, values: np.ndarray, confidence: float, n: int) -> Row:
    low, high = interval(values, confidence)
    return {"kind": kind, "name": name, "value": value, "low": low, "high": high, "n": n}
