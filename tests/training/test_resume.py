"""An interrupted training that is taken up again ends as if nothing had happened."""

import logging
from dataclasses import replace

import pandas as pd
import pytest
import torch

from cv_pipelines.training.fit import Job, fit, fit_seed

CASES = {
    "dropout and augmentation": ("classification", {}),
    "loader workers": ("classification", {"workers": 2}),
    "moving average": ("classification", {"ema": 0.9}),
    "early stopping": ("classification", {"early_stopping": 2, "schedule": {"name": "cosine"}}),
    "stochastic depth and L1": ("activity", {"l1": 0.001}, {"stochastic_depth": 0.5, "norm": "group"}),
    "weights averaged at the end": ("classification", {"swa": 0.3}),
    "accumulation": ("classification", {"accumulate": 2, "gradient_checkpointing": True}),
    "head first": ("classification", {"head_first": {"epochs": 2}, "freeze": ["encoder.0.*"]}),
    "plateau": ("classification", {"schedule": {"name": "plateau", "patience": 1, "warmup": 0.2}}),
    "warm-up": (
        "classification",
        {"optimizer": {"name": "muon", "lr": 0.01}, "schedule": {"name": "step", "warmup": 0.2}},
    ),
    "signals": ("activity", {}),
    "noise in the task": ("autoencoder", {}),
    "two optimisers": ("gan", {}),
    "masks": ("segmentation", {"validate_every": 2}),
}


def with_options(config, options=None):
    """The experiment, its model with some more options."""
    model = config.model.model_copy(update=options or {})
    return config.model_copy(update={"model": model})


@pytest.mark.parametrize("case", ["dropout and augmentation", "loader workers", "masks"])
def test_the_weights_agree_to_the_last_bit(
    case, sources, experiment, interrupted, identical, tmp_path, caplog
):
    task, train, *options = CASES[case]
    config = experiment(task, train={"epochs": 4, "batch_size": 4, **train})
    config = with_options(config, *options)
    whole, history = fit(Job("toy", config, sources[task], tmp_path / "whole"))
    job = Job("toy", config, sources[task], tmp_path / "cut")
    interrupted(job, epoch=2)
    assert (tmp_path / "cut").exists()
    with caplog.at_level(logging.INFO):
        resumed, rows = fit(job)
    assert "taking up the interrupted training" in caplog.text
    assert identical(whole, resumed)
    assert (resumed[0].meta.epoch, resumed[0].meta.score) == (whole[0].meta.epoch, whole[0].meta.score)
    pd.testing.assert_frame_equal(rows, history)
    assert not (tmp_path / "cut").exists()


STEPWISE = CASES | {
    "boxes": ("detection", {"batch_size": 2}),
    "mixed precision": ("classification", {"precision": "bf16-mixed"}),
    "no validation split": ("classification", {"fit_on": "train_val", "select": "last"}),
    "a last batch that is smaller": ("activity", {"batch_size": 20}),
}


QUICK = ("moving average", "early stopping", "signals", "two optimisers")


@pytest.mark.parametrize(
    "case", [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in STEPWISE]
)
def test_a_training_cut_off_after_every_step_ends_as_an_undisturbed_one(
    case, sources, experiment, stepwise, identical, same, tmp_path
):
    task, train, *options = STEPWISE[case]
    mixed = {"augment": [{"name": "small_image"}, {"name": "mixup"}]}
    sections = mixed if case in ("moving average", "loader workers") else {}
    config = experiment(task, train={"epochs": 3, "checkpoint_every": 1, **train}, **sections)
    config = with_options(config, *options)
    whole, history = fit_seed(Job("toy", config, sources[task], tmp_path / "whole"), 0)
    # Processes are costly to start: with workers, fewer cuts.
    (resumed, rows), starts = stepwise(
        Job("toy", config, sources[task], tmp_path / "cut"), 2 if config.train.workers else 1
    )
    assert starts > 3
    assert identical({0: whole}, {0: resumed})
    assert (resumed.meta.epoch, resumed.meta.score) == (whole.meta.epoch, whole.meta.score)
    assert rows == history
    one, two = (load_state(tmp_path / name / "seed_0" / "last.ckpt") for name in ("whole", "cut"))
    for part in ("optimizer_states", "lr_schedulers", "state_dict", "loops", "epoch", "global_step"):
        assert same(one[part], two[part]), part
    assert one.keys() == two.keys()


def test_a_kill_while_the_state_is_written_leaves_the_one_before(
    image_source, experiment, interrupted, identical, tmp_path
):
    config = experiment("classification", train={"checkpoint_every": 1})
    whole, _ = fit(Job("toy", config, image_source, tmp_path / "whole"))
    job = Job("toy", config, image_source, tmp_path / "cut")
    interrupted(job, epoch=1, batch=2)
    state = tmp_path / "cut" / "seed_0" / "last.ckpt"
    state.with_name("last.ckpt.writing").write_bytes(state.read_bytes()[:1000])
    assert identical(whole, fit(job)[0])


