"""A search from its first trial to its last: what it draws, how trials end, what a second process does."""

import json
import logging
import statistics
import subprocess
import sys
import time
from dataclasses import replace

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.errors import ConfigError, StudyError
from cv_pipelines.training import callbacks
from cv_pipelines.training.fit import Job, fit
from cv_pipelines.tuning import search as module
from cv_pipelines.tuning import storage, workers
from cv_pipelines.tuning.search import Search
from cv_pipelines.tuning.space import with_values
from cv_pipelines.tuning.tables import summary, trials_table
from cv_pipelines.tuning.watch import Watcher

LR = "train.optimizer.lr"
AUTOENCODER = {"task": "autoencoder", "model": {"name": "conv_autoencoder", "channels": [4], "code": 2}}
RESULTS = ["number", "state", "value", "epochs", "params", "curve"]


class Notes(Watcher):
    def __init__(self):
        self.told = []

    def started(self, number, parameters, folder):
        self.told.append(("started", number))

    def ended(self, number, state, value, reason):
        self.told.append((state, number))

    def decided(self, number, value):
        self.told.append(("decided", number))


def results(table):
    return table[RESULTS]


def test_a_study_has_its_trials_and_tells_the_best(plan, searched, trainings):
    notes = Notes()
    table = searched(plan(), notes)
    assert table["number"].tolist() == [0, 1, 2]
    assert set(table["state"]) == {"complete"}
    assert table[LR].nunique() == 3
    assert table[LR].between(0.001, 0.02).all()
    assert table["worker"].tolist() == [workers.worker()] * 3
    assert len(trainings) == 3
    best = int(table["number"][table["value"].idxmax()])
    assert notes.told == [(kind, n) for n in range(3) for kind in ("started", "complete")] + [
        ("decided", best)
    ]


def test_trial_0_is_the_experiment_itself_where_it_lies_in_the_space(plan, searched):
    assert searched(plan(trials=1))[LR].tolist() == [0.003]


@pytest.mark.slow
@pytest.mark.parametrize("low", [0.004, 0.001])
def test_a_trial_trains_what_its_parameters_say_to_the_last_bit(plan, searched, low, tmp_path):
    """The winner, trained as an experiment of its own, has the figure that the study saw."""
    given = plan(
        space={LR: {"low": low, "high": 0.02}, "model.channels": [[4], [4, 8]]}, train={"seeds": [0, 1]}
    )
    table = searched(given)
    row = table.loc[table["value"].idxmax()]
    values = {LR: row[LR], "model.channels": json.loads(row["model.channels"])}
    config = ExperimentConfig.model_validate(with_values(given.parameters, values))
    _, history = fit(Job("again", config, given.job.data, tmp_path / "again"))
    curves = history[history["name"] == "val_accuracy"].groupby("seed")["value"]
    assert row["value"] == statistics.fmean(curves.max())
    assert json.loads(row["curve"]) == {str(i + 1): v for i, v in enumerate(curves.get_group(0))}


def test_the_last_figure_counts_where_the_last_weights_are_kept(plan, searched):
    row = searched(plan(trials=1, train={"select": "last", "epochs": 3})).iloc[0]
    assert row["value"] == json.loads(row["curve"])["3"]


def test_a_second_run_does_nothing_and_more_trials_go_on(plan, searched, trainings):
    first = searched(plan())
    pd.testing.assert_frame_equal(searched(plan()), first)
    assert len(trainings) == 3
    more = searched(plan(trials=4))
    pd.testing.assert_frame_equal(more.iloc[:3], first)
    assert len(more) == len(trainings) == 4


def test_draws_depend_on_seed_and_number_alone(plan, searched, tmp_path):
    one, two = (searched(plan(folder=tmp_path / name)) for name in "ab")
    pd.testing.assert_frame_equal(results(one), results(two))
    other = searched(plan(folder=tmp_path / "c", seed=1))
    assert other[LR].iloc[1] != one[LR].iloc[1]


@pytest.mark.slow
def test_a_grid_has_every_combination_once(plan, searched, tmp_path):
    grid = {
        "sampler": "grid",
        "space": {LR: [0.001, 0.01], "train.batch_size": {"low": 4, "high": 8, "step": 4}},
    }
    table = searched(plan(trials=None, **grid))
    assert sorted(zip(table[LR], table["train.batch_size"], strict=True)) == [
        *((0.001, 4), (0.001, 8), (0.01, 4), (0.01, 8))
    ]
    part = searched(plan(trials=3, folder=tmp_path / "part", **grid))
    pd.testing.assert_frame_equal(results(part), results(table).iloc[:3])


def test_the_same_parameters_are_trained_once(plan, searched, trainings):
    table = searched(plan(space={"train.batch_size": [8]}))
    assert len(trainings) == 1
    assert table["value"].nunique() == 1
    assert table["same_as"].tolist() == [pd.NA, 0, 0]


