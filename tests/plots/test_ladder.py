"""The leaderboard of a group: what is ranked with what, and in which order."""

import re

import pytest

from cv_pipelines.plots.ladder import Rung, ladder_sections, score_by_time

CONTRACT = {"source": "sample_coco", "split": "test", "n": 80, "protocol": "coco"}


def rung(label, score=0.9, values=None, costs=None, seconds=90.0, name="map_50", **contract):
    found = {
        "model": label,
        "year": 2015,
        "novelty": f"What <{label}> brought.",
        "parameters": 7_240_000,
        "megabytes": 29.0,
        "gigaflops": 1.5,
        "milliseconds": 12.0,
        "device": "cpu",
        "threads": 1,
    }
    metrics = {"values": {name: score, **(values or {})}, "seconds": seconds, "contract": CONTRACT | contract}
    return Rung(f"ladder_{label}", label, metrics, name, found | (costs or {}))


def rows(section):
    return [
        [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<td.*?</td>", row)]
        for row in re.findall(r"<tr>(<td.*?)</tr>", section.body)
    ]


def headings(section):
    return re.findall(r"<th>(.*?)</th>", section.body)


def test_the_best_comes_first_with_all_that_it_costs():
    (section,) = ladder_sections([rung("a", 0.5), rung("b", 0.9, values={"map": 0.7})])
    assert headings(section) == [
        *("model", "map_50", "map", "training", "ms / sample", "GFLOPs", "parameters", "MB", "year"),
        "what was new",
    ]
    first, second = rows(section)
    assert first == [
        *("b", "0.9000", "0.7000", "1 min 30 s", "12.0", "1.50", "7.24 M", "29.0", "2015"),
        "What &lt;b&gt; brought.",
    ]
    assert second[:3] == ["a", "0.5000", "n/a"]
    assert '<a href="../ladder_b/report.html">b</a>' in section.body
    assert "80 samples" in section.text


def test_of_an_error_the_lowest_comes_first():
    errors = [rung("a", 0.9, name="mse"), rung("b", 0.5, name="mse"), rung("c", None, name="mse")]
    (section,) = ladder_sections(errors)
    assert [row[0] for row in rows(section)] == ["b", "a", "c"]


def test_times_sort_by_seconds_and_not_by_their_words():
    (section,) = ladder_sections([rung("a", seconds=7500.0), rung("b", seconds=59.0)])
    assert re.findall(r'data-key="(\d+)">(?:2 h 05 min|59.0 s)<', section.body) == ["7500", "59"]


def test_what_was_scored_otherwise_stands_apart():
    sections = ladder_sections([rung("a"), rung("b", split="val"), rung("c", masks="80 of 80 images")])
    assert [[row[0] for row in rows(one)] for one in sections] == [["a", "c"], ["b"]]
    assert [one.heading for one in sections] == ["Leaderboard 1", "Leaderboard 2"]
    assert sum(one.body.count("<script>") for one in sections) == 1


def test_models_without_a_method_have_no_column_of_years():
    (section,) = ladder_sections([rung("a", costs={"year": None, "novelty": None})])
    assert headings(section)[-1] == "MB"


def test_the_chart_has_a_mark_a_model_at_its_time_and_score():
    figure = score_by_time(
        [rung("a", 0.5, costs={"milliseconds": 3.0}), rung("b", costs={"megabytes": 116.0})]
    )
    assert [(trace.x[0], trace.y[0]) for trace in figure.data] == [(3.0, 0.5), (12.0, 0.9)]
    one, other = (trace.marker.size - 10 for trace in figure.data)
    assert other / one == pytest.approx(2.0)  # four times the weights, four times the area
    assert figure.layout.xaxis.type == "log"


def test_models_that_predict_no_sample_stand_at_their_training_time():
    figure = score_by_time([rung("a", costs={"milliseconds": None, "gigaflops": None}), rung("b")])
    assert [trace.x[0] for trace in figure.data] == [90.0, 90.0]
    (section,) = ladder_sections([rung("a", costs={"milliseconds": None, "gigaflops": None})])
    assert rows(section)[0][3:5] == ["n/a", "n/a"]


def test_no_models_give_no_section():
    assert ladder_sections([]) == []
