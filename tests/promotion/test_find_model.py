"""Models by the names that MLflow gives them: alias, version, run."""

import pytest

from cv_pipelines.config.promotion import PromotionConfig
from cv_pipelines.errors import CheckpointError
from cv_pipelines.io.models import find_model
from cv_pipelines.promotion.decide import promote
from cv_pipelines.training.checkpoints import save_checkpoints

MODEL = "classification.pets"


@pytest.fixture
def find(registry, tmp_path):
    """Finds a model by name, in the registry of the test."""
    return lambda name, seed=None: find_model(tmp_path / "data", name, seed, lambda: registry.tracker)


@pytest.fixture
def versions(candidate, data, registry, right):
    """Two promoted versions; the second one is the champion."""
    for name, share in (("first", 0.5), ("second", 0.9)):
        values = {"candidate": name, "serve": False, "timings": 1, "bootstrap": {"resamples": 100}}
        promote(
            "gate", PromotionConfig.model_validate(values), candidate(name, right(share)), data, {}, registry
        )


def test_a_registered_model_is_found_by_alias_and_by_version(versions, find):
    assert find(f"models:/{MODEL}@champion").meta.experiment == "second"
    assert find(f"models:/{MODEL}/1").meta.experiment == "first"
    assert find(f"models:/{MODEL}/2", seed=0).state.keys() == {"table"}


def test_a_run_is_found_by_the_model_that_it_logged(versions, find, registry):
    run = registry.client.get_model_version(MODEL, "1").run_id
    assert find(f"runs:/{run}").meta.experiment == "first"


def test_a_run_that_logged_no_model_is_found_by_its_training_on_this_machine(
    candidate, find, registry, right, tmp_path
):
    (seed, saved), *_ = candidate("third", right(0.7)).checkpoints.items()
    client = registry.client
    tags = {"mlflow.runName": "third", "fingerprint": saved.meta.fingerprint}
    run = client.create_run(registry.tracker.experiment_id, tags=tags).info.run_id
    with pytest.raises(CheckpointError, match=r"the run \(third\) logged no model, and .* holds none of its"):
        find(f"runs:/{run}")
    folder = tmp_path / "data/06_models/third/checkpoint"
    folder.parent.mkdir(parents=True)
    save_checkpoints(folder, {seed: saved})
    assert find(f"runs:/{run}").meta == saved.meta
    client.set_tag(run, "fingerprint", "of another training")
    with pytest.raises(CheckpointError, match="holds none of its training"):
        find(f"runs:/{run}")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("models:/nobody@champion", "no registered model 'nobody@champion'.*models are classification.pets"),
        (f"models:/{MODEL}@nobody", "no registered model 'classification.pets@nobody'"),
        (f"models:/{MODEL}/9", "no registered model 'classification.pets/9'"),
        (f"models:/{MODEL}", "write MODEL@champion or MODEL/VERSION"),
        ("runs:/0123", "no run '0123'"),
        ("nobody", r"no trained model 'nobody'; there are: none; of MLflow: models:/NAME@champion"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(name, told, versions, find):
    with pytest.raises(CheckpointError, match=told):
        find(name)


def test_a_seed_that_it_was_not_trained_with_is_refused(versions, find):
    with pytest.raises(CheckpointError, match="no seed 7; there are 0"):
        find(f"models:/{MODEL}@champion", seed=7)
