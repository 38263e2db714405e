"""Whole comparisons: hand-worked cases, what is refused, and what is drawn together."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cv_pipelines.comparing.compare import compare
from cv_pipelines.comparing.results import Results, load
from cv_pipelines.config import Evaluate
from cv_pipelines.config.comparison import Bootstrap
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.schema import Categories, annotations_table, categories_of, samples_table
from cv_pipelines.errors import ComparisonError, ContractError
from cv_pipelines.tasks import task_class
from cv_pipelines.training.score import clean

QUICK = Bootstrap(resamples=500)


def data_of(labels, groups=None, sizes=None):
    rows = [
        {
            "sample_id": f"s{i:03d}",
            "row": i,
            "split": "test",
            "group": groups[i] if groups else f"g{i}",
            "labels": [int(label)],
            "content_hash": f"{i:032x}",
            "width": sizes[i] if sizes else 8,
            "height": 8,
        }
        for i, label in enumerate(labels)
    ]
    categories = Categories(labels=categories_of(["cat", "dog"]))
    return SourceData(samples_table(rows), annotations_table([]), categories, {}, None)


def results(name, data, right, seeds=(0,), **contract):
    """A model that is right where `right` says so, sure of itself alike everywhere."""
    labels = np.array([values[0] for values in data.samples["labels"]])
    tables, values = [], {}
    for seed, hits in zip(seeds, np.atleast_2d(right), strict=True):
        guess = np.where(hits, labels, 1 - labels)
        rows = pd.DataFrame(
            {
                "sample_id": data.samples["sample_id"],
                "probabilities": list(np.where(np.eye(2)[guess], 0.9, 0.1)),
            }
        )
        values[str(seed)] = clean(task_class("classification").score(rows, data, Evaluate()).values)
        tables.append(rows.assign(seed=seed))
    mean = {k: float(np.mean([one[k] for one in values.values()])) for k in values[str(seeds[0])]}
    metrics = {
        "experiment": name,
        "task": "classification",
        "values": mean,
        "spread": dict.fromkeys(mean, 0.0),
        "seeds": values,
        "contract": {"source": "pets", "split": "test", "n": len(labels), **contract},
    }
    return Results(name, metrics, pd.concat(tables, ignore_index=True))


def first(found, kind="overall"):
    return (found["overall"] if kind == "overall" else found["slices"][kind])[0]


LABELS = [0] * 60 + [1] * 40


def test_a_better_model_is_told_by_class_and_overall():
    data = data_of(LABELS)
    a = results("a", data, [i % 2 == 0 for i in range(100)])  # right in half of either class
    b = results("b", data, [i % 2 == 0 or i < 60 for i in range(100)])  # and in all cats
    found = compare(a, b, data, "accuracy", QUICK, minimum=0.25)
    row = first(found)
    assert (row["a"], row["b"], row["effect"], row["better"], row["n"]) == (0.5, 0.8, 0.3, 1.0, 100) or (
        row["effect"] == pytest.approx(0.3)
    )
    # the difference of a sample is 1 for 30 of 100 and else 0: a binomial share
    deviation = math.sqrt(0.3 * 0.7 / 100)
    assert (row["low"], row["high"]) == pytest.approx(
        (0.3 - 1.96 * deviation, 0.3 + 1.96 * deviation), abs=0.02
    )
    assert 0.8 < found["certain"] < 0.95
    cats, dogs = found["slices"]["class"]
    assert (cats["name"], cats["effect"], cats["n"]) == ("cat", 0.5, 60)
    assert (dogs["effect"], dogs["low"], dogs["high"], dogs["better"]) == (0.0, 0.0, 0.0, 0.5)
    assert first(compare(b, a, data, "accuracy", QUICK))["effect"] == pytest.approx(-0.3)
    assert json.dumps(clean(found))
    lower = {row["name"]: row["lower_is_better"] for row in found["overall"]}
    assert lower == {"accuracy": False, "top5_accuracy": False, "macro_f1": False, "nll": True, "ece": True}


def test_the_mean_over_the_seeds_counts():
    data = data_of(LABELS)
    none, every = [False] * 100, [True] * 100
    a = results("a", data, [none, every], seeds=(3, 1))
    b = results("b", data, every)
    found = compare(a, b, data, "accuracy", QUICK)
    assert (first(found)["a"], first(found)["b"], found["seeds"]) == (0.5, 1.0, [2, 1])


def test_an_ensemble_has_one_table():
    data = data_of(LABELS)
    a = results("a", data, [True] * 100)
    metrics = {key: value for key, value in a.metrics.items() if key != "seeds"}
    metrics["spread"] = dict.fromkeys(metrics["spread"])
    both = Results("both", metrics, a.predictions.drop(columns="seed"))
    assert first(compare(a, both, data, "accuracy", QUICK))["effect"] == 0.0


def test_subjects_are_drawn_whole_and_have_a_row_each():
    # right or wrong by subject: ten of them say little, a hundred windows would seem to say much
    groups = [f"subject {i // 10}" for i in range(100)]
    data = data_of(LABELS, groups)
    a, b = results("a", data, [True] * 100), results("b", data, [i >= 30 for i in range(100)])
    found = compare(a, b, data, "accuracy", QUICK)
    alone = compare(*(replace(one) for one in (a, b)), data_of(LABELS), "accuracy", QUICK)
    assert (found["drawn"], found["units"]) == ("groups", 10)
    assert (alone["drawn"], alone["units"]) == ("samples", 100)
    width, narrow = (first(one)["high"] - first(one)["low"] for one in (found, alone))
    assert width > 2.5 * narrow
    rows = {row["name"]: row for row in found["slices"]["group"]}
    assert (rows["subject 0"]["effect"], rows["subject 9"]["effect"], rows["subject 9"]["n"]) == (
        -1.0,
        0.0,
        10,
    )
    assert "group" not in alone["slices"]


def test_samples_of_one_group_are_drawn_by_themselves():
    data = data_of(LABELS, ["only"] * 100)
    a, b = results("a", data, [True] * 100), results("b", data, [i % 2 == 0 for i in range(100)])
    found = compare(a, b, data, "accuracy", QUICK)
    assert (found["drawn"], found["units"], found["groups"]) == ("samples", 100, 1)
    assert first(found)["low"] < -0.5 < first(found)["high"]


def test_images_of_different_sizes_are_told_apart():
    data = data_of(LABELS, sizes=[10 + i for i in range(100)])
    a, b = results("a", data, [True] * 100), results("b", data, [i < 67 for i in range(100)])
    rows = {row["name"]: row for row in compare(a, b, data, "accuracy", QUICK)["slices"]["image size"]}
    assert [round(row["effect"], 3) for row in rows.values()] == [0.0, 0.0, -1.0]
    assert sum(row["n"] for row in rows.values()) == 100


def test_other_contracts_are_refused_with_every_field_that_differs():
    data = data_of(LABELS)
    a, b = results("a", data, [True] * 100), results("b", data, [True] * 100, n=7, flip=True)
    with pytest.raises(ContractError, match=r"a and b .* 'flip': None and True; 'n': 100 and 7$"):
        compare(a, b, data, "accuracy", QUICK)


def test_what_cannot_be_compared_is_refused():
    data = data_of(LABELS)
    a, b = results("a", data, [True] * 100), results("b", data, [i < 67 for i in range(100)])
    with pytest.raises(
        ComparisonError, match="no figure 'acuracy' to compare; there are accuracy, top5_accuracy"
    ):
        compare(a, b, data, "acuracy", QUICK)
    gans = [replace(one, metrics=one.metrics | {"task": "gan"}) for one in (a, b)]
    with pytest.raises(ComparisonError, match="task 'gan' predicts no given sample"):
        compare(*gans, data, "accuracy", QUICK)
    # the data were split or labelled anew since
    with pytest.raises(
        ComparisonError, match=r"give accuracy 0.6 on the data as they are now, .* says 1; run"
    ):
        compare(a, b, data_of([0] * 100), "accuracy", QUICK)
    with pytest.raises(ComparisonError, match="a: its predictions do not fit the data"):
        compare(a, b, data_of([0] * 101), "accuracy", QUICK)


def test_results_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ComparisonError, match=r"^mine: no results .*metrics.json.*kedro run --pipeline mine"):
        load(tmp_path, "mine")
    file = tmp_path / "08_reporting/mine/metrics.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    with pytest.raises(ComparisonError, match=r"^mine: no results"):
        load(tmp_path, "mine")
