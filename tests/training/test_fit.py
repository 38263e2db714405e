"""Fitting toy problems of every task: what comes back, and that it is the same each time."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from cv_pipelines.errors import ConfigError
from cv_pipelines.tasks import TASKS, task_class
from cv_pipelines.tasks.classification import Classification
from cv_pipelines.training.fit import Job, fingerprint, fit, training_data
from cv_pipelines.training.rollback import NotFiniteError


@pytest.fixture(params=sorted(TASKS))
def task(request):
    return request.param


def test_checkpoints_say_what_was_trained(trained, experiment, task):
    checkpoint = trained(task)[0][0]
    meta = checkpoint.meta
    assert (meta.experiment, meta.seed, meta.device) == (f"{task}_toy", 0, "cpu")
    assert meta.model == experiment(task).model.name
    assert meta.options == experiment(task).model.options
    assert meta.selected == ("last" if task == "gan" else "best")
    assert meta.config == experiment(task).model_dump()
    assert meta.seconds > 0
    assert {"torch", "lightning", "numpy"} <= meta.versions.keys()
    assert set(checkpoint.states) == {"best", "last"}


def test_a_checkpoint_rebuilds_its_model(trained, task):
    checkpoint = trained(task)[0][0]
    model = checkpoint.build()
    assert not model.training
    assert model.state_dict().keys() == checkpoint.state.keys()
    assert all(torch.equal(v, checkpoint.state[k]) for k, v in model.state_dict().items())


def test_history_has_loss_rate_and_score_of_every_epoch(trained, task):
    _, history = trained(task)
    assert list(history.columns) == ["seed", "epoch", "name", "value"]
    assert not history.duplicated(["seed", "epoch", "name"]).any()
    table = history.pivot(index="epoch", columns="name", values="value")
    assert table.index.tolist() == [0, 1]
    losses = ["train_loss_generator", "train_loss_discriminator"] if task == "gan" else ["train_loss"]
    assert np.isfinite(table[[*losses, "lr"]].to_numpy()).all()
    kind = task_class(task)
    assert (kind.monitor in table) == kind.validates


def test_the_selected_epoch_is_the_best_of_the_history(trained, task):
    checkpoints, history = trained(task)
    kind, meta = task_class(task), checkpoints[0].meta
    if not kind.validates:
        assert (meta.score, meta.epoch) == (None, 1)
        return
    scores = history[history["name"] == kind.monitor].set_index("epoch")["value"]
    best = scores.max() if kind.higher_is_better else scores.min()
    assert meta.score == pytest.approx(best, abs=1e-6)
    assert scores[meta.epoch] == pytest.approx(best, abs=1e-6)


def test_the_same_seed_gives_the_same_weights(trained, experiment, sources, identical, tmp_path, task):
    torch.rand(5)  # whatever was drawn before
    again, history = fit(Job("other name", experiment(task), sources[task], tmp_path / "fit"))
    assert identical(trained(task)[0], again)
    pd.testing.assert_frame_equal(history, trained(task)[1])


def test_seeds_and_workers(image_source, experiment, identical, tmp_path):
    config = experiment("classification", train={"seeds": [3, 1]})
    checkpoints, history = fit(Job("toy", config, image_source, tmp_path / "one"))
    assert list(checkpoints) == [3, 1]
    assert history["seed"].unique().tolist() == [3, 1]
    assert not torch.equal(checkpoints[3].state["head.3.weight"], checkpoints[1].state["head.3.weight"])
    config = experiment("classification", train={"seeds": [3, 1], "workers": 2})
    assert identical(checkpoints, fit(Job("toy", config, image_source, tmp_path / "two"))[0])


def test_the_folder_of_a_finished_training_is_gone(image_source, experiment, tmp_path):
    fit(Job("toy", experiment("classification"), image_source, tmp_path / "fit"))
    assert list(tmp_path.iterdir()) == []


def test_a_toy_problem_is_learnt(image_source, experiment, tmp_path):
    config = experiment(
        "classification",
        {"epochs": 12, "optimizer": {"lr": 0.02}},
        model={"name": "residual_cnn", "channels": [8, 8], "blocks": 1},
        augment=None,
    )
    checkpoints, history = fit(Job("toy", config, image_source, tmp_path / "fit"))
    assert checkpoints[0].meta.score == 1.0
    losses = history[history["name"] == "train_loss"]["value"]
    assert losses.iloc[-1] < 0.5 * losses.iloc[0]


@pytest.mark.parametrize("task", ["activity", "autoencoder"])
def test_fit_on_train_val_uses_both_and_keeps_the_last(sources, experiment, tmp_path, task):
    config = experiment(task, train={"fit_on": "train_val", "select": "last"})
    job = Job("toy", config, sources[task], tmp_path / "fit")
    assert len(training_data(job, 0).samples) == 32
    checkpoints, history = fit(job)
    assert (checkpoints[0].meta.score, checkpoints[0].meta.epoch) == (None, 1)
    assert not history["name"].str.startswith("val_").any()


def test_early_stopping_ends_the_training(image_source, experiment, tmp_path):
    config = experiment("classification", train={"epochs": 9, "early_stopping": 1, "optimizer": {"lr": 1e-9}})
    _, history = fit(Job("toy", config, image_source, tmp_path / "fit"))
    assert history["epoch"].max() < 8


def test_the_last_epoch_is_validated_whatever_the_interval(image_source, experiment, tmp_path):
    config = experiment("classification", train={"epochs": 3, "validate_every": 2})
    _, history = fit(Job("toy", config, image_source, tmp_path))
    assert history.loc[history["name"] == "val_accuracy", "epoch"].tolist() == [1, 2]


def test_the_last_weights_may_be_selected(image_source, experiment, tmp_path):
    config = experiment("classification", train={"select": "last", "epochs": 3})
    checkpoint = fit(Job("toy", config, image_source, tmp_path / "fit"))[0][0]
    assert checkpoint.meta.epoch == 2
    assert checkpoint.state is checkpoint.states["last"]


@pytest.mark.parametrize("task", ["classification", "gan"])
def test_a_loss_that_is_no_number_stops_the_training(sources, experiment, tmp_path, task):
    config = experiment(task, train={"optimizer": {"name": "sgd" if task != "gan" else "adam", "lr": 1e30}})
    with pytest.raises(
        NotFiniteError, match=r"the loss is (nan|inf) in epoch \d, step \d.*learning rate"
    ) as e:
        fit(Job("toy", config, sources[task], tmp_path / "fit"))
    (path,) = (tmp_path / "fit" / "seed_0").glob("not_finite_epoch_*.pt")
    assert str(path) in str(e.value)
    kept = torch.load(path, weights_only=False)
    assert not torch.isfinite(kept["loss"])
    assert len(kept["sample_ids"]) == 8
    assert kept["batch"]["image"].shape == (8, 1, 16, 16)
    assert set(kept["sample_ids"]) <= set(sources[task].only("train").samples["sample_id"])


class TestLabelsPerClass:
    """Training on n labelled samples of each class."""

    def chosen(self, experiment, data, tmp_path, seed, count=3):
        config = experiment("classification", inputs={"labels_per_class": count})
        return training_data(Job("toy", config, data, tmp_path), seed).samples

    def test_picks_so_many_of_each_class_from_train(self, experiment, image_source, tmp_path):
        samples = self.chosen(experiment, image_source, tmp_path, seed=0)
        assert sorted(labels[0] for labels in samples["labels"]) == [0, 0, 0, 1, 1, 1]
        assert set(samples["split"]) == {"train"}

    def test_differs_by_seed_and_by_nothing_else(self, experiment, image_source, tmp_path):
        first, again, other = (
            self.chosen(experiment, image_source, tmp_path, seed)["sample_id"].tolist() for seed in (0, 0, 1)
        )
        assert first == again
        assert first != other

    def test_a_smaller_class_gives_all_it_has(self, experiment, image_source, tmp_path):
        assert len(self.chosen(experiment, image_source, tmp_path, seed=0, count=99)) == 24


def test_the_deterministic_switch_holds_while_it_trains(
    image_source, experiment, identical, tmp_path, monkeypatch
):
    seen, step = [], Classification.training_step

    def note(self, batch, index):
        seen.append(torch.are_deterministic_algorithms_enabled())
        return step(self, batch, index)

    monkeypatch.setattr(Classification, "training_step", note)
    config = experiment("classification", train={"deterministic": True, "epochs": 1})
    first, again = (fit(Job("toy", config, image_source, tmp_path / name))[0] for name in "ab")
    assert set(seen) == {True}
    assert not torch.are_deterministic_algorithms_enabled()
    assert identical(first, again)


def test_a_source_without_train_samples_is_named(image_source, experiment, tmp_path):
    job = Job("toy_experiment", experiment("classification"), image_source.only("test"), tmp_path)
    with pytest.raises(ConfigError, match="toy_experiment: source toy has no samples to train on"):
        training_data(job, 0)


def test_segmentation_trains_on_samples_with_a_mask(mask_source, experiment, tmp_path):
    samples = mask_source.samples.copy()
    samples.loc[:4, "target"] = None
    job = Job("toy", experiment("segmentation"), replace(mask_source, samples=samples), tmp_path)
    assert training_data(job, 0).samples["sample_id"].tolist() == [f"s{i:02d}" for i in range(5, 12)]


class TestFingerprint:
    """Equal where the same model would be trained."""

    @pytest.fixture
    def job(self, box_source, experiment, tmp_path):
        return Job("toy", experiment("detection"), box_source, tmp_path)

    def test_the_folder_workers_and_further_seeds_do_not_matter(self, job, experiment, tmp_path):
        config = experiment("detection", train={"workers": 2, "seeds": [0, 1]})
        assert fingerprint(replace(job, folder=tmp_path / "x", config=config)) == fingerprint(job)

    def test_configuration_data_and_start_matter(self, job, experiment, trained):
        boxes = job.data.annotations.assign(x=job.data.annotations["x"] + 1)
        samples = job.data.samples.assign(split="train")
        contents = job.data.samples.assign(content_hash="00")
        labels = job.data.samples.assign(labels=[[1]] * 10)
        changed = [
            replace(job, config=experiment("detection", train={"epochs": 3})),
            replace(job, init=trained("classification")[0][0]),
            *(replace(job, data=replace(job.data, samples=s)) for s in (samples, contents, labels)),
            replace(job, data=replace(job.data, annotations=boxes)),
            replace(job, data=replace(job.data, statistics={"pixels": [1, 2]})),
        ]
        prints = [fingerprint(j) for j in [job, *changed]]
        assert len(set(prints)) == len(prints)


def test_augmentations_that_mix_objects_train_and_lost_boxes_are_in_the_history(
    experiment, box_source, tmp_path
):
    steps = [
        {"name": "mosaic", "size": [64, 64]},
        {"name": "copy_paste", "p": 1.0},
        {"name": "crop", "size": [32, 32]},
    ]
    config = experiment("detection", augment=steps, train={"epochs": 1})
    _, history = fit(Job("toy", config, box_source, tmp_path / "fit"))
    values = history.set_index("name")["value"]
    assert values["train_boxes_dropped"] > 0
    assert np.isfinite(values["train_loss"])
