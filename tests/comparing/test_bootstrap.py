"""The paired bootstrap against SciPy's, and what holds for any samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cv_pipelines.comparing.bootstrap import certainty, draws, effect
from cv_pipelines.config.comparison import Bootstrap

SETTINGS = Bootstrap(resamples=20_000)


def weights(groups, settings=SETTINGS):
    return np.concatenate(list(draws(groups, settings)))


def test_the_interval_of_a_mean_is_that_of_scipy():
    rng = np.random.default_rng(7)
    a, b = rng.normal(0.7, 0.2, 60), rng.normal(0.75, 0.2, 60)
    drawn = weights(np.arange(60))
    found = effect((a.mean(), b.mean()), drawn @ (b - a) / 60, False, 0.9, 60)
    theirs = stats.bootstrap(
        (a, b), lambda x, y, axis: (y - x).mean(axis), paired=True, vectorized=True, n_resamples=20_000,
        confidence_level=0.9, method="percentile", random_state=1,
    )  # fmt: skip
    assert (found.low, found.high) == pytest.approx(theirs.confidence_interval, abs=0.002)
    assert found.better == pytest.approx((theirs.bootstrap_distribution > 0).mean(), abs=0.01)
    assert found.effect == pytest.approx((b - a).mean())


def test_groups_are_drawn_whole_as_scipy_draws_them():
    # ten subjects with means of their own: drawn sample by sample, the interval would be far too narrow
    rng = np.random.default_rng(3)
    groups = np.repeat([f"s{i}" for i in range(10)], 40)
    values = np.repeat(rng.normal(0, 1, 10), 40) + rng.normal(0, 0.1, 400)
    drawn = weights(groups)
    assert all(len(set(drawn[:50, groups == g].T.tolist()[0])) > 1 for g in set(groups))
    assert (drawn.reshape(-1, 10, 40) == drawn.reshape(-1, 10, 40)[:, :, :1]).all()
    found = effect((0, 0), (drawn @ values) / drawn.sum(axis=1), False, 0.95, 400)
    means = values.reshape(10, 40).mean(axis=1)
    theirs = stats.bootstrap((means,), np.mean, n_resamples=20_000, method="percentile", random_state=1)
    assert (found.low, found.high) == pytest.approx(theirs.confidence_interval, abs=0.03)


@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=40), st.integers(0, 5))
def test_every_resample_draws_as_many_groups_as_there_are(groups, seed):
    drawn = weights(groups, Bootstrap(resamples=100, seed=seed))
    assert drawn.shape == (100, len(groups))
    first = [groups.index(g) for g in set(groups)]
    assert (drawn[:, first].sum(axis=1) == len(first)).all()
    assert np.array_equal(drawn, weights(groups, Bootstrap(resamples=100, seed=seed)))


def test_parts_do_not_change_what_is_drawn(monkeypatch):
    whole = weights(np.arange(30), Bootstrap(resamples=100))
    monkeypatch.setattr("cv_pipelines.comparing.bootstrap.CELLS", 100)
    parts = list(draws(np.arange(30), Bootstrap(resamples=100)))
    assert len(parts) == 34
    assert np.array_equal(np.concatenate(parts), whole)


def test_lower_may_be_better_and_ties_count_half():
    differences = np.array([-1.0, -1.0, 0.0, 1.0])
    assert effect((2.0, 1.0), differences, True, 0.95, 4).better == 0.625
    assert effect((2.0, 1.0), differences, False, 0.95, 4).better == 0.375
    assert certainty(differences, True, 0.0) == 0.5
    assert certainty(differences, True, 1.0) == 0.0
    assert certainty(differences, False, 0.5) == 0.25


def test_where_most_resamples_are_undefined_there_is_no_interval():
    found = effect((0.5, 0.75), np.array([np.nan, np.nan, 0.25]), False, 0.95, 1)
    assert found.effect == 0.25
    assert np.isnan([found.low, found.high, found.better]).all()
    assert certainty(np.array([np.nan, 1.0]), False, 0.0) == 0.5
