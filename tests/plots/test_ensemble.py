"""The report of an ensemble: what it says of itself and of its members."""

import pytest

from cv_pipelines.plots.ensemble import members_figure, members_table, verdict
from cv_pipelines.plots.theme import COLORS


@pytest.fixture
def metrics():
    def make(value=0.95, score="accuracy", one=(0.9, 0.94), two=(0.92,)):
        def member(values, weight):
            mean = sum(values) / len(values)
            seeds = {str(seed): {score: v, "nll": 0.5} for seed, v in enumerate(values)}
            values = {score: mean, "nll": 0.5, "iou/sky": 0.1}
            return {"weight": weight, "values": values, "spread": {score: 0.028, "nll": 0.0}, "seeds": seeds}

        return {
            "experiment": "both",
            "task": "classification",
            "values": {score: value, "nll": 0.4, "iou/sky": 0.2},
            "spread": {score: None, "nll": None},
            "members": {"one": member(one, 1.0), "two<b>": member(two, 2.5)},
            "contract": {"source": "digits", "n": 1234},
            "seconds": 3.0,
        }

    return make


def test_it_says_how_far_it_is_from_the_mean_and_the_best_of_all_models(metrics):
    text = verdict(metrics(), "accuracy")
    # models: 0.90, 0.94 and 0.92
    assert "accuracy is 0.9500: 0.0300 better than the mean of its models (0.9200)" in text
    assert "0.0100 better than the best of them (one, seed 1: 0.9400)" in text
    assert "1,234 samples" in text


def test_it_says_when_it_is_worse_or_the_same(metrics):
    text = verdict(metrics(value=0.93, two=(0.95,)), "accuracy")
    assert "0.0200 worse than the best of them (two<b>: 0.9500)" in text
    assert "0.0000 better" not in text
    assert "the same as the best of them" in verdict(metrics(value=0.94), "accuracy")


def test_lower_may_be_better(metrics):
    text = verdict(metrics(0.3, "mse", one=(0.5, 0.4), two=(0.2,)), "mse")
    assert "better than the mean of its models" in text
    assert "0.1000 worse than the best of them (two<b>: 0.2000)" in text


def test_without_scores_there_is_nothing_to_say(metrics):
    assert verdict(metrics(value=None), "accuracy") == "There is no accuracy to compare."
    nothing = metrics(value=None, one=(0.5,), two=(0.5,))
    for member in nothing["members"].values():
        member["values"]["accuracy"] = None
    assert "no data" in str(members_figure(nothing, "accuracy").to_dict())
    assert "n/a" in members_table(nothing, "accuracy")


def test_the_table_ranks_and_links_and_escapes(metrics):
    page = members_table(metrics(), "accuracy")
    assert page.index("the ensemble") < page.index("one/report.html")
    assert '<a href="../one/report.html">one</a>' in page
    assert "two&lt;b&gt;" in page
    assert "two<b>" not in page
    assert "0.0280" in page  # the spread of the member with two seeds
    assert page.count("n/a") == 0
    assert "iou/sky" not in page
    worse = members_table(metrics(value=0.1), "accuracy")
    assert worse.index("one/report.html") < worse.index("the ensemble")


def test_a_spread_has_a_column_only_where_there_are_several_seeds(metrics):
    assert "over seeds" in members_table(metrics(), "accuracy")
    assert "over seeds" not in members_table(metrics(one=(0.9,)), "accuracy")


def test_the_figure_has_a_bar_a_predictor_and_a_point_a_model(metrics):
    figure = members_figure(metrics(two=(0.91,)), "accuracy")
    bars, points = figure.data
    assert list(bars.x) == pytest.approx([0.95, 0.92, 0.91])
    assert list(bars.marker.color) == [COLORS[1], COLORS[0], COLORS[0]]
    assert figure.layout.yaxis.ticktext == ("ensemble", "one", "two&lt;b&gt;")
    assert sorted(zip(points.y, points.x, strict=True)) == [
        (0, 0.95),
        (1, pytest.approx(0.9)),
        (1, pytest.approx(0.94)),
        (2, pytest.approx(0.91)),
    ]
    assert figure.layout.xaxis.range[0] == 0  # bars begin at zero
