"""The paired bootstrap (Efron & Tibshirani 1993 §8, §13.3), by groups where samples belong together.

A resample is a row of weights: how often each sample is drawn. Both models see the same rows, so what makes a
sample hard for both cancels out. Samples of one group (subject, video) are not independent: whole groups are
drawn (the cluster bootstrap, Davison & Hinkley 1997 §3.8).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cv_pipelines.config.comparison import Bootstrap

CELLS = 4_000_000
"""Weights that are held at a time."""


def draws(groups: Sequence[str] | np.ndarray, settings: Bootstrap) -> Iterator[np.ndarray]:
    """Yield the resamples, some rows at a time.

    Args:
        groups: (N,) group of each sample; each sample its own where they are independent.
        settings: how many, and of which seed; equal ones always give the same resamples.

    Yields:
        (R, N) float64: how often each sample is drawn; the R of all parts are `settings.resamples` together.
    """
    names, member = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    count = len(names)
    rng = np.random.default_rng(settings.seed)
    rows = max(CELLS // max(len(member), 1), 1)
    for start in range(0, settings.resamples, rows):
        size = min(rows, settings.resamples - start)
        yield rng.multinomial(count, np.full(count, 1 / count), size)[:, member].astype(np.float64)


@dataclass(frozen=True)
class Effect:
    """A figure of two models and how far they are apart.

    Attributes:
        a: the figure of the first model, on the samples as they are.
        b: of the second.
        low: lower end of the interval of `b - a`; NaN where most resamples leave the figure undefined.
        high: upper end.
        better: share of the resamples in which the second model is better; ties count half.
        n: samples, or objects, that the figure is of.
    """

    a: float
    b: float
    low: float
    high: float
    better: float
    n: int

    @property
    def effect(self) -> float:
        """The second model's figure minus the first one's."""
        return self.b - self.a


def interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """Return the percentile interval of resampled values.

    Args:
        values: (R,) a figure or a difference; NaN where a resample leaves it undefined.
        confidence: 0 to 1.

    Returns:
        Lower and upper end; NaN both where most resamples leave the figure undefined.
    """
    known = values[np.isfinite(values)]
    if 2 * len(known) < max(len(values), 1):
        return np.nan, np.nan
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def effect(
    points: tuple[float, float], differences: np.ndarray, lower: bool, confidence: float, n: int
) -> Effect:
    """Summarise resampled differences.

    Args:
        points: the figure of both models on the samples as they are.
        differences: (R,) second minus first model; NaN where a resample leaves the figure undefined, such as
            that of a class without samples.
        lower: whether lower is better.
        confidence: of the percentile interval, 0 to 1.
        n: samples that the figure is of.
    """
    # What sums in another order leave behind is no difference.
    rounded = np.round(differences, 12)
    low, high = interval(rounded, confidence)
    if np.isnan(low):
        return Effect(*points, low, high, np.nan, n)
    known = rounded[np.isfinite(rounded)]
    gains = -known if lower else known
    better = float((gains > 0).mean() + (gains == 0).mean() / 2)
    return Effect(*points, low, high, better, n)


def certainty(differences: np.ndarray, lower: bool, minimum: float) -> float:
    """Return the share of the resamples in which the second model is better by more than a minimum.

    Args:
        differences: (R,) second minus first model; undefined ones (NaN) count as not better.
        lower: whether lower is better.
        minimum: in the figure's own units, 0 or more.
    """
    gains = -differences if lower else differences
    return float((gains > minimum).mean()) if len(gains) else 0.0
