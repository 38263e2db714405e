"""Two models on the same samples: how far apart they are, overall, by class and by slice."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from cv_pipelines.comparing.bootstrap import certainty, draws, effect
from cv_pipelines.comparing.figures import Figures
from cv_pipelines.comparing.results import Results, check_contracts, figures_of, scored
from cv_pipelines.config.comparison import Bootstrap
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.errors import ComparisonError

GROUPS = 50
"""Groups (subjects, videos) that have a row each; of more, none has one."""

Key = tuple[str, str]
"""A part of a comparison (`overall`, `class`, `group`, `image size`, `object size`) and a row of it."""
Pairs = dict[Key, np.ndarray]
"""(R, 2) the figure of both models in each resample, by row."""


def compare(
    one: Results, other: Results, data: SourceData, metric: str, settings: Bootstrap, minimum: float = 0.0
) -> dict[str, Any]:
    """Compare two models by a paired bootstrap over the samples that both were scored on.

    Args:
        one: the first model, such as the one in use.
        other: the second; effects are its figures minus the first one's.
        data: the source with the split that both were scored on.
        metric: a figure of the task.
        settings: of the bootstrap.
        minimum: `certain` is the share of the resamples in which the second is better by more than this.

    Returns:
        What the comparison's JSON file holds; see docs/compare.md.

    Raises:
        ContractError: they were scored under contracts that differ.
        ComparisonError: results do not fit the data, or the task has no such figure to compare.
    """
    check_contracts(one, other)
    part = scored(one.metrics["task"], one.by_seed()[0], data)
    sides = Sides(figures_of(one, part), figures_of(other, part), image_sizes(part))
    sides.check(metric)
    groups = part.samples["group"].to_numpy().astype(str)
    points = sides.measure(metric, np.ones((1, len(groups))))
    units = drawn_units(groups)
    pairs = _joined([sides.measure(metric, weights) for weights in draws(units, settings)])
    alone = _by_group(sides, metric, groups, settings)
    counts = sides.counts()
    rows: dict[str, list[dict[str, Any]]] = {}
    for (kind, name), both in (pairs | {key: drawn for key, (_, drawn) in alone.items()}).items():
        point = points[(kind, name)] if (kind, name) in points else alone[(kind, name)][0]
        n = counts.get((kind, name), int((groups == name).sum()) if kind == "group" else len(groups))
        if n == 0:
            continue
        lower = (name if kind == "overall" else metric) in sides.lower
        found = effect((float(point[0, 0]), float(point[0, 1])), _apart(both), lower, settings.confidence, n)
        rows.setdefault(kind, []).append(
            {"name": name, **dataclasses.asdict(found), "effect": found.effect, "lower_is_better": lower}
        )
    gained = _apart(pairs[("overall", metric)])
    return {
        "a": one.name,
        "b": other.name,
        "task": one.metrics["task"],
        "metric": metric,
        "contract": one.metrics["contract"],
        "n": len(groups),
        "drawn": "groups" if len(set(units)) < len(groups) else "samples",
        "units": len(set(units)),
        "groups": len(set(groups)),
        **settings.model_dump(),
        "minimum": minimum,
        "certain": certainty(gained, metric in sides.lower, minimum),
        "seeds": [len(sides.one), len(sides.other)],
        "spread": [side.metrics["spread"].get(metric) for side in (one, other)],
        "overall": rows.pop("overall"),
        "slices": rows,
    }


@dataclass(frozen=True)
class Sides:
    """Both models on the same samples: their figures, one a seed; they count as their mean.

    Attributes:
        one: of the first model.
        other: of the second.
        masks: (N,) of the samples in each image size.
    """

    one: list[Figures]
    other: list[Figures]
    masks: dict[str, np.ndarray]

    @property
    def lower(self) -> tuple[str, ...]:
        """Figures of which less is better."""
        return self.one[0].lower

    def check(self, metric: str) -> None:
        """Check that a figure can be compared.

        Raises:
            ComparisonError: it cannot; names those that can.
        """
        known = self.one[0].metrics
        if metric not in known:
            raise ComparisonError(f"no figure {metric!r} to compare; there are {', '.join(known)}")

    def counts(self) -> dict[Key, int]:
        """Return samples, pixels or objects of each row, but for those of groups."""
        known = self.one[0]
        of_classes = zip(class_keys(known.classes), known.counts, strict=True)
        of_objects = {("object size", name): count for name, count in known.size_counts.items()}
        of_images = {("image size", name): int(mask.sum()) for name, mask in self.masks.items()}
        return dict(of_classes) | of_objects | of_images

    def measure(self, metric: str, weights: np.ndarray) -> Pairs:
        """Return every row but those of groups.

        Args:
            metric: whose rows are wanted; overall, the task's other figures stand beside it.
            weights: (R, N), how often each sample counts.
        """
        overall, classes = self._pair(metric, weights)
        found = {("overall", metric): overall}
        for name in [name for name in self.one[0].beside if name != metric]:
            found[("overall", name)] = self._pair(name, weights)[0]
        if not np.isnan(classes).all():
            found |= {key: classes[:, k] for k, key in enumerate(class_keys(self.one[0].classes))}
        for name in self.one[0].size_counts:
            found[("object size", name)] = _mean(
                [
                    [figures.sizes(metric, weights)[name] for figures in side]
                    for side in (self.one, self.other)
                ]
            )
        for name, mask in self.masks.items():
            found[("image size", name)] = self._pair(metric, weights * mask)[0]
        return found

    def _pair(self, metric: str, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (R, 2) the figure of both models, and (R, C, 2) that of each class."""
        made = [[figures.measure(metric, weights) for figures in side] for side in (self.one, self.other)]
        return (
            _mean([[value for value, _ in side] for side in made]),
            _mean([[classes for _, classes in side] for side in made]),
        )