@pytest.mark.parametrize("sampler", ["random", pytest.param("tpe", marks=pytest.mark.slow)])
def test_hyperband_ends_bad_trials_early(plan, searched, sampler):
    notes = Notes()
    given = plan(
        trials=8,
        sampler=sampler,
        pruner={"name": "hyperband", "factor": 2},
        space={LR: {"low": 1.0e-7, "high": 0.02, "log": True}},
        train={"epochs": 4},
        sections=AUTOENCODER,
    )
    table = searched(given, notes)
    assert (
        table["value"].idxmin() in table.index[table["state"] == "complete"]
    )  # the lowest error is the best
    assert ("decided", table["number"][table["value"].idxmin()]) == notes.told[-1]
    pruned, complete = (table[table["state"] == state] for state in ("pruned", "complete"))
    assert len(pruned)
    assert (pruned["epochs"] < 4).all()
    assert (complete["epochs"] == 4).all()
    for row in pruned.to_dict("records"):
        assert row["value"] == list(json.loads(row["curve"]).values())[-1]
    assert not list(given.job.folder.glob("trial_*"))
    assert {("pruned", n) for n in pruned["number"]} <= set(notes.told)


def test_without_a_pruner_every_trial_comes_to_its_end(plan, searched):
    table = searched(plan(space={LR: {"low": 1.0e-7, "high": 0.02, "log": True}}))
    assert table["epochs"].tolist() == [2] * 3


def test_a_training_that_fails_says_why_and_the_study_goes_on(plan, searched):
    notes = Notes()
    table = searched(plan(sampler="grid", trials=None, space={LR: [0.003, 1.0e30, 0.004]}), notes)
    states = dict(zip(table[LR], table["state"], strict=True))
    assert states == {0.003: "complete", 1.0e30: "failed", 0.004: "complete"}
    (failed,) = table[table["state"] == "failed"].to_dict("records")
    assert failed["reason"].startswith("NotFiniteError: the loss is nan")
    assert pd.isna(failed["value"])
    assert ("failed", failed["number"]) in notes.told


def test_memory_that_runs_out_fails_the_trial_alone(plan, searched, monkeypatch):
    def full(job, **options):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(module, "fit", full)
    with pytest.raises(StudyError, match="no trial came to its end; the last one: RuntimeError: CUDA out of"):
        searched(plan(trials=1))


def test_many_failures_in_a_row_stop_the_study(plan, searched, trainings):
    broken = {"low": 1.0e29, "high": 1.0e30}
    with pytest.raises(
        StudyError, match=r"toy_study: 2 trials failed in a row, the last one: NotFiniteError"
    ):
        searched(plan(trials=9, failures=2, space={LR: broken}))
    assert len(trainings) == 2


def test_a_source_without_validation_is_refused(plan, sources, trainings):
    data = sources["classification"]
    alone = replace(data, samples=data.samples[data.samples["split"] != "val"])
    with pytest.raises(ConfigError, match="no validation split to judge by"):
        Search(plan(data=alone), Watcher())


def test_the_test_split_is_never_looked_at(plan, searched, sources):
    data = sources["classification"]
    without = replace(data, samples=data.samples[data.samples["split"] != "test"])
    assert searched(plan(data=without, trials=1))["state"].tolist() == ["complete"]


def test_a_study_of_other_parameters_or_data_is_refused(plan, searched, sources):
    searched(plan(trials=1))
    with pytest.raises(StudyError, match=r"other parameters or data: .*train\.epochs \(was 2, is 3\)"):
        Search(plan(trials=1, train={"epochs": 3}), Watcher())
    with pytest.raises(StudyError, match=r"space\.train\.optimizer\.lr"):
        Search(plan(space={LR: [0.01]}), Watcher())
    data = sources["classification"]
    other = replace(data, samples=data.samples.assign(content_hash="0" * 32))
    with pytest.raises(StudyError, match="data and start"):
        Search(plan(data=other), Watcher())
    searched(plan(trials=1, train={"workers": 0, "checkpoint_every": None}))  # changes no result


def dead():
    """The name of a process of this machine that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return f"{workers.socket.gethostname()}:{process.pid}"


@pytest.fixture
def killed(monkeypatch):
    """Runs a plan in a process, as it were, that dies in a trial's training: nothing is tidied up."""

    def run(plan, trial, epoch, name):
        search = Search(plan, Watcher())

        def cut(self, trainer, pl_module, outputs, batch, batch_idx):
            if plan.job.folder.joinpath(f"trial_{trial}").exists() and trainer.current_epoch == epoch:
                raise SystemExit

        with monkeypatch.context() as patch:
            patch.setattr(callbacks.FiniteGuard, "on_train_batch_end", cut)
            for place in (module, storage):
                patch.setattr(place, "worker", lambda: name)
            with pytest.raises(SystemExit):
                search.run()

    return run


