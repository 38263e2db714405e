"""What a run trained is logged with it as a model; what is in the way harms no run."""

import logging

import pytest

from cv_pipelines.io.logged_models import log_trained
from cv_pipelines.io.models import find_model
from cv_pipelines.io.registry import MlflowRegistry
from cv_pipelines.io.tracking import Tracker, TrackingConfig
from cv_pipelines.training.checkpoints import save_checkpoints


@pytest.fixture(scope="module")
def tracker(tmp_path_factory):
    config = TrackingConfig(tracking_uri="sqlite:///m.db", experiment="x", log_models=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield Tracker(config, tmp_path_factory.mktemp("project"))


@pytest.fixture
def logged(tracker, checkpoint, sources, tmp_path):
    """Logs the model of a task's toy experiment; returns it and the models of its run."""

    def log(task):
        saved = checkpoint(task)
        name = saved.meta.experiment
        tags = {"mlflow.runName": name, "fingerprint": saved.meta.fingerprint}
        run = tracker.client.create_run(tracker.experiment_id, tags=tags).info.run_id
        folder = tmp_path / "06_models" / name / "checkpoint"
        folder.parent.mkdir(parents=True)
        save_checkpoints(folder, {0: saved})
        log_trained(tracker, tmp_path, name, sources[task])
        return saved, run, MlflowRegistry(tracker).logged(run)

    return log


def test_a_model_is_logged_with_its_run_and_found_by_it(logged, tracker, tmp_path):
    saved, run, models = logged("classification")
    assert [one.model_type for one in models] == ["classification"]
    files = MlflowRegistry(tracker).fetch_run(run, tmp_path / "fetched")
    assert (files / "MLmodel").is_file()
    assert (files / "input_example.json").is_file() or list(files.glob("*input_example*"))
    assert find_model(tmp_path, f"runs:/{run}", tracker=lambda: tracker).meta == saved.meta


def test_a_model_without_a_form_that_serves_is_logged_as_its_checkpoint(logged, tracker, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        saved, run, models = logged("gan")
    assert len(models) == 1
    assert "gan_toy is logged as a checkpoint" in caplog.text
    assert find_model(tmp_path, f"runs:/{run}", tracker=lambda: tracker).meta == saved.meta


def test_what_is_in_the_way_is_a_warning(tracker, tmp_path, sources, caplog):
    log_trained(tracker, tmp_path, "nobody", sources["classification"])
    assert "the model of nobody is not logged: no trained model 'nobody'" in caplog.text
