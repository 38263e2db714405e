"""The learning rate falls when the validation score does not get better."""

import pytest

from cv_pipelines.errors import ConfigError
from cv_pipelines.training.fit import Job, fit


def test_the_rate_falls_after_so_many_validations_without_a_better_score(image_source, experiment, tmp_path):
    train = {
        "epochs": 5,
        "optimizer": {"lr": 1e-6},
        "schedule": {"name": "plateau", "patience": 2, "factor": 0.5},
    }
    config = experiment("classification", train=train)
    _, history = fit(Job("toy", config, image_source, tmp_path / "fit"))
    table = history.pivot(index="epoch", columns="name", values="value")
    assert table["val_accuracy"].nunique() == 1  # at this rate nothing is learnt
    assert table["lr"].tolist() == pytest.approx([1e-6, 1e-6, 5e-7, 5e-7, 2.5e-7])


def test_a_source_without_validation_is_refused(image_source, experiment, tmp_path):
    config = experiment("classification", train={"schedule": {"name": "plateau"}})
    with pytest.raises(ConfigError, match="plateau' needs a validation split"):
        fit(Job("toy", config, image_source.only("train"), tmp_path / "fit"))
