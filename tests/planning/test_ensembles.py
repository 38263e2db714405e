"""The plan of an ensemble: what of its models, its parameters, its data and its code changed."""

import json
import shutil
from dataclasses import replace

import pytest

from cv_pipelines.config.ensemble import EnsembleConfig
from cv_pipelines.planning.ensembles import Together, ensemble_steps
from cv_pipelines.planning.experiments import EARLIER, load_metas
from cv_pipelines.planning.steps import Step
from cv_pipelines.training import fingerprint as fingerprints
from cv_pipelines.training.ensemble import provenance_of


@pytest.fixture
def planned(ran, image_source, tmp_path):
    """Plans an ensemble of the toy experiment alone, over a copy of its results."""
    config, original = ran
    folder = tmp_path / "data"
    shutil.copytree(original, folder)
    metas = {"toy": load_metas(folder / "06_models/toy/checkpoint")}
    made_from = provenance_of(EnsembleConfig(members=["toy"]), {"toy": config}, metas, image_source)
    note = folder / "08_reporting/both/metrics.json"
    note.parent.mkdir()
    note.write_text(json.dumps({"provenance": made_from.model_dump(mode="json")}))

    def run(data=image_source, change=None, above=(), **values):
        if change:
            change(folder)
        together = Together("both", EnsembleConfig(members=["toy"], **values), {"toy": config}, data)
        (step,) = ensemble_steps(together, folder, [Step("toy", "train_model"), *above])
        return step.state, step.reasons

    return run


def test_nothing_is_needed_where_nothing_has_changed(planned):
    assert planned() == ("fresh", [])
    assert planned(data=None) == ("fresh", [])


def test_weights_and_views_are_named_with_both_values(planned):
    assert planned(weights=[2.0]) == ("run", ["`weight.toy` changed 1.0 → 2.0"])
    assert planned(evaluate={"flip": True}) == ("run", ["`evaluate.flip` changed false → true"])


def test_other_models_are_named(planned):
    def train(folder):
        file = folder / "06_models/toy/checkpoint/seed_0/model.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"fingerprint": "another"}))

    assert planned(change=train) == ("run", ["model toy/0 changed"])


def test_other_scored_samples_are_named(planned, image_source):
    samples = image_source.samples.copy()
    samples.at[39, "content_hash"] = "other"
    assert planned(data=replace(image_source, samples=samples)) == ("run", ["data.test changed"])


def test_code_is_named(planned, monkeypatch):
    digests = fingerprints.code_of
    edited = {"training/ensemble.py": "other"}
    monkeypatch.setattr(
        fingerprints, "code_of", lambda *given: (digests(*given)[0] | edited, digests(*given)[1])
    )
    assert planned() == ("run", ["code of training/ensemble.py changed"])


def test_members_that_are_trained_anew(planned):
    training = Step("toy", "train_model", state="run")
    assert planned(above=[training]) == ("run", ["toy.train_model runs"])


@pytest.mark.parametrize(
    ("text", "told"), [(None, "not scored yet"), ('{"provenance": null}', EARLIER), ("{", EARLIER)]
)
def test_results_that_say_nothing_of_what_they_were_made_from(planned, text, told):
    def write(folder):
        file = folder / "08_reporting/both/metrics.json"
        file.unlink() if text is None else file.write_text(text)

    assert planned(change=write) == ("run", [told])
