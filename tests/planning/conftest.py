"""A toy experiment with all its results in a data folder, as a run leaves them."""

import json

import pytest

from cv_pipelines.planning.experiments import REPORT
from cv_pipelines.training.checkpoints import save_checkpoints
from cv_pipelines.training.fit import Job, fit
from cv_pipelines.training.predict import predict
from cv_pipelines.training.score import score


@pytest.fixture(scope="session")
def ran(experiment, image_source, tmp_path_factory):
    """Config and data folder of the experiment `toy`: treat it as read-only, or copy it."""
    folder = tmp_path_factory.mktemp("data")
    config = experiment("classification", train={"epochs": 1})
    checkpoints, _ = fit(Job("toy", config, image_source, folder / "06_models/toy/work"))
    save_checkpoints(folder / "06_models/toy/checkpoint", checkpoints)
    predictions = predict(config, image_source, checkpoints)
    (folder / "07_model_output/toy").mkdir(parents=True)
    predictions.to_parquet(folder / "07_model_output/toy/predictions.parquet")
    metrics, _, _ = score("toy", config, predictions, image_source, checkpoints, {})
    report = folder / "08_reporting/toy"
    report.mkdir(parents=True)
    (report / "metrics.json").write_text(json.dumps(metrics))
    for name in REPORT:
        (report / name).write_text("")
    return config, folder