def drawn_units(groups: np.ndarray) -> np.ndarray:
    """Return (N,) what is drawn as one: the groups, or each sample where all are of one group."""
    return groups if len(set(groups)) > 1 else np.arange(len(groups)).astype(str)


def class_keys(names: list[str]) -> list[Key]:
    """Return a key a class; a name that occurs twice gets its index added, so none is lost."""
    return [
        ("class", f"{name} ({index})" if name in names[:index] else name) for index, name in enumerate(names)
    ]


def image_sizes(part: SourceData) -> dict[str, np.ndarray]:
    """Part the images into thirds by their pixels; not at all where fewer than three sizes occur.

    Returns:
        (N,) bool of the samples in each third, by name.
    """
    pixels = (part.samples["width"] * part.samples["height"]).to_numpy()
    if len(np.unique(pixels)) < 3:
        return {}
    low, high = np.quantile(pixels, [1 / 3, 2 / 3], method="lower")
    thirds = {
        f"up to {low:,} pixels": pixels <= low,
        f"up to {high:,} pixels": (pixels > low) & (pixels <= high),
        "larger": pixels > high,
    }
    return {name: mask for name, mask in thirds.items() if mask.any()}


def _by_group(
    sides: Sides, metric: str, groups: np.ndarray, settings: Bootstrap
) -> dict[Key, tuple[np.ndarray, np.ndarray]]:
    """Return the figures as they are and resampled, of each group alone: there its own samples are drawn."""
    names = sorted(set(groups.tolist()))
    if len(names) < 2 or len(names) > GROUPS or len(names) == len(groups):
        return {}
    found = {}
    for name in names:
        own = np.flatnonzero(groups == name)
        parts = []
        for drawn in [np.ones((1, len(own))), *draws(np.arange(len(own)), settings)]:
            weights = np.zeros((len(drawn), len(groups)))
            weights[:, own] = drawn
            parts.append(sides._pair(metric, weights)[0])
        found[("group", name)] = (parts[0], np.concatenate(parts[1:]))
    return found


def _mean(sides: list[list[np.ndarray]]) -> np.ndarray:
    """Average over seeds; both models on the last axis."""
    return np.stack([np.mean(side, axis=0) for side in sides], axis=-1)


def _joined(parts: list[Pairs]) -> Pairs:
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _apart(pairs: np.ndarray) -> np.ndarray:
    return pairs[:, 1] - pairs[:, 0]
