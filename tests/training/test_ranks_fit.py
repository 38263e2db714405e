"""Several ranks train what one process trains: the same curves, and to the last bit when taken up again.

The ranks are forked, without torchrun; that is in test_launch.py.
"""

import shutil
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.data.ranks import rank
from cv_pipelines.tasks.classification import Classification
from cv_pipelines.training import state as written
from cv_pipelines.training.fit import fit, fit_seeds
from cv_pipelines.training.job import Job
from cv_pipelines.training.resume import KeepState

PLAIN = {
    "activity": {"dropout": 0.0},
    "classification": {"dropout": 0.0},
}
CASES = {
    "classification": ("classification", {}, {}),
    "average, mixtures, accumulation": (
        "classification",
        {"ema": 0.9, "accumulate": 2, "batch_size": 4},
        {"augment": [{"name": "small_image"}, {"name": "mixup"}]},
    ),
    "frozen, then plateau": (
        "classification",
        {"freeze": ["encoder.0.*"], "schedule": {"name": "plateau", "patience": 1}, "gradient_clip": 0.1},
        {},
    ),
    "two phases": ("classification", {"head_first": {"epochs": 1}, "gradient_checkpointing": True}, {}),
    "a last batch that is smaller": (
        "classification",
        {"batch_size": 14, "early_stopping": 2, "swa": 0.4},
        {},
    ),
    "sharded": ("classification", {"strategy": "fsdp", "gradient_clip": 0.1, "batch_size": 14}, {}),
    "signals": ("activity", {"l1": 0.001}, {}),
    "images": ("autoencoder", {}, {"loss": {}}),
    "void pixels": ("segmentation", {"batch_size": 6}, {"loss": {"balance": "sqrt"}}),
}
QUICK = ("a last batch that is smaller",)


@pytest.fixture
def job(experiment, sources, tmp_path):
    """Builds a toy job without dropout; of images 23 samples to train on, which two ranks share unevenly."""

    def build(task, name="one", train=None, **sections):
        config = experiment(task, train={"epochs": 3, **(train or {})}, **sections)
        model = config.model.model_copy(update=PLAIN.get(task, {}))
        config = config.model_copy(update={"model": model})
        data = sources[task]
        if task == "classification":
            data = data.where(np.arange(len(data.samples)) != 3)
        return Job("toy", config, data, tmp_path / name)

    return build


def curves(history):
    return history.pivot(index="epoch", columns="name", values="value")


@pytest.mark.parametrize(
    "case", [c if c in QUICK else pytest.param(c, marks=pytest.mark.slow) for c in CASES]
)
def test_two_ranks_give_the_curves_and_weights_of_one(case, job, in_ranks):
    task, train, sections = CASES[case]
    alone, history = fit(job(task, train=train, **sections))
    both = job(task, "two", train, **sections)
    found = in_ranks(lambda: fit_seeds(both))
    assert all(isinstance(each, tuple) for each in found), found
    for checkpoints, rows in found:
        pd.testing.assert_frame_equal(curves(rows), curves(history), atol=1e-5, rtol=0)
        assert checkpoints[0].meta.epoch == alone[0].meta.epoch
        assert checkpoints[0].meta.device == "2 × cpu"
        for which, state in alone[0].states.items():
            torch.testing.assert_close(checkpoints[0].states[which], state, atol=1e-5, rtol=0)
    assert curves(history)["train_loss"].nunique() > 1


@pytest.mark.parametrize("task", ["gan", "detection"])
@pytest.mark.slow
def test_tasks_whose_steps_draw_or_count_objects_train_too(task, job, in_ranks):
    found = in_ranks(lambda: fit_seeds(job(task, train={"batch_size": 2})))
    assert all(isinstance(each, tuple) for each in found), found
    one, two = (rows for _, rows in found)
    pd.testing.assert_frame_equal(one, two)
    losses = one[one["name"].str.startswith("train_loss")]["value"]
    assert np.isfinite(losses).all()


