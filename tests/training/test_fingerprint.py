"""The fingerprint: which change makes which stage anew, and what an interrupted training goes on after."""

import logging
from dataclasses import replace

import pytest

from cv_pipelines.provenance import Provenance, differences
from cv_pipelines.training import fingerprint as module
from cv_pipelines.training.fingerprint import evaluated, evaluation_part, provenance_of, training_part
from cv_pipelines.training.fit import Job, fit, prepare_folder


def parts(config, data):
    whole = provenance_of(config, data)
    return training_part(whole, config), evaluation_part(whole, config)


@pytest.fixture
def compared(experiment, image_source):
    """Which of training and evaluation differ between two experiments on toy images."""

    def run(one, other, data=None):
        before = parts(experiment("classification", **one), image_source)
        after = parts(experiment("classification", **other), data or image_source)
        pairs = zip(("training", "evaluation"), before, after, strict=True)
        return {name for name, a, b in pairs if a != b}

    return run


LAST = {"train": {"select": "last"}}


@pytest.mark.parametrize(
    ("one", "other", "stages"),
    [
        ({}, {"train": {"epochs": 3}}, {"training"}),
        ({}, {"augment": None}, {"training"}),
        ({}, {"train": {"workers": 2, "seeds": [0, 1], "checkpoint_every": 3}}, set()),
        ({}, {"tour": True, "group": {"name": "x", "panels": {"a": "b"}}}, set()),
        ({}, {"cache": {"side": None}}, set()),
        ({}, {"evaluate": {"split": "val"}}, {"evaluation"}),
        ({}, {"evaluate": {"batch_size": 3}}, set()),
        # The epoch that validates best is chosen with the mirrored views, too.
        ({}, {"evaluate": {"flip": True}}, {"training", "evaluation"}),
        (LAST, LAST | {"evaluate": {"flip": True}}, {"evaluation"}),
    ],
)
def test_a_key_belongs_to_the_stages_that_it_changes(compared, one, other, stages):
    assert compared(one, other) - ({"training"} if other.get("cache") else set()) == stages


@pytest.mark.parametrize(
    ("row", "sections", "stages"),
    [
        (0, {}, {"training"}),
        (25, {}, {"training"}),
        (25, LAST, set()),
        (39, {}, {"evaluation"}),
    ],
    ids=["train", "val that chooses", "val that does not choose", "test"],
)
def test_a_sample_belongs_to_the_stages_that_read_it(compared, image_source, row, sections, stages):
    samples = image_source.samples.copy()
    samples.at[row, "content_hash"] = "other"
    assert compared(sections, sections, replace(image_source, samples=samples)) == stages


class TestCode:
    def code(self, experiment, task, **sections):
        config = experiment(task, **sections)
        trains, evaluates = module.training_code(config)[0], module.evaluation_code(config)[0]
        return set(trains), set(evaluates) - set(trains)

    def test_the_modules_of_the_task_the_model_and_its_augmentations_train(self, experiment):
        trains, _ = self.code(experiment, "detection")
        wanted = {"tasks/detection.py", "models/fcos.py", "training/fit.py", "data/augment/presets.py"}
        assert wanted <= trains

    def test_modules_of_other_experiments_do_not_count(self, experiment):
        trains, evaluates = self.code(experiment, "activity", augment={"name": "jitter"})
        others = {"tasks/detection.py", "tasks/gan.py", "models/unet.py", "data/augment/mixing.py"}
        assert not others & (trains | evaluates)
        assert "data/augment/signals.py" in trains
        assert "tasks/classification.py" in trains  # which the task inherits from

    def test_drawing_and_keeping_do_not_count(self, experiment):
        trains, evaluates = self.code(experiment, "classification")
        assert not [one for one in trains | evaluates if one.startswith(("plots/", "config/", "io/"))]
        assert not {"training/launch.py", "training/state.py", "errors.py"} & (trains | evaluates)

    def test_scoring_trains_only_where_a_validation_figure_chooses(self, experiment):
        trains, _ = self.code(experiment, "classification")
        assert "metrics/classification.py" in trains
        trains, evaluates = self.code(experiment, "classification", train={"select": "last"})
        assert "metrics/classification.py" in evaluates - trains


def test_scores_of_an_unchanged_training_have_its_fingerprint(experiment, image_source):
    config = experiment("classification")
    whole = provenance_of(config, image_source)
    assert evaluated(whole, config, image_source).fingerprint == whole.fingerprint


def test_scores_keep_what_the_training_was_made_from_then(experiment, image_source):
    then = provenance_of(experiment("classification"), image_source)
    config = experiment("classification", train={"epochs": 9}, evaluate={"split": "val"})
    found = evaluated(then, config, image_source)
    assert differences(then, found) == ['`evaluate.split` changed "test" → "val"']


class TestInterrupted:
    @pytest.fixture
    def job(self, experiment, image_source, tmp_path):
        config = experiment("classification", train={"epochs": 3, "checkpoint_every": 1})
        return Job("toy", config, image_source, tmp_path)

    def position(self, job):
        position = prepare_folder(job.folder / "seed_0", job)
        return position.epoch, position.batches

    def test_goes_on_where_only_the_test_split_has_changed(self, job, interrupted):
        interrupted(job)
        samples = job.data.samples.copy()
        samples.at[39, "content_hash"] = "other"
        assert self.position(replace(job, data=replace(job.data, samples=samples))) != (0, 0)

    def test_starts_again_where_code_that_trains_has_changed_and_says_why(
        self, job, interrupted, monkeypatch, caplog
    ):
        interrupted(job)
        digests = module.code_of

        def edited(*arguments):
            code, versions = digests(*arguments)
            return code | {"tasks/classification.py": "other"}, versions

        monkeypatch.setattr(module, "code_of", edited)
        with caplog.at_level(logging.WARNING):
            assert self.position(replace(job, watch=None)) == (0, 0)
        assert "starts again: code of tasks/classification.py changed" in caplog.text

    def test_starts_again_with_other_parameters_and_says_which(self, job, interrupted, experiment, caplog):
        interrupted(job)
        other = replace(job, config=experiment("classification", train={"epochs": 4, "checkpoint_every": 1}))
        with caplog.at_level(logging.WARNING):
            assert self.position(other) == (0, 0)
        assert "starts again: `train.epochs` changed 3 → 4" in caplog.text


def test_a_checkpoint_tells_what_it_was_made_from(experiment, image_source, tmp_path):
    config = experiment("classification", train={"epochs": 1})
    found = fit(Job("toy", config, image_source, tmp_path / "fit"))[0][0].meta
    assert isinstance(found.provenance, Provenance)
    assert found.provenance.fingerprint == found.fingerprint
    assert found.provenance.parameters["train.epochs"] == 1
