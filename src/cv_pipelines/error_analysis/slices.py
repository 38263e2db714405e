"""The metric on parts of what was scored (classes, groups, sizes, light), and what of it may be chance."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from cv_pipelines.comparing.bootstrap import draws, interval
from cv_pipelines.comparing.compare import GROUPS, class_keys, drawn_units, image_sizes
from cv_pipelines.comparing.figures import Figures
from cv_pipelines.config.comparison import Bootstrap
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.error_analysis.form import Slice

SETTINGS = Bootstrap(resamples=300)
"""Two digits of an interval are enough to see what stands out."""

Parts = dict[tuple[str, str], np.ndarray]
"""(kind of slice, name) to (N,) bool of the samples in it."""


def slices(figures: Figures, metric: str, data: SourceData, measures: pd.DataFrame) -> list[Slice]:
    """Measure a model on parts of the samples.

    Classes and sizes of objects are the figures' own; image sizes, light and motion part the samples in
    thirds, crowding and labels by number. Their intervals come from resamples of all samples (whole
    groups where there are any), in which slice and whole vary together; those of a group come from
    resamples of its own samples beside those of all.

    Args:
        figures: of the model on the samples of `data`, in that order.
        metric: one of its.
        data: the scored samples.
        measures: of the source, see `data.measures`; samples that it does not know are in no third.
    """
    groups = data.samples["group"].to_numpy().astype(str)
    parts = sample_parts(data, measures, bool(figures.size_counts))
    counts = _counts(figures, parts)
    point = _measured(figures, metric, parts, np.ones((1, len(groups))))
    resampled: dict[tuple[str, str], list[np.ndarray]] = {key: [] for key in point}
    for weights in draws(drawn_units(groups), SETTINGS):
        for key, values in _measured(figures, metric, parts, weights).items():
            resampled[key].append(values)
    joined = {key: np.concatenate(values) for key, values in resampled.items()}
    whole, varied = float(point.pop(("all", ""))[0]), joined.pop(("all", ""))
    found = [
        _slice(key, counts[key], float(value[0]), whole, joined[key] - varied)
        for key, value in point.items()
        if counts[key]
    ]
    return found + list(_group_slices(figures, metric, groups, whole, varied))


def _measured(
    figures: Figures, metric: str, parts: Parts, weights: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """Return (R,) the metric on all and on each slice but groups."""
    whole, classes = figures.measure(metric, weights)
    found = {("all", ""): whole}
    if classes.shape[1] and not np.isnan(classes).all():
        found |= {key: classes[:, k] for k, key in enumerate(class_keys(figures.classes))}
    found |= {("object size", name): v for name, v in figures.sizes(metric, weights).items()}
    return found | {key: figures.measure(metric, weights * mask)[0] for key, mask in parts.items()}


def _counts(figures: Figures, parts: Parts) -> dict[tuple[str, str], int]:
    found = dict(zip(class_keys(figures.classes), figures.counts, strict=True))
    found |= {("object size", name): count for name, count in figures.size_counts.items()}
    return found | {key: int(mask.sum()) for key, mask in parts.items()}


def _group_slices(
    figures: Figures, metric: str, groups: np.ndarray, whole: float, varied: np.ndarray
) -> Iterator[Slice]:
    """Yield each group; `varied` is the metric on resamples of all, drawn apart from those of the group."""
    names = sorted(set(groups.tolist()))
    if len(names) < 2 or len(names) > GROUPS or len(names) == len(groups):
        return
    for name in names:
        own = np.flatnonzero(groups == name)
        values = [_alone(figures, metric, own, len(groups), np.ones((1, len(own))))]
        values += [
            _alone(figures, metric, own, len(groups), drawn) for drawn in draws(np.arange(len(own)), SETTINGS)
        ]
        point, own_varied = float(values[0][0]), np.concatenate(values[1:])
        yield _slice(("group", name), len(own), point, whole, own_varied - varied)


def _alone(figures: Figures, metric: str, own: np.ndarray, count: int, drawn: np.ndarray) -> np.ndarray:
    weights = np.zeros((len(drawn), count))
    weights[:, own] = drawn
    return figures.measure(metric, weights)[0]


def _slice(key: tuple[str, str], n: int, value: float, whole: float, differences: np.ndarray) -> Slice:
    return Slice(*key, n, value, value - whole, *interval(differences, SETTINGS.confidence))


def sample_parts(data: SourceData, measures: pd.DataFrame, objects: bool) -> Parts:
    """Part samples by what is known of them beside their classes and groups.

    Args:
        data: the scored samples.
        measures: of the source, see `data.measures`.
        objects: whether objects are what is to be found.
    """
    found: Parts = {("image size", name): mask for name, mask in image_sizes(data).items()}
    known = measures.set_index("sample_id").reindex(data.samples["sample_id"])
    for name in [name for name in ("brightness", "contrast") if name in known]:
        found |= thirds(name, known[name].to_numpy(np.float64), ("low", "middle", "high"))
    motion = [name for name in known if str(name).startswith("deviation_")]
    if motion:
        liveliness = known[motion].to_numpy(np.float64).mean(axis=1)
        found |= thirds("motion", liveliness, ("little", "some", "much"))
    if objects:
        counts = data.samples["sample_id"].map(data.annotations["sample_id"].value_counts()).fillna(0)
        found |= _bands("crowding", counts.to_numpy(), "object", (1, 4))
    elif data.categories.multi_label:
        found |= _bands("labels", data.samples["labels"].map(len).to_numpy(), "label", (1, 2))
    return found


def thirds(kind: str, values: np.ndarray, names: tuple[str, str, str]) -> Parts:
    """Part samples in thirds of a number; not at all where fewer than three numbers occur.

    Args:
        kind: of the slice.
        values: (N,) float; NaN is in no third.
        names: of the thirds.
    """
    known = values[np.isfinite(values)]
    if len(np.unique(known)) < 3:
        return {}
    first, second = np.quantile(known, [1 / 3, 2 / 3])
    tests: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
        lambda v: v <= first,
        lambda v: (v > first) & (v <= second),
        lambda v: v > second,
    )
    told = (f"up to {first:.3g}", f"up to {second:.3g}", "above")
    return {
        (kind, f"{name} ({text})"): mask
        for name, text, test in zip(names, told, tests, strict=True)
        if (mask := test(values)).any()
    }


def _bands(kind: str, counts: np.ndarray, what: str, edges: tuple[int, int]) -> Parts:
    """Part samples by a small count; samples with none of it are in no band, for nothing is to be found."""
    first, second = edges
    middle = f"{first + 1} to {second} {what}s" if second > first + 1 else f"{second} {what}s"
    bands = {
        f"{first} {what}": (counts > 0) & (counts <= first),
        middle: (counts > first) & (counts <= second),
        f"more than {second} {what}s": counts > second,
    }
    masks = {(kind, name): mask for name, mask in bands.items() if mask.any()}
    return masks if len(masks) > 1 else {}
