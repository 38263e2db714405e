"""Whether two results are the same, figure by figure."""

import pytest

from cv_pipelines.provenance import Provenance
from cv_pipelines.reproduction.compare import compared, told_apart, tolerance_of


def metrics(device="cpu", seeds=None, **values):
    return {"values": values, "seeds": seeds or {}, "device": device}


@pytest.mark.parametrize(
    ("then", "now", "tolerance", "passed"),
    [
        (0.5, 0.5, 0.0, True),
        (0.5, 0.5 + 1e-12, 0.0, False),
        (0.5, 0.509, 0.01, True),
        (0.5, 0.511, 0.01, False),
        (200.0, 201.9, 0.01, True),
        (200.0, 202.1, 0.01, False),
        (None, None, 0.0, True),
        (None, 0.5, 1.0, False),
        (0.5, None, 1.0, False),
    ],
)
def test_a_figure_passes_within_the_tolerance(then, now, tolerance, passed):
    (row,) = compared(metrics(accuracy=then), metrics(accuracy=now), tolerance)
    assert row["passed"] is passed
    assert row["difference"] == (None if None in {then, now} else now - then)


def test_figures_that_only_one_has_differ():
    rows = compared(metrics(a=1.0), metrics(b=1.0), 1.0)
    assert [(row["name"], row["passed"]) for row in rows] == [("a", False), ("b", False)]


def test_every_seed_is_compared():
    one = metrics(a=0.5, seeds={"0": {"a": 0.4}, "1": {"a": 0.6}})
    other = metrics(a=0.5, seeds={"0": {"a": 0.6}, "1": {"a": 0.4}})
    rows = {row["name"]: row["passed"] for row in compared(one, other, 0.0)}
    assert rows == {"a": True, "seed 0: a": False, "seed 1: a": False}


def test_only_results_of_cpus_have_to_be_the_same_to_the_last_bit():
    assert tolerance_of(metrics(), metrics()) == 0.0
    assert tolerance_of(metrics(), metrics("GPU")) == tolerance_of(metrics("GPU"), metrics()) == 0.01


def test_what_differs_is_told():
    then, now = Provenance(versions={"torch": "2.14"}), Provenance(versions={"torch": "2.15"})
    known = [{"provenance": one.model_dump()} for one in (then, now)]
    assert told_apart(*known) == ["torch 2.14 → 2.15"]
    assert told_apart(known[0], {}) == ["what one of them was made from was not noted"]