def cut_off(of, saves):
    """A training that ends in the middle, right after so many states were kept."""

    def run():
        save = KeepState._save

        def cut(self, trainer, batches):
            save(self, trainer, batches)
            self.writer.drain()
            self.made = getattr(self, "made", 0) + 1
            if self.made == saves:
                raise InterruptedError("power cut")

        KeepState._save = cut  # in this forked process alone
        return fit_seeds(of)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_training_of_two_ranks_is_taken_up_to_the_last_bit(strategy, job, in_ranks, identical):
    train = {"checkpoint_every": 1, "batch_size": 6, "strategy": strategy, "accumulate": 1}
    train |= {"ema": 0.9} if strategy == "ddp" else {}
    (whole, history), _ = in_ranks(lambda: fit_seeds(job("classification", "whole", train)))
    cut = job("classification", "cut", train)
    for saves in (1, 4, 2):
        ends = in_ranks(cut_off(cut, saves))
        assert all("power cut" in end for end in ends), ends
    kept = torch.load(cut.folder / "seed_0" / "last.ckpt", weights_only=False)["position"]
    assert (kept["epoch"], kept["batches"]) == (2, 0) or kept["batches"] > 0
    for resumed, rows in in_ranks(lambda: fit_seeds(cut)):
        assert identical(whole, resumed)
        pd.testing.assert_frame_equal(rows, history)


@pytest.mark.parametrize("strategy", [pytest.param("ddp", marks=pytest.mark.slow), "fsdp"])
def test_a_training_of_two_ranks_ends_once_its_last_state_is_written(strategy, job, in_ranks):
    toy = job("classification", train={"epochs": 1, "strategy": strategy})

    def run():
        write = written.write_whole
        written.write_whole = lambda *given: (time.sleep(2), write(*given))  # in this forked process alone
        return fit_seeds(toy)

    for checkpoints, _ in in_ranks(run):
        assert checkpoints[0].meta.epoch == 0


def test_a_training_of_two_ranks_is_taken_up_by_one_and_the_other_way_round(job, in_ranks):
    train = {"checkpoint_every": 1, "batch_size": 6, "epochs": 2}
    _, history = fit(job("classification", train=train))
    cut = job("classification", "cut", train)
    in_ranks(cut_off(cut, 2))
    assert (cut.folder / "seed_0" / "last.ckpt").exists()
    shutil.copytree(cut.folder, cut.folder.with_name("three"))
    pd.testing.assert_frame_equal(curves(fit(cut)[1]), curves(history), atol=1e-5, rtol=0)
    _, rows = in_ranks(lambda: fit_seeds(replace(cut, folder=cut.folder.with_name("three"))), 3)[2]
    pd.testing.assert_frame_equal(curves(rows), curves(history), atol=1e-5, rtol=0)


def test_each_validation_sample_is_scored_once_and_by_one_rank(job, in_ranks):
    toy = job("classification", train={"epochs": 1})

    def run():
        seen, score = [], Classification.score.__func__

        def note(cls, predictions, data, evaluate):
            seen.append(list(predictions["sample_id"]))
            return score(cls, predictions, data, evaluate)

        Classification.score = classmethod(note)
        fit_seeds(toy)
        return seen

    assert in_ranks(run) == [[toy.data.only("val").samples["sample_id"].tolist()], []]


def test_a_loss_of_one_rank_that_is_no_number_stops_all(job, in_ranks):
    toy = job("classification", train={"checkpoint_every": 1})

    def run():
        step = Classification.training_step

        def spoil(self, batch, index):
            loss = step(self, batch, index)
            spoilt = (rank(), self.current_epoch, index) == (1, 1, 0)
            return loss * float("nan") if spoilt else loss

        Classification.training_step = spoil
        return fit_seeds(toy)

    ends = in_ranks(run)
    (path,) = (toy.folder / "seed_0").glob("not_finite_*.pt")
    assert path.name == "not_finite_epoch_1_step_0_rank_1.pt"
    assert all("NotFiniteError: the loss is nan in epoch 1, step 0: " in end for end in ends), ends
    assert all(str(path) in end for end in ends)
    kept = torch.load(toy.folder / "seed_0" / "last.ckpt", weights_only=False)["state_dict"]
    assert all(torch.isfinite(value.float()).all() for value in kept.values())


def test_ranks_draw_differently_within_a_step(experiment, sources, tmp_path, in_ranks):
    config = experiment("autoencoder", train={"epochs": 1})
    assert isinstance(config, ExperimentConfig)
    toy = Job("toy", config, sources["autoencoder"], tmp_path / "fit")

    def run():
        from cv_pipelines.tasks.autoencoder import Autoencoder

        drawn, disturb = [], Autoencoder.disturb

        def note(self, x):
            drawn.append(torch.get_rng_state().clone())
            return disturb(self, x)

        Autoencoder.disturb = note
        fit_seeds(toy)
        return drawn

    one, two = in_ranks(run)
    assert len(one) == len(two) > 0
    assert not any(torch.equal(a, b) for a, b in zip(one, two, strict=True))
