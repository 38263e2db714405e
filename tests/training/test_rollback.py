"""A loss that is no number, where the training may go back: the batch is passed over, always the same way."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from cv_pipelines.data.measures import measure
from cv_pipelines.data.ranks import rank
from cv_pipelines.error_analysis.analyse import analyse
from cv_pipelines.errors import ConfigError
from cv_pipelines.plots.experiment import draw
from cv_pipelines.tasks import task_class
from cv_pipelines.training.checkpoints import load_checkpoints, save_checkpoints
from cv_pipelines.training.fit import Job, fit, fit_seed, fit_seeds
from cv_pipelines.training.placement import Layout, check_layout
from cv_pipelines.training.predict import predict
from cv_pipelines.training.rollback import NotFiniteError
from cv_pipelines.training.score import score

BACK = {"on_nan": "rollback", "checkpoint_every": 1}


@pytest.fixture
def spoil(monkeypatch):
    """Makes the loss of a task no number at given (epoch, step), whenever it comes there."""

    def patch(task, places, by=lambda task, loss: loss * float("nan")):
        kind = task_class(task)
        step = kind.training_step

        def spoilt(self, batch, index):
            loss = step(self, batch, index)
            return by(self, loss) if (self.current_epoch, index) in places else loss

        monkeypatch.setattr(kind, "training_step", spoilt)

    return patch


def places(checkpoint):
    return [(batch.epoch, batch.step) for batch in checkpoint.meta.passed_over]


def state(folder):
    return torch.load(folder / "seed_0" / "last.ckpt", weights_only=False)


def test_batches_with_a_sample_that_is_no_number_are_passed_over_and_noted(
    signal_source, experiment, tmp_path, caplog
):
    signals = signal_source.arrays["signals"].copy()
    signals[5, 2, 7] = np.nan
    data = replace(signal_source, arrays={"signals": signals})
    job = Job("toy", experiment("activity", train=BACK), data, tmp_path / "fit")
    checkpoints, history = fit(job)
    batches = checkpoints[0].meta.passed_over
    assert [batch.epoch for batch in batches] == [0, 1]
    assert all("s05" in batch.sample_ids and len(batch.sample_ids) == 8 for batch in batches)
    assert np.isfinite(history["value"]).all()
    assert all(torch.isfinite(value).all() for value in checkpoints[0].state.values())
    assert caplog.text.count("Going back to the last state") == 2


@pytest.mark.parametrize(
    ("task", "train"),
    [
        ("classification", {"ema": 0.9}),
        pytest.param("activity", {"accumulate": 2}, marks=pytest.mark.slow),
        pytest.param("gan", {}, marks=pytest.mark.slow),
        pytest.param("classification", {"workers": 2, "precision": "bf16-mixed"}, marks=pytest.mark.slow),
        pytest.param("classification", {"head_first": {"epochs": 1}}, marks=pytest.mark.slow),
        pytest.param("segmentation", {"batch_size": 4, "swa": 0.3}, marks=pytest.mark.slow),
        pytest.param("detection", {"batch_size": 2}, marks=pytest.mark.slow),
    ],
)
def test_the_end_is_the_same_wherever_it_is_cut_off_or_its_state_kept(
    task, train, sources, experiment, spoil, stepwise, identical, same, tmp_path
):
    spoil(task, {(0, 1), (1, 2), (2, 0)})
    found = {}
    for every in (None, "999s", 1):
        config = experiment(task, train={"epochs": 3, **BACK, **train, "checkpoint_every": every})
        job = Job("toy", config, sources[task], tmp_path / str(every))
        found[every] = fit_seed(job, 0)
    whole, history = found[1]
    assert places(whole) == [(0, 1), (1, 2), (2, 0)]
    (cut, rows), starts = stepwise(replace(job, folder=tmp_path / "cut"))
    assert starts > 3
    for other, others in (found[None], found["999s"], (cut, rows)):
        assert identical({0: whole}, {0: other})
        assert other.meta.passed_over == whole.meta.passed_over
        assert (other.meta.epoch, other.meta.score) == (whole.meta.epoch, whole.meta.score)
        assert others == history
    for part in ("optimizer_states", "lr_schedulers", "loops", "global_step"):
        assert same(state(tmp_path / "cut")[part], state(tmp_path / "1")[part]), part


def test_a_batch_that_is_passed_over_does_nothing(
    image_source, experiment, spoil, monkeypatch, identical, tmp_path
):
    config = experiment("classification", train=BACK)
    kind = task_class("classification")
    step = kind.training_step
    with monkeypatch.context() as patch:
        patch.setattr(
            kind,
            "training_step",
            lambda self, b, i: None if (self.current_epoch, i) == (1, 1) else step(self, b, i),
        )
        without, history = fit(Job("toy", config, image_source, tmp_path / "without"))
    spoil("classification", {(1, 1)})
    back, rows = fit(Job("toy", config, image_source, tmp_path / "back"))
    assert identical(without, back)
    assert rows.equals(history)
    assert places(back[0]) == [(1, 1)]


def test_figures_of_an_epoch_whose_rest_is_passed_over_are_not_lost(
    image_source, experiment, spoil, identical, tmp_path
):
    spoil("classification", {(0, 1), (0, 2)})
    found = []
    for every in (1, None):
        config = experiment("classification", train=BACK | {"checkpoint_every": every})
        found.append(fit(Job("toy", config, image_source, tmp_path / str(every))))
    (one, history), (two, rows) = found
    assert identical(one, two)
    assert rows.equals(history)
    assert (history["name"] == "train_loss").sum() == 2


def test_an_epoch_without_a_batch_has_no_figure(image_source, experiment, spoil, stepwise, tmp_path):
    spoil("classification", {(1, 0)})
    config = experiment("classification", train=BACK | {"batch_size": 24, "epochs": 3})
    job = Job("toy", config, image_source, tmp_path / "whole")
    _, rows = fit_seed(job, 0)
    assert [row["epoch"] for row in rows if row["name"] == "train_loss"] == [0, 2]
    (_, others), _ = stepwise(replace(job, folder=tmp_path / "cut"))
    assert others == rows


def test_a_gradient_that_is_no_number_under_a_loss_that_is_one(image_source, experiment, spoil, tmp_path):
    def steep(task, loss):
        return loss + (0 * next(task.model.parameters())).sqrt().sum()

    spoil("classification", {(1, 1)}, by=steep)
    job = Job("toy", experiment("classification", train=BACK), image_source, tmp_path / "fit")
    checkpoint = fit(job)[0][0]
    assert places(checkpoint) == [(1, 1)]
    assert all(torch.isfinite(value).all() for value in checkpoint.state.values())


def test_it_goes_back_so_often_and_then_names_what_the_batches_have_in_common(
    signal_source, experiment, tmp_path
):
    signals = signal_source.arrays["signals"].copy()
    signals[5] = np.nan
    data = replace(signal_source, arrays={"signals": signals})
    config = experiment("activity", train=BACK | {"epochs": 4, "max_rollbacks": 2})
    told = (
        r"the loss is nan in epoch 2, .* is kept in .*not_finite_epoch_2_step_\d\.pt\. "
        r"2 batches were passed over before; train\.max_rollbacks allows no more; in all of them: .*s05"
    )
    with pytest.raises(NotFiniteError, match=told):
        fit(Job("toy", config, data, tmp_path / "fit"))
    assert len(list((tmp_path / "fit" / "seed_0").glob("not_finite_*.pt"))) == 3


def test_weights_that_stay_no_numbers_end_the_training(
    image_source, experiment, spoil, monkeypatch, tmp_path
):
    kind = task_class("classification")
    start = kind.on_train_batch_start

    def ruin(self, batch, index):
        start(self, batch, index)
        if (self.current_epoch, index) == (1, 1):
            next(self.model.parameters()).data.fill_(float("nan"))

    monkeypatch.setattr(kind, "on_train_batch_start", ruin)
    job = Job("toy", experiment("classification", train=BACK), image_source, tmp_path / "fit")
    with pytest.raises(NotFiniteError, match="It was passed over, and still the weights are no numbers"):
        fit(job)


def test_a_training_that_was_stopped_may_go_on_with_a_roll_back(
    image_source, experiment, spoil, identical, tmp_path, caplog
):
    spoil("classification", {(1, 1)})
    back = experiment("classification", train=BACK)
    whole, _ = fit(Job("toy", back, image_source, tmp_path / "whole"))
    stop = experiment("classification", train=BACK | {"on_nan": "stop"})
    job = Job("toy", stop, image_source, tmp_path / "cut")
    for _ in range(2):
        with pytest.raises(NotFiniteError, match="the loss is nan in epoch 1, step 1"):
            fit(job)
    with caplog.at_level(logging.INFO):
        found, _ = fit(replace(job, config=back))
    assert "taking up the interrupted training" in caplog.text
    assert identical(whole, found)


@pytest.mark.parametrize(
    ("task", "train"),
    [
        ("classification", {}),
        pytest.param("classification", {"strategy": "fsdp"}, marks=pytest.mark.slow),
        pytest.param("gan", {}, marks=pytest.mark.slow),
    ],
)
def test_two_ranks_go_back_together(task, train, image_source, experiment, identical, in_ranks, tmp_path):
    kind = task_class(task)
    config = experiment(task, train=BACK | {"epochs": 3} | train)

    def run(folder, every):
        train = config.train.model_copy(update={"checkpoint_every": every})
        step = kind.training_step

        def spoilt(self, batch, index):
            loss = step(self, batch, index)
            here = (rank(), self.current_epoch, index) in {(1, 1, 0), (0, 1, 2)}
            return loss * float("nan") if here else loss

        kind.training_step = spoilt
        toy = Job("toy", config.model_copy(update={"train": train}), image_source, tmp_path / folder)
        return fit_seeds(toy)

    one = in_ranks(lambda: run("one", 1))
    two = in_ranks(lambda: run("two", None))
    assert not any(isinstance(end, str) for end in one + two), one + two
    (found, history), (other, rows) = one[0], two[0]
    assert places(found[0]) == [(1, 0), (1, 2)]
    assert all(len(batch.sample_ids) == 8 for batch in found[0].meta.passed_over)
    assert identical(found, other)
    assert rows.equals(history)
    assert identical(found, one[1][0])


@pytest.mark.parametrize("train", [{"on_nan": "skip"}, {"max_rollbacks": 0}, {"max_rollbacks": "3"}])
def test_other_values_are_refused(experiment, train):
    with pytest.raises(ValidationError, match=next(iter(train))):
        experiment("classification", train=train)


@pytest.mark.parametrize("train", [{"accumulate": 2}, {"precision": "16-mixed"}])
def test_what_ranks_cannot_pass_over_is_refused(experiment, train):
    config = experiment("classification", train=BACK | train)
    check_layout(config, Layout(1, 1))
    with pytest.raises(ConfigError, match=r"train\.on_nan: 'rollback': 2 ranks"):
        check_layout(config, Layout(1, 2))


def test_the_result_names_the_batches(signal_source, experiment, tmp_path):
    signals = signal_source.arrays["signals"].copy()
    signals[5] = np.nan
    data = replace(signal_source, arrays={"signals": signals})
    config = experiment("activity", train=BACK | {"seeds": [4], "epochs": 1})
    checkpoints, history = fit(Job("toy", config, data, tmp_path / "fit"))
    save_checkpoints(tmp_path / "saved", checkpoints)
    checkpoints = load_checkpoints(tmp_path / "saved")
    predictions = predict(config, data, checkpoints)
    metrics, details, samples = score("toy", config, predictions, data, checkpoints, {})
    (batch,) = metrics["passed_over"]["4"]
    assert (batch["epoch"], len(batch["sample_ids"])) == (0, 8)
    part = data.only("test")
    errors = analyse("toy", "activity", predictions, part, measure(part))
    page, *_ = draw(config, part, history, predictions, metrics, details, samples, errors)
    told = f"seed 4, epoch 0, step {batch['step']}, with the samples {', '.join(batch['sample_ids'])}."
    assert told in page