def test_a_state_that_cannot_be_read_starts_the_training_again(
    image_source, experiment, interrupted, identical, tmp_path, caplog
):
    config = experiment("classification")
    whole, _ = fit(Job("toy", config, image_source, tmp_path / "whole"))
    job = Job("toy", config, image_source, tmp_path / "cut")
    interrupted(job)
    state = tmp_path / "cut" / "seed_0" / "last.ckpt"
    state.write_bytes(state.read_bytes()[:1000])
    assert identical(whole, fit(job)[0])
    assert "last.ckpt cannot be read, so the training starts again" in caplog.text


def test_a_training_that_was_stopped_early_stays_stopped(image_source, experiment, same, tmp_path):
    train = {"epochs": 8, "early_stopping": 1, "optimizer": {"name": "sgd", "lr": 1e-9}}
    job = Job("toy", experiment("classification", train=train), image_source, tmp_path)
    first, rows = fit_seed(job, 0)
    assert rows[-1]["epoch"] < 7
    again, more = fit_seed(job, 0)  # as after a kill when all was done but handing it over
    assert more == rows
    assert same(again.states, first.states)
    kept = load_state(tmp_path / "seed_0" / "last.ckpt")["position"]["seconds"]
    assert 0 < kept < again.meta.seconds


def load_state(path):
    return torch.load(path, weights_only=False)


def test_a_training_may_be_cut_off_more_than_once(image_source, experiment, interrupted, identical, tmp_path):
    config = experiment("classification", train={"epochs": 4})
    whole, _ = fit(Job("toy", config, image_source, tmp_path / "whole"))
    job = Job("toy", config, image_source, tmp_path / "cut")
    interrupted(job, epoch=0, batch=0)  # nothing was kept yet
    interrupted(job, epoch=1, batch=0)
    interrupted(job, epoch=2, batch=None)  # validated, the best weights replaced, the state not yet
    interrupted(job, epoch=3, batch=2)
    resumed, _ = fit(job)
    assert identical(whole, resumed)
    assert resumed[0].meta.score == whole[0].meta.score


def test_a_seed_that_was_done_is_not_trained_again(
    image_source, experiment, interrupted, identical, tmp_path, caplog
):
    config = experiment("classification", train={"seeds": [5, 6]})
    whole, history = fit(Job("toy", config, image_source, tmp_path / "whole"))
    job = Job("toy", config, image_source, tmp_path / "cut")
    interrupted(job, epoch=1, seed=6)
    done = (tmp_path / "cut" / "seed_5" / "last.ckpt").stat().st_mtime_ns
    interrupted(job, epoch=1, seed=6, batch=2)
    assert (tmp_path / "cut" / "seed_5" / "last.ckpt").stat().st_mtime_ns == done
    resumed, rows = fit(job)
    assert identical(whole, resumed)
    assert resumed[5].meta.score == whole[5].meta.score
    pd.testing.assert_frame_equal(rows, history)


def test_a_changed_configuration_starts_afresh(
    image_source, experiment, interrupted, identical, tmp_path, caplog
):
    job = Job("toy", experiment("classification"), image_source, tmp_path / "cut")
    interrupted(job)
    changed = experiment("classification", train={"optimizer": {"lr": 0.001}})
    with caplog.at_level(logging.INFO):
        found, _ = fit(replace(job, config=changed))
    assert "taking up" not in caplog.text
    assert identical(found, fit(Job("toy", changed, image_source, tmp_path / "fresh"))[0])


def test_changed_data_start_afresh(image_source, experiment, interrupted, identical, tmp_path):
    config = experiment("classification")
    job = Job("toy", config, image_source, tmp_path / "cut")
    interrupted(job)
    labels = [[1 - v[0]] for v in image_source.samples["labels"]]
    changed = replace(image_source, samples=image_source.samples.assign(labels=labels))
    found, _ = fit(replace(job, data=changed))
    assert identical(found, fit(Job("toy", config, changed, tmp_path / "fresh"))[0])


def test_other_workers_take_up_the_same_training(image_source, experiment, interrupted, identical, tmp_path):
    alone = experiment("classification", train={"epochs": 3})
    helped = experiment("classification", train={"epochs": 3, "workers": 2})
    whole, _ = fit(Job("toy", alone, image_source, tmp_path / "whole"))
    job = Job("toy", alone, image_source, tmp_path / "cut")
    interrupted(job)
    assert identical(whole, fit(replace(job, config=helped))[0])
