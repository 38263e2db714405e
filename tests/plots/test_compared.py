"""The page of a comparison: what it says, and that names from data are only text."""

import pytest

from cv_pipelines.plots.compared import compared_page, effects_figure, percent, verdict
from cv_pipelines.plots.theme import MUTED, RIGHT, WRONG

EVIL = "</script><b>&"


def row(name, effect, low, high, better=0.5, lower=False, n=30):
    return {
        "name": name, "a": 0.5, "b": 0.5 + (effect or 0), "effect": effect, "low": low, "high": high,
        "better": better, "n": n, "lower_is_better": lower,
    }  # fmt: skip


@pytest.fixture
def found():
    def make(effect=0.1, low=0.05, high=0.15, lower=False, units=30, groups=30):
        return {
            "a": "old", "b": EVIL, "task": "classification", "metric": "accuracy",
            "contract": {"source": "pets", "split": "test"}, "n": 30, "drawn": "groups", "units": units,
            "groups": groups, "resamples": 2000, "confidence": 0.95, "seed": 0, "minimum": 0.0,
            "certain": 0.9, "seeds": [1, 3], "spread": [0.0, 0.012],
            "overall": [row("accuracy", effect, low, high, lower=lower)],
            "slices": {"class": [row(EVIL, 0.1, 0.05, 0.2), row("dog", -0.1, -0.2, -0.05),
                                 row("cow", None, None, None)]},
        }  # fmt: skip

    return make


def test_it_says_what_was_found(found):
    assert "is better than old by accuracy" in verdict(found())
    assert "(95 % interval +0.0500 to +0.1500)" in verdict(found())
    assert "is worse than old" in verdict(found(-0.1, -0.15, -0.05))
    assert "is better than old" in verdict(found(-0.1, -0.15, -0.05, lower=True))
    assert "is not told apart from old" in verdict(found(0.1, -0.01, 0.15))
    assert "There is no accuracy to compare." in verdict(found(None, None, None))


def test_the_page_is_whole_and_escaped(found):
    page = compared_page(found())
    assert "&lt;/script&gt;&lt;b&gt;&amp; against old" in page
    assert "<b>&</b>" not in page
    assert EVIL not in page
    assert 'href="../old/report.html"' in page
    assert "B 3 (spread 0.0120)" in page
    assert "are few" not in page
    assert "9 groups are few" in compared_page(found(units=9, groups=9))
    assert "All samples are of one group" in compared_page(found(groups=1))


def test_colours_say_which_way_is_better(found):
    rows = [row("up", 0.1, 0.05, 0.2), row("down", -0.1, -0.2, -0.05), row("open", 0.1, -0.1, 0.2)]
    assert list(effects_figure(rows, "x").data[0].marker.color) == [RIGHT, MUTED, WRONG]
    lower = [row("up", 0.1, 0.05, 0.2, lower=True), row("down", -0.1, -0.2, -0.05, lower=True)]
    figure = effects_figure(lower, "x")
    assert list(figure.data[0].marker.color) == [RIGHT, WRONG]  # best on top
    assert len(figure.layout.shapes) == 3  # an interval each and the zero
    assert "no data" in str(effects_figure([row("cow", None, None, None)], "x").to_dict())
    many = effects_figure([row(str(i), i / 100, 0, 1) for i in range(60)], "x")
    assert len(many.data[0].y) == 40
    assert "40 furthest from zero of 60" in many.layout.title.subtitle.text


def test_only_what_is_certain_is_said_to_be():
    assert [percent(x) for x in (0.0, 0.0002, 0.5, 0.978, 0.99999, 1.0, None)] == [
        *("0 %", "< 0.1 %", "50 %", "97.8 %", "> 99.9 %", "100 %", "n/a")
    ]  # fmt: skip
