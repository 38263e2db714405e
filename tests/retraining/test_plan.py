"""What a retraining covers, read from the project's own files and from wrong ones."""

import shutil
from pathlib import Path

import pytest
import yaml

from cv_pipelines.errors import ConfigError
from cv_pipelines.retraining.plan import make_plan

PROJECT = Path(__file__).resolve().parents[2]


def test_the_projects_own_retraining_covers_what_its_file_lists():
    values = yaml.safe_load((PROJECT / "conf/base/retrain.yml").read_text(encoding="utf8"))
    plan = make_plan(PROJECT / "conf", values)
    assert plan.promotions == {"promote_digits": "classification_digits"}
    assert plan.sources == {"digits": "drift_digits"}
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf8"))["stages"]
    assert set(plan.stages) <= stages.keys()


def test_what_an_experiment_starts_from_comes_before_it():
    plan = make_plan(
        PROJECT / "conf", {"experiments": ["classification_digits_pretrained", "ensemble_digits"]}
    )
    order = list(plan.experiments)
    assert order.index("autoencoder_digits") < order.index("classification_digits_pretrained")
    assert order[-1] == "ensemble_digits"
    assert plan.experiments["classification_digits_pretrained"] == {"digits", "autoencoder_digits"}
    assert plan.experiments["ensemble_digits"] > {"digits"}
    assert plan.experiments["ensemble_digits"] - {"digits"} < set(order)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"promotion": []}, "retrain.yml: promotion: unknown key .*; allowed are experiments, promotions"),
        (
            {"promotions": ["promote_x"]},
            "retrain.yml: promotions: no 'promote_x' .*; there are promote_digits",
        ),
        (
            {"experiments": ["mine"]},
            "retrain.yml: experiments: no 'mine' that conf/base declares; there are act",
        ),
    ],
)
def test_a_wrong_file_is_told_with_what_is_allowed(values, told):
    with pytest.raises(ConfigError, match=told):
        make_plan(PROJECT / "conf", values)


def test_raw_files_under_dvc_may_not_be_read_from_elsewhere(tmp_path, monkeypatch):
    shutil.copytree(PROJECT / "conf/base", tmp_path / "conf/base")
    note = tmp_path / "data/01_raw/camvid.dvc"
    note.parent.mkdir(parents=True)
    note.touch()
    values = {"experiments": ["segmentation_camvid"]}
    monkeypatch.delenv("CV_PIPELINES_RAW", raising=False)
    assert make_plan(tmp_path / "conf", values).tracked == {"camvid": "data/01_raw/camvid.dvc"}
    monkeypatch.setenv("CV_PIPELINES_RAW", "/somewhere")
    with pytest.raises(
        ConfigError, match=r"camvid: DVC tracks .*data/01_raw/camvid, but .*'/somewhere': unset"
    ):
        make_plan(tmp_path / "conf", values)
