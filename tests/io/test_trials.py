"""A study in MLflow: a run of its own, and a child each trial."""

import json

import pytest

from cv_pipelines.io.tracking import Tracker, TrackingConfig
from cv_pipelines.io.trials import TrialRuns

STUDY = {"experiment": "toy", "trials": 3, "space": {"train.optimizer.lr": {"low": 0.1, "high": 1.0}}}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose tracking database is made once."""
    return tmp_path_factory.mktemp("project")


@pytest.fixture
def begin(project, tmp_path, request, monkeypatch):
    """Starts what a `kedro run` of a study starts; returns tracker and watcher."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def start(study="search", identity="a1"):
        config = TrackingConfig(tracking_uri="sqlite:///mlflow.db", experiment=request.node.name)
        tracker = Tracker(config, project, pause=60)
        tracker.begin(study, [study], {study: tmp_path / "models" / study / "work"})
        tracker.start(study, STUDY, tags={"cv_pipelines.kind": "study"})
        watcher = TrialRuns(tracker, study)
        watcher.opened(identity)
        return tracker, watcher

    return start


def runs(tracker):
    found = tracker.client.search_runs([tracker.experiment_id])
    named = {run.info.run_name: run for run in found}
    assert len(named) == len(found)
    return named


def trial(watcher, number, state="complete", value=0.5, reason=None):
    work = watcher.tracker.works[watcher.study] / f"trial_{number}"
    watcher.started(number, {"task": "t", "train": {"optimizer": {"lr": number}, "seeds": [0]}}, work)
    (work / "seed_0").mkdir(parents=True)
    rows = [{"seed": 0, "epoch": epoch, "name": "val_accuracy", "value": epoch / 10} for epoch in range(2)]
    (work / "seed_0" / "live.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    watcher.ended(number, state, value, reason)


def test_trials_are_children_with_parameters_curve_and_the_right_end(begin):
    tracker, watcher = begin()
    trial(watcher, 0)
    trial(watcher, 1, "pruned", 0.1)
    trial(watcher, 2, "failed", None, "NotFiniteError: the loss is nan")
    watcher.decided(0, 0.5)
    tracker.end_all("FINISHED")
    found = runs(tracker)
    status = {name: run.info.status for name, run in found.items()}
    assert status == {
        "search": "FINISHED",
        "search_trial_0": "FINISHED",
        "search_trial_1": "KILLED",
        "search_trial_2": "FAILED",
    }
    parent = found.pop("search")
    assert {run.data.tags["mlflow.parentRunId"] for run in found.values()} == {parent.info.run_id}
    assert {run.data.tags["cv_pipelines.kind"] for run in found.values()} == {"trial"}
    assert parent.data.tags["cv_pipelines.kind"] == "study"
    assert (parent.data.metrics["best_objective"], parent.data.tags["cv_pipelines.best_trial"]) == (0.5, "0")
    first = found["search_trial_0"]
    assert first.data.params["train.optimizer.lr"] == "0"
    assert first.data.metrics["objective"] == 0.5
    curve = tracker.client.get_metric_history(first.info.run_id, "val_accuracy")
    assert [(point.step, point.value) for point in curve] == [(0, 0.0), (1, 0.1)]
    assert found["search_trial_2"].data.tags["cv_pipelines.reason"] == "NotFiniteError: the loss is nan"
    assert found["search_trial_1"].data.tags["cv_pipelines.trial_state"] == "pruned"
    assert {n: run.data.tags.get("cv_pipelines.best") for n, run in found.items()} == {
        "search_trial_0": "true",
        "search_trial_1": None,
        "search_trial_2": None,
    }


def test_a_study_that_goes_on_has_one_run_and_one_winner(begin):
    tracker, watcher = begin()
    trial(watcher, 0)
    watcher.decided(0, 0.5)
    tracker.end_all("FINISHED")
    other, elsewhere = begin("other", "b2")  # another study: its winner is its own
    trial(elsewhere, 0)
    elsewhere.decided(0, 0.5)
    other.end_all("FINISHED")
    tracker, watcher = begin()
    trial(watcher, 1, value=0.9)
    watcher.decided(1, 0.9)
    tracker.end_all("FINISHED")
    found = runs(tracker)
    best = {name for name, run in found.items() if run.data.tags.get("cv_pipelines.best")}
    assert best == {"search_trial_1", "other_trial_0"}
    parent = found["search"].info.run_id
    assert found["search_trial_1"].data.tags["mlflow.parentRunId"] == parent
    points = tracker.client.get_metric_history(parent, "objective")
    assert [(point.step, point.value) for point in points] == [(0, 0.5), (1, 0.9)]


def test_the_run_of_an_interrupted_trial_goes_on(begin):
    tracker, watcher = begin()
    parameters = {"task": "t", "train": {"seeds": [0]}}
    work = tracker.works["search"] / "trial_0"
    watcher.started(0, parameters, work)
    tracker.end_all("KILLED")
    assert {run.info.status for run in runs(tracker).values()} == {"KILLED"}
    tracker, watcher = begin()
    watcher.started(0, parameters, work)
    watcher.ended(0, "complete", 0.5, None)
    tracker.end_all("FINISHED")
    assert {run.info.status for run in runs(tracker).values()} == {"FINISHED"}