@pytest.mark.slow
def test_a_killed_study_ends_as_an_undisturbed_one(plan, searched, killed, tmp_path, caplog, trainings):
    how = {"trials": 5, "sampler": {"name": "tpe", "startup": 2}}
    how |= {"pruner": {"name": "hyperband", "factor": 2}, "train": {"epochs": 3, "checkpoint_every": 1}}
    whole = searched(plan(folder=tmp_path / "whole", **how))
    trainings.clear()
    broken = plan(folder=tmp_path / "broken", **how)
    killed(broken, 2, 1, dead())
    assert (broken.job.folder / "trial_2").exists()
    with caplog.at_level(logging.INFO):
        again = searched(broken)
    pd.testing.assert_frame_equal(results(again), results(whole))
    assert "trial 2 was left by" in caplog.text
    assert "taking up the interrupted training" in caplog.text
    assert [name.rsplit("_", 1)[1] for name in trainings] == ["0", "1", "2", "2", "3", "4"]


def test_a_trial_that_runs_elsewhere_is_left_alone_until_it_is_lost(plan, searched, killed, caplog):
    given = plan(trials=2, lost_after=600)
    killed(given, 1, 0, "elsewhere:1")
    with caplog.at_level(logging.INFO):
        assert searched(given)["number"].tolist() == [0]
    assert "trial 1 still runs on elsewhere:1" in caplog.text
    time.sleep(1.1)
    assert searched(plan(trials=2, lost_after=1))["number"].tolist() == [0, 1]


def test_signs_of_life_are_given_while_a_trial_runs(plan):
    search = Search(plan(), Watcher())
    trial = search.study.ask()

    def seen():
        return search.study.get_trials()[0].user_attrs["seen"]

    with storage.signs_of_life(search.storage, trial._trial_id, 1):
        first = seen()
        time.sleep(0.5)
        assert seen() > first
    last = seen()
    time.sleep(0.3)
    assert seen() == last


def test_a_process_that_was_taken_for_dead_leaves_its_trial_to_the_other(plan, monkeypatch, caplog):
    search, notes = Search(plan(trials=1), Watcher()), Notes()
    search.watcher = notes

    def slow(job, **options):
        (trial,) = search.study.get_trials()
        search.storage.set_trial_user_attr(trial._trial_id, "worker", "elsewhere:1")
        return fit(job, **options)

    monkeypatch.setattr(module, "fit", slow)
    with pytest.raises(StudyError, match="no trial came to its end"):
        search.run()
    assert "given to another process" in caplog.text
    (trial,) = search.study.get_trials()
    assert trial.state == TrialState.RUNNING
    assert notes.told == [("started", 0)]


def test_the_count_holds_where_another_process_was_faster(plan, monkeypatch, trainings):
    search = Search(plan(trials=2), Watcher())
    distributions = module.distributions

    def meanwhile(space):
        if len(search.study.get_trials(deepcopy=False)) == 1:
            search.study.ask(distributions(space))  # the other process's trial, the last one
        return distributions(space)

    monkeypatch.setattr(module, "distributions", meanwhile)
    search.run()
    states = [trial.state for trial in search.study.get_trials()]
    assert states == [TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING]
    assert len(trainings) == 1
    assert trials_table(search)["number"].tolist() == [0]
    assert summary(search)["states"] == {"complete": 1, "running": 1}


def test_a_storage_that_fails_is_no_failure_of_a_trial(plan, monkeypatch):
    search = Search(plan(), Watcher())

    def broken(self, value, step):
        raise optuna.exceptions.StorageInternalError("gone")

    monkeypatch.setattr(optuna.Trial, "report", broken)
    with pytest.raises(StudyError, match="the storage fails: gone"):
        search.run()
    assert search.study.get_trials()[0].state == TrialState.RUNNING


def test_a_storage_that_cannot_be_opened_is_told_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "ATTEMPTS", 1)
    (tmp_path / "file").write_text("no database, whatever its name says" * 99)
    with pytest.raises(StudyError, match="cannot be opened"):
        storage.open_storage(f"sqlite:///{tmp_path}/file")
    with pytest.raises(StudyError) as error:
        storage.open_storage("postgresql+psycopg://me:secret@127.0.0.1:1/x")
    assert "secret" not in str(error.value)


def test_the_summary_says_what_was_found(plan, searched):
    given = plan(space={LR: {"low": 0.001, "high": 0.02}, "model.channels": [[4], [4, 8]]})
    search = Search(given, Watcher())
    search.run()
    found = json.loads(json.dumps(summary(search)))
    table = trials_table(search)
    assert found["best"]["value"] == table["value"].max()
    assert found["best"]["values"]["model.channels"] in ([4], [4, 8])
    assert (found["monitor"], found["direction"]) == ("val_accuracy", "maximize")
    assert found["states"] == {"complete": 3}
