"""The plan of an experiment: what is out of date, and in which words it is told."""

import json
import shutil
from dataclasses import replace

import pytest

from cv_pipelines.planning.experiments import EARLIER, Asked, experiment_steps
from cv_pipelines.planning.steps import Step
from cv_pipelines.training import fingerprint as fingerprints

FRESH = [Step("digits", "read_source"), Step("digits", "prepare")]


@pytest.fixture
def planned(ran, image_source, tmp_path):
    """Plans the toy experiment over a copy of its results; `change` edits the copy first."""
    config, original = ran
    folder = tmp_path / "data"
    shutil.copytree(original, folder)

    def run(data=image_source, change=None, above=None, init=None, **update):
        if change:
            change(folder)
        asked = Asked("toy", config.model_copy(update=update), data, init)
        steps = experiment_steps(asked, folder, {"source": FRESH} | (above or {}))
        return {step.name: step for step in steps}

    return run


def states(steps):
    return [steps[name].state for name in ("train_model", "predict", "score", "draw_report")]


def test_nothing_is_needed_where_nothing_has_changed(planned):
    assert states(planned()) == ["fresh"] * 4


def test_a_parameter_of_the_training_is_named_with_both_values(planned, ran):
    found = planned(train=ran[0].train.model_copy(update={"epochs": 14}))
    assert found["train_model"].reasons == ["`train.epochs` changed 1 → 14"]
    assert states(found) == ["run"] * 4
    assert found["predict"].reasons == ["toy.train_model runs"]


def test_the_scored_split_makes_predictions_anew_and_no_training(planned, ran):
    found = planned(evaluate=ran[0].evaluate.model_copy(update={"split": "val"}))
    assert states(found) == ["fresh", "run", "run", "run"]
    assert found["predict"].reasons == ['`evaluate.split` changed "test" → "val"']


def test_a_changed_test_image_makes_predictions_anew_and_no_training(planned, image_source):
    samples = image_source.samples.copy()
    samples.at[39, "content_hash"] = "other"
    found = planned(data=replace(image_source, samples=samples))
    assert states(found) == ["fresh", "run", "run", "run"]
    assert found["predict"].reasons == ["data.test changed"]


def test_a_changed_train_image_trains_anew(planned, image_source):
    samples = image_source.samples.copy()
    samples.at[0, "content_hash"] = "other"
    assert planned(data=replace(image_source, samples=samples))["train_model"].reasons == [
        "data.train changed"
    ]


def test_changed_code_and_libraries_are_named(planned, monkeypatch):
    digests = fingerprints.code_of

    def edited(*arguments):
        code, versions = digests(*arguments)
        return code | {"tasks/classification.py": "other"}, versions | {"torch": "99.0"}

    monkeypatch.setattr(fingerprints, "code_of", edited)
    told = planned()["train_model"].reasons
    assert told[0] == "code of tasks/classification.py changed"
    assert told[1].startswith("torch ")
    assert told[1].endswith(" → 99.0")


def test_seeds_that_are_asked_for_and_those_that_are_not(planned, ran):
    found = planned(train=ran[0].train.model_copy(update={"seeds": [1, 2]}))
    assert found["train_model"].reasons == [
        "seed 1 is not trained yet",
        "seed 2 is not trained yet",
        "seed 0 is not asked for any more",
    ]


def test_what_a_source_may_change_may_run(planned):
    source = [Step("digits", "read_source", state="run"), Step("digits", "prepare", state="maybe")]
    found = planned(above={"source": source})
    assert states(found) == ["maybe"] * 4
    assert found["train_model"].reasons == [
        "if digits.read_source gives something else",
        "if digits.prepare gives something else",
    ]


def test_what_a_source_lacks_cannot_run(planned):
    source = [Step("digits", "read_source", state="missing"), Step("digits", "prepare", state="missing")]
    assert states(planned(above={"source": source})) == ["missing"] * 4


def test_an_experiment_whose_start_is_trained_anew_runs(planned):
    found = planned(above={"init": [Step("small", "train_model", state="run")]})
    assert found["train_model"].reasons == ["small.train_model runs"]


def test_without_prepared_data_the_rest_is_compared(planned, ran):
    assert planned(data=None)["train_model"].state == "fresh"
    found = planned(data=None, train=ran[0].train.model_copy(update={"epochs": 14}))
    assert found["train_model"].reasons == ["`train.epochs` changed 1 → 14"]


@pytest.mark.parametrize(
    ("gone", "expected", "told"),
    [
        ("06_models/toy/checkpoint", ["run"] * 4, "not trained yet"),
        (
            "07_model_output/toy/predictions.parquet",
            ["fresh", "run", "run", "run"],
            "nothing is predicted yet",
        ),
        ("08_reporting/toy/metrics.json", ["fresh", "run", "run", "run"], "not scored yet"),
        ("08_reporting/toy/report.html", ["fresh", "fresh", "fresh", "run"], "report.html is gone"),
    ],
)
def test_what_is_gone_is_made_again(planned, gone, expected, told):
    def remove(folder):
        path = folder / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    found = planned(change=remove)
    assert states(found) == expected
    assert next(step for step in found.values() if step.state == "run").reasons == [told]


def test_results_of_an_earlier_version_are_told_as_such(planned):
    def forget(folder):
        file = folder / "06_models/toy/checkpoint/seed_0/model.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"provenance": None}))

    assert planned(change=forget)["train_model"].reasons == [EARLIER]


def test_scores_of_another_training_are_told_as_such(planned):
    def of_another(folder):
        file = folder / "08_reporting/toy/metrics.json"
        metrics = json.loads(file.read_text())
        metrics["provenance"]["parameters"]["train.epochs"] = 7
        file.write_text(json.dumps(metrics))

    found = planned(change=of_another)
    assert states(found) == ["fresh", "run", "run", "run"]
    assert found["predict"].reasons == ["the scores are of another training"]


def test_planning_writes_nothing(planned, tmp_path):
    def listing():
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    before = listing()
    planned()
    assert listing() == before
