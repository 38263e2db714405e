"""Trials before a training, and the retry with smaller batches."""

import json
import logging

import pytest
import torch

from cv_pipelines.errors import ConfigError
from cv_pipelines.training import finders, fit, retries
from cv_pipelines.training.fit import Job


@pytest.fixture
def job(image_source, experiment, tmp_path):
    config = experiment("classification", train={"batch_size": 8, "optimizer": {"lr": 0.01}})
    return Job("toy", config, image_source, tmp_path / "work")


def test_the_rate_is_where_the_loss_falls(job):
    found = finders.find_rate(job, 1e-5, 10.0, 40)
    assert len(found.rates) == len(found.losses)
    assert found.rates == sorted(found.rates)
    assert found.rates[0] == pytest.approx(1e-5, rel=0.5)
    assert 1e-4 < found.suggestion < 3
    assert finders.find_rate(job, 1e-5, 10.0, 40) == found


def test_the_batch_grows_until_memory_runs_out(job, monkeypatch):
    assert finders.find_batch_size(job, 2, 6) == 16  # of 24 samples
    whole = type(finders.make_task(job)).training_step

    def small(self, batch, index):
        if len(batch["label"]) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return whole(self, batch, index)

    monkeypatch.setattr(type(finders.make_task(job)), "training_step", small)
    assert finders.find_batch_size(job, 2, 6) == 8
    assert finders.find_batch_size(job, 16, 6) is None


def test_one_batch_is_learnt_by_heart(job):
    losses = finders.overfit(job, 60)
    assert len(losses) == 60
    assert losses[-1] < 0.1 * losses[0]


def test_a_profile_names_operators_and_leaves_a_trace(job, tmp_path):
    speed, table = finders.profile(job, tmp_path / "deep" / "trace.json", 4)
    assert speed > 0
    assert "conv" in table
    assert json.loads((tmp_path / "deep" / "trace.json").read_text())["traceEvents"]


def test_a_gan_has_no_rate_to_find(sources, experiment, tmp_path):
    with pytest.raises(ConfigError, match="a GAN's players step by turns: no search for a learning rate"):
        finders.find_rate(Job("gan_toy", experiment("gan"), sources["gan"], tmp_path))


class TestOutOfMemory:
    """Retried from the start with half the batch."""

    @pytest.fixture
    def little(self, monkeypatch):
        """Memory for so many samples a batch."""

        def limit(samples):
            whole = fit.fit_seed

            def fit_seed(job, seed):
                if job.config.train.batch_size > samples:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
                return whole(job, seed)

            monkeypatch.setattr(fit, "fit_seed", fit_seed)

        return limit

    def test_the_result_is_that_of_the_smaller_batch(
        self, image_source, experiment, identical, little, tmp_path, caplog
    ):
        small = experiment("classification", train={"batch_size": 2, "accumulate": 4})
        wanted, _ = fit.fit(Job("toy", small, image_source, tmp_path / "small"))
        little(3)
        config = experiment("classification", train={"batch_size": 8, "oom_retries": 2})
        with caplog.at_level(logging.WARNING):
            found, _ = fit.fit(Job("toy", config, image_source, tmp_path / "fit"))
        assert "starting again with batches of 2" in caplog.text
        assert identical(wanted, found)
        assert found[0].meta.config["train"]["batch_size"] == 2
        assert not (tmp_path / "fit").exists()

    def test_only_as_often_as_asked_for_and_only_for_want_of_memory(
        self, image_source, experiment, little, tmp_path
    ):
        little(3)
        config = experiment("classification", train={"batch_size": 8, "oom_retries": 1})
        with pytest.raises(torch.OutOfMemoryError):
            fit.fit(Job("toy", config, image_source, tmp_path / "fit"))

        def broken(config):
            raise RuntimeError("shapes do not fit")

        with pytest.raises(RuntimeError, match="shapes"):
            retries.with_retries(config, broken, tmp_path / "note", "stamp")

    def test_a_training_that_is_taken_up_begins_with_the_batch_that_fitted(self, experiment, tmp_path):
        config = experiment("classification", train={"batch_size": 8, "oom_retries": 3})
        sizes = []

        def run(config):
            sizes.append(config.train.batch_size)
            if config.train.batch_size > 4:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            raise KeyboardInterrupt

        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                retries.with_retries(config, run, tmp_path / "note", "stamp")
        assert sizes == [8, 4, 4]
        with pytest.raises(KeyboardInterrupt):
            retries.with_retries(config, run, tmp_path / "note", "other")
        assert sizes[3:] == [8, 4]

    def test_a_gan_only_halves(self, experiment):
        halved = retries.halved(experiment("gan"))
        assert (halved.train.batch_size, halved.train.accumulate) == (4, 1)
