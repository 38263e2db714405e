"""The figures of an epoch: means over samples, sums, and what a state keeps of them."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cv_pipelines.tasks.figures import EpochFigures

STEPS = st.lists(st.tuples(st.floats(-100, 100, width=32), st.integers(1, 64)), min_size=1, max_size=20)


def summed(steps, figures=None):
    figures = figures or EpochFigures()
    for value, samples in steps:
        figures.add("loss", torch.tensor(value), samples)
    return figures


@given(STEPS)
def test_a_mean_is_one_over_samples(steps):
    values, samples = zip(*steps, strict=True)
    expected = np.average(values, weights=samples)
    assert summed(steps).close() == {"loss": pytest.approx(expected, abs=1e-3)}


@given(STEPS, STEPS)
def test_what_is_kept_goes_on_to_the_last_bit(before, after):
    whole = summed(before + after).close()
    cut = EpochFigures()
    cut.sums = copy.deepcopy(summed(before).kept())
    assert summed(after, cut).close() == whole


def test_sums_stay_sums_and_an_epoch_starts_anew():
    figures = EpochFigures()
    for count in (2.0, 0.0, 3.0):
        figures.add("dropped", torch.tensor(count), None)
    assert figures.close() == {"dropped": 5.0}
    assert figures.close() == {}


def test_half_precision_is_summed_in_float32():
    figures = EpochFigures()
    for _ in range(1000):
        figures.add("loss", torch.tensor(1.0, dtype=torch.bfloat16, requires_grad=True), 1)
    assert figures.close() == {"loss": 1.0}
