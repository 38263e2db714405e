"""Models that are not finished when their training by gradient is: R-CNN's second stage."""

import pytest
import torch

from cv_pipelines.models.regions.machines import Machines
from cv_pipelines.training.fit import Job, fit
from cv_pipelines.training.predict import predict

MODEL = {"name": "rcnn", "weights": "none", "crop": 32, "search": "single", "sampled_regions": 8}


@pytest.fixture
def job(box_source, experiment, tmp_path):
    """Makes the same job in folders of their own."""
    config = experiment("detection", model=MODEL)
    return lambda name: Job("toy", config, box_source, tmp_path / name)


@pytest.fixture(scope="module")
def whole(box_source, experiment, tmp_path_factory):
    """A training that nothing interrupted."""
    config = experiment("detection", model=MODEL)
    return fit(Job("toy", config, box_source, tmp_path_factory.mktemp("completion")))[0]


def test_both_checkpoints_are_completed_and_predict(whole, job):
    assert all(state["completed"] for state in whole[0].states.values())
    assert whole[0].state["machines"].any()
    rows = predict(job("none").config, job("none").data, whole)
    assert rows["score"].between(0, 1).all()


@pytest.mark.parametrize("batch", [0, None])
def test_a_training_that_was_cut_off_ends_with_the_same_weights(whole, job, interrupted, identical, batch):
    interrupted(job("cut"), batch=batch)
    assert identical(whole, fit(job("cut"))[0])


def test_one_cut_off_in_its_second_stage_begins_that_again(whole, job, identical, monkeypatch):
    def cut(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Machines, "solved", cut)
        with pytest.raises(KeyboardInterrupt):
            fit(job("late"))
    assert identical(whole, fit(job("late"))[0])


def test_equal_checkpoints_are_completed_once(box_source, experiment, tmp_path, monkeypatch):
    solved, plain = [], Machines.solved
    monkeypatch.setattr(Machines, "solved", lambda self: solved.append(1) or plain(self))
    config = experiment("detection", train={"validate_every": 2}, model=MODEL)  # of two epochs
    checkpoint = fit(Job("toy", config, box_source, tmp_path / "fit"))[0][0]
    assert len(solved) == 1
    assert all(torch.equal(checkpoint.states["best"][k], v) for k, v in checkpoint.states["last"].items())


def test_other_models_are_left_as_they_are(box_source, experiment, tmp_path):
    checkpoints, _ = fit(Job("toy", experiment("detection"), box_source, tmp_path / "fit"))
    assert "completed" not in checkpoints[0].state
