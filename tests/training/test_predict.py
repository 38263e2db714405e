"""Prediction tables of trained toy experiments: their columns, and that scoring takes them as they are."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from cv_pipelines.tasks import MAIN_SCORES, TASKS
from cv_pipelines.training.predict import predict
from cv_pipelines.training.score import score

COLUMNS = {
    "activity": ["sample_id", "probabilities", "seed"],
    "autoencoder": ["sample_id", "image", "seed"],
    "classification": ["sample_id", "probabilities", "seed"],
    "detection": ["sample_id", "category", "score", "x", "y", "w", "h", "seed"],
    "gan": ["sample_id", "set", "image", "embedding", "embedder", "seed"],
    "landmarks": ["sample_id", "score", "keypoints", "seed"],
    "segmentation": ["sample_id", "mask", "seed"],
}


@pytest.fixture(scope="module")
def predicted(trained, experiment, sources):
    found = {}

    def get(task, **changes):
        key = (task, str(changes))
        if key not in found:
            config, checkpoints = experiment(task, **changes), trained(task)[0]
            if task == "detection":  # after two epochs a detector is sure of nothing
                meta = checkpoints[0].meta
                options = meta.options | {"score_threshold": 0.0, "max_detections": 5}
                checkpoints = {0: replace(checkpoints[0], meta=meta.model_copy(update={"options": options}))}
            embedder = trained("classification")[0][0] if task == "gan" else None
            found[key] = (config, predict(config, sources[task], checkpoints, embedder))
        return found[key]

    return get


@pytest.mark.parametrize("task", sorted(TASKS))
def test_the_table_scores_after_a_round_trip_through_parquet(predicted, sources, trained, task, tmp_path):
    config, table = predicted(task)
    assert list(table.columns) == COLUMNS[task]
    assert table["seed"].unique().tolist() == [0]
    table.to_parquet(tmp_path / "predictions.parquet")
    again = pd.read_parquet(tmp_path / "predictions.parquet")
    metrics, details, samples = score("toy", config, again, sources[task], trained(task)[0], {})
    assert any(name.startswith(MAIN_SCORES[task]) for name in metrics["values"])
    json.dumps([metrics, details], allow_nan=False)
    assert task == "gan" or set(samples.columns) == {"sample_id", "score", "note"}


@pytest.mark.parametrize("task", ["activity", "autoencoder", "classification", "segmentation"])
def test_a_row_a_sample_in_order(predicted, sources, task):
    _, table = predicted(task)
    assert table["sample_id"].tolist() == sources[task].only("test").samples["sample_id"].tolist()


def test_the_split_asked_for(predicted, sources):
    _, table = predicted("classification", evaluate={"split": "val", "batch_size": 3})
    assert table["sample_id"].tolist() == sources["classification"].only("val").samples["sample_id"].tolist()


def test_validation_while_training_and_scoring_afterwards_agree(predicted, trained, sources):
    checkpoints, history = trained("classification")
    config, table = predicted("classification", evaluate={"split": "val"})
    metrics, _, _ = score("toy", config, table, sources["classification"], checkpoints, {})
    meta = checkpoints[0].meta
    during = history[history["epoch"] == meta.epoch].set_index("name")["value"]
    for name, value in metrics["values"].items():
        assert value == pytest.approx(during[f"val_{name}"], abs=1e-5), name


def test_batch_size_changes_nothing(predicted):
    _, one = predicted("segmentation")
    _, other = predicted("segmentation", evaluate={"batch_size": 3})
    pd.testing.assert_frame_equal(one, other)


def test_generated_sets_are_as_large_as_the_split(predicted, trained, experiment, sources):
    _, table = predicted("gan")
    assert table.groupby("set", sort=False).size().to_dict() == {"real": 8, "generated": 8, "untrained": 8}
    assert table["sample_id"].is_unique
    assert set(table["embedder"]) == {"classification_toy"}
    assert {len(vector) for vector in table["embedding"]} == {8}
    again = predict(experiment("gan"), sources["gan"], trained("gan")[0], trained("classification")[0][0])
    assert again["image"].tolist() == table["image"].tolist()


def test_a_gan_needs_an_embedder(trained, experiment, sources):
    with pytest.raises(ValueError, match="name one in the experiment's `embedder`"):
        predict(experiment("gan"), sources["gan"], trained("gan")[0])


def test_a_detector_that_finds_nothing_still_scores(trained, experiment, sources):
    config, data, checkpoints = experiment("detection"), sources["detection"], trained("detection")[0]
    meta = checkpoints[0].meta
    meta = meta.model_copy(update={"options": meta.options | {"score_threshold": 1.0}})
    table = predict(config, data, {0: replace(checkpoints[0], meta=meta)})
    assert table.empty
    metrics, _, samples = score("toy", config, table, data, checkpoints, {})
    assert metrics["values"]["map"] == 0.0
    assert len(samples) == 2
