"""The page that shows trainings beside each other."""

import math

import pandas as pd
import pytest

from cv_pipelines.plots.comparison import Run, comparison_page, panel, rates_page
from cv_pipelines.plots.theme import COLORS


@pytest.fixture
def run():
    def make(label, seeds=(0,), epochs=3, accuracy=0.9):
        rows = [
            (seed, epoch, name, value + seed)
            for seed in seeds
            for epoch in range(epochs)
            for name, value in (("train_loss", 2.0 - epoch / 10), ("val_accuracy", 0.5 + epoch / 10))
        ]
        history = pd.DataFrame(rows, columns=["seed", "epoch", "name", "value"])
        metrics = {
            "values": {"accuracy": accuracy},
            "contract": {"source": "digits", "split": "test", "n": 360},
            "seconds": 1.5,
        }
        costs = {
            "model": "residual_cnn",
            "year": None,
            "novelty": None,
            "parameters": 1000,
            "megabytes": 0.004,
            "gigaflops": 0.01,
            "milliseconds": 2.0,
            "device": "cpu",
            "threads": 1,
        }
        return Run(f"craft_{label}", label, history, metrics, "accuracy", costs)

    return make


def test_a_panel_has_two_lines_a_run_in_one_colour_and_one_entry_of_the_legend(run):
    figure = panel("Optimisers", [run("SGD"), run("Adam", seeds=(0, 2))])
    assert [trace.name for trace in figure.data] == ["SGD", "SGD", "Adam", "Adam"]
    assert [trace.line.color for trace in figure.data] == [COLORS[0]] * 2 + [COLORS[1]] * 2
    assert [trace.showlegend for trace in figure.data] == [True, False] * 2
    assert list(figure.data[0].y) == pytest.approx([2.0, 1.9, 1.8])
    assert list(figure.data[3].y) == pytest.approx([1.5, 1.6, 1.7])  # the mean over seeds


def test_the_first_steps_do_not_flatten_the_scores_that_come_after(run):
    long = run("long", epochs=8)
    low, high = panel("x", [long]).layout.yaxis2.range
    assert 0.6 < low < 0.7  # the score of epoch 2 is 0.7
    assert 1.2 < high < 1.3


def test_many_runs_are_told_apart(run):
    figure = panel("Many", [run(str(i)) for i in range(11)])
    looks = {(t.line.color, t.line.dash) for t in figure.data}
    assert len(looks) == 11


def test_a_loss_that_was_lost_leaves_a_gap(run):
    broken = run("broken")
    broken.history.loc[broken.history["name"] == "train_loss", "value"] = math.inf
    assert list(panel("x", [broken]).data[0].y) == [None] * 3
    assert "no data" in str(panel("x", []).to_dict())


def test_the_page_ranks_the_runs_of_a_panel_and_links_their_reports(run):
    page = comparison_page("craft", {"Optimisers": [run("SGD<b>", accuracy=0.8), run("Adam", accuracy=0.95)]})
    assert page.index(">Adam<") < page.index("SGD&lt;b&gt;")
    assert '<a href="../craft_Adam/report.html">craft_Adam</a>' in page
    assert "2 trainings" in page
    assert "0.9500" in page
    assert "SGD<b>" not in page.split("<script>")[0]


def test_the_search_for_a_rate_says_what_it_found():
    assert "most steeply at 0.010" in rates_page("x", [1e-3, 1e-2, 1e-1], [2.0, 1.0, 3.0], 0.01)
    assert "never falls" in rates_page("x", [1e-3], [2.0], None)
