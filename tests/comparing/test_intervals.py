"""Intervals of one model's figures: those of a binomial share, and where they belong."""

import numpy as np
import pandas as pd
import pytest

from cv_pipelines.comparing.intervals import intervals
from cv_pipelines.comparing.results import Results
from cv_pipelines.config.comparison import Bootstrap
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.schema import Categories, annotations_table, categories_of, samples_table
from cv_pipelines.errors import ComparisonError

COUNT, RIGHT = 400, 300


def classified(groups):
    """400 samples of two classes, the first 300 of which are right."""
    labels = np.arange(COUNT) % 2
    rows = [
        {"sample_id": f"s{i}", "split": "test", "group": groups(i), "labels": [int(labels[i])],
         "content_hash": f"{i:032x}", "width": 4, "height": 4}
        for i in range(COUNT)
    ]  # fmt: skip
    categories = Categories(labels=categories_of(["cat", "dog"]))
    data = SourceData(samples_table(rows), annotations_table([]), categories)
    guess = np.where(np.arange(COUNT) < RIGHT, labels, 1 - labels)
    table = pd.DataFrame({"sample_id": [f"s{i}" for i in range(COUNT)], "seed": 0})
    table["probabilities"] = list(np.eye(2, dtype=np.float32)[guess] * 0.8 + 0.1)
    metrics = {"task": "classification", "seeds": {"0": {}}, "values": {"accuracy": RIGHT / COUNT}}
    return Results("one", metrics, table), data


def test_an_interval_is_that_of_a_share():
    results, data = classified(lambda i: f"g{i}")
    rows = intervals(results, data, "accuracy", Bootstrap(resamples=4000, confidence=0.9))
    overall = rows[0]
    assert (overall["kind"], overall["name"], overall["n"]) == ("overall", "accuracy", COUNT)
    assert overall["value"] == 0.75
    spread = 1.645 * np.sqrt(0.75 * 0.25 / COUNT)  # the normal approximation
    assert (overall["low"], overall["high"]) == pytest.approx((0.75 - spread, 0.75 + spread), abs=0.006)
    classes = {row["name"]: row for row in rows if row["kind"] == "class"}
    assert {name: (row["value"], row["n"]) for name, row in classes.items()} == {
        "cat": (0.75, 200),
        "dog": (0.75, 200),
    }
    assert classes["cat"]["high"] - classes["cat"]["low"] > overall["high"] - overall["low"]
    assert not [row for row in rows if row["kind"] in ("group", "image size")]


def test_groups_have_rows_and_are_drawn_as_one():
    results, data = classified(lambda i: "night" if i >= RIGHT else f"day {i % 3}")
    rows = intervals(results, data, "accuracy", Bootstrap(resamples=500))
    groups = {
        row["name"]: (row["value"], row["low"], row["high"], row["n"])
        for row in rows
        if row["kind"] == "group"
    }
    assert groups["night"] == (0.0, 0.0, 0.0, 100)
    assert groups["day 0"] == (1.0, 1.0, 1.0, 100)
    assert (rows[0]["low"], rows[0]["high"]) == (0.25, 1.0)  # four groups: sometimes three times night


def test_predictions_of_other_data_are_refused():
    results, data = classified(lambda i: f"g{i}")
    with pytest.raises(ComparisonError, match="accuracy"):
        intervals(
            Results("one", results.metrics | {"values": {"accuracy": 0.9}}, results.predictions),
            data, "accuracy", Bootstrap(resamples=100),
        )  # fmt: skip
