"""Promotions against MLflow's own registry: what is promoted, what is refused and why, and what undoes it."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from cv_pipelines.config.promotion import PromotionConfig
from cv_pipelines.data.schema import Categories, categories_of
from cv_pipelines.errors import RegistryError
from cv_pipelines.inference.requests import request_of
from cv_pipelines.io.registry import MlflowRegistry
from cv_pipelines.io.tracking import Tracker
from cv_pipelines.plots.promotion import promotion_page
from cv_pipelines.promotion.decide import promote

MODEL = "classification.pets"


@pytest.fixture
def promoted(data, registry):
    """Promotes a candidate; keywords are conditions."""

    def run(candidate, data=data, registry=registry, **conditions):
        # a form that serves takes seconds to write: the tests of that ask for it
        given = {"candidate": candidate.experiment, "bootstrap": {"resamples": 500}, "timings": 3}
        given["serve"] = False
        config = PromotionConfig.model_validate(given | conditions)
        return promote("gate", config, candidate, data, {}, registry)

    return run


def failed(decision):
    return {one["name"]: one["told"] for one in decision["checks"] if not one["passed"]}


def champion(registry):
    found = registry.champion(MODEL)
    return found and (found.number, found.experiment)


@pytest.fixture
def reigning(candidate, promoted, right):
    """A champion that is right in seven of ten samples."""
    return promoted(candidate("first", right(0.7)))


def test_the_first_that_loads_and_keeps_to_its_budgets_is_promoted(reigning, registry):
    assert reigning["outcome"] == "promoted"
    assert reigning["champion"] is None
    assert reigning["comparison"] is None
    assert [one["name"] for one in reigning["checks"]] == [
        *("not rolled back", "loads", "same numbers again", "size", "latency")
    ]  # fmt: skip
    assert reigning["checks"][2]["told"].startswith("accuracy 0.7, and all ")
    assert champion(registry) == ("1", "first")
    version = registry.client.get_model_version(MODEL, "1")
    run = registry.client.get_run(version.run_id)
    assert version.aliases == ["champion"]
    assert version.tags["cv_pipelines.decision"] == run.data.tags["cv_pipelines.decision"] == "promoted"
    assert run.data.tags["cv_pipelines.model"] == f"{MODEL} 1"
    assert run.info.run_name == "first"


def test_the_first_one_has_budgets_too(candidate, promoted, registry, right):
    found = promoted(candidate("first", right(0.7)), megabytes=0.001, latency_ms=0.0001)
    assert found["outcome"] == "refused"
    assert failed(found).keys() == {"size", "latency"}
    assert "at most 0.001 MB" in failed(found)["size"]
    assert champion(registry) is None


def test_a_better_one_is_promoted(reigning, candidate, promoted, registry, right):
    found = promoted(candidate("second", right(0.9)), minimum=0.05)
    assert found["outcome"] == "promoted", failed(found)
    assert champion(registry) == ("2", "second")
    assert found["champion"]["number"] == "1"
    assert found["comparison"]["overall"][0]["effect"] == pytest.approx(0.2)
    page = promotion_page(json.loads(json.dumps(found)))
    assert "The challenger is the champion now." in page
    assert "no class ruined" in page


@pytest.mark.parametrize(("share", "seed"), [(0.7, 1), (0.5, 0), (0.72, 0)], ids=["equal", "worse", "chance"])
def test_one_that_is_not_really_better_is_refused(
    share, seed, reigning, candidate, promoted, registry, right
):
    found = promoted(
        candidate("second", right(share, seed)), worse={}, minimum=0.0 if share != 0.72 else 0.01
    )
    assert found["outcome"] == "refused"
    assert failed(found).keys() == {"better"}
    assert "of the resamples, 95.0% needed" in failed(found)["better"]
    assert champion(registry) == ("1", "first")
    versions = {one.version: one for one in registry.client.search_model_versions(f"name = '{MODEL}'")}
    assert versions[2].tags["cv_pipelines.reason"] == failed(found)["better"]
    assert registry.client.get_model_version_by_alias(MODEL, "challenger").version == 2


def test_better_by_too_little_is_refused(reigning, candidate, promoted, right):
    assert failed(promoted(candidate("second", right(0.9)), minimum=0.3)).keys() == {"better"}


def test_better_on_average_with_a_ruined_class_is_refused(candidate, promoted, registry, right):
    promoted(candidate("first", right(0.4)))
    found = promoted(candidate("second", right(1.0, ruined="cow")), worse={"class": 0.1})
    assert failed(found).keys() == {"no class ruined"}
    assert failed(found)["no class ruined"].startswith("worse by more than 0.1: cow by 0.")
    assert champion(registry) == ("1", "first")
    # said to be no matter, it is none
    assert promoted(candidate("second", right(1.0, ruined="cow")), worse={})["outcome"] == "promoted"


def test_a_ruined_group_is_refused(candidate, promoted, data, right):
    samples = data.samples.assign(group=["night" if i < 24 else "day" for i in range(len(data.samples))])
    people = replace(data, samples=samples)
    promoted(candidate("first", right(0.6)), data=people)
    hits = right(1.0)
    hits[:24] = False
    # two groups are drawn: in a quarter of the resamples it is the bad one twice
    conditions = {"worse": {"group": 0.1}, "bootstrap": {"resamples": 500, "confidence": 0.7}}
    found = promoted(candidate("second", hits), data=people, **conditions)
    assert failed(found).keys() == {"no group ruined"}
    assert "night by" in failed(found)["no group ruined"]
    assert (
        promoted(candidate("second", hits), data=people, smallest=25, **conditions)["outcome"] == "promoted"
    )


def test_another_contract_is_refused(reigning, candidate, promoted, registry, right):
    found = promoted(candidate("second", right(1.0), flip=True))
    assert failed(found).keys() == {"same contract"}
    assert "'flip': False and True" in failed(found)["same contract"]
    assert champion(registry) == ("1", "first")


def test_a_champion_of_other_classes_is_not_judged_by_todays(reigning, candidate, promoted, data, right):
    renamed = replace(data, categories=Categories(labels=categories_of(["cow", "cat", "dog"])))
    found = promoted(candidate("second", right(1.0)), data=renamed)
    assert "version 1 knows other classes" in failed(found)["same contract"]


@pytest.mark.parametrize("damage", ["cut", "gone", "other"])
def test_a_file_that_does_not_load_is_refused(damage, candidate, promoted, registry, monkeypatch, right):
    upload = registry.client.log_model_artifacts

    def damaged(model, folder):
        file = Path(folder) / "seed_0" / ("best.safetensors" if damage != "other" else "model.json")
        if damage == "gone":
            file.unlink()
        else:
            text = file.read_bytes()
            file.write_bytes(
                text[: len(text) // 2] if damage == "cut" else text.replace(b"lookup", b"nowhere")
            )
        upload(model, folder)

    monkeypatch.setattr(registry.client, "log_model_artifacts", damaged)
    found = promoted(candidate("first", right(0.7)))
    assert failed(found).keys() == {"loads"}
    assert found["outcome"] == "refused"
    assert champion(registry) is None


def test_files_that_vanished_from_the_registry_are_refused(reigning, candidate, promoted, registry, right):
    for file in Path(registry.tracker.project, "mlartifacts").rglob("best.safetensors"):
        file.unlink()
    found = promoted(candidate("second", right(0.9)))
    assert failed(found).keys() == {"champion loads"}


def test_other_numbers_than_were_reported_are_refused(candidate, promoted, registry, right):
    one = candidate("first", right(0.7))
    one.metrics["seeds"]["0"]["accuracy"] = 0.75
    found = promoted(one)
    assert failed(found) == {"same numbers again": "accuracy 0.7 instead of 0.75"}
    assert champion(registry) is None
    assert promoted(one, tolerance=0.1)["outcome"] == "promoted"


def test_a_version_is_a_model_of_mlflows_that_answers(candidate, promoted, registry, right, data):
    found = promoted(candidate("first", right(0.7)), serve=True)
    assert found["outcome"] == "promoted", failed(found)
    told = {one["name"]: one["told"] for one in found["checks"]}
    assert told["serves"] == "16 requests answered as the model itself does"
    version = registry.client.get_model_version(MODEL, "1")
    logged = registry.client.get_logged_model(version.tags["cv_pipelines.logged_model"])
    assert (logged.source_run_id, logged.model_type) == (version.run_id, "classification")
    mlflow.set_tracking_uri(registry.tracker.uri)
    try:
        model = mlflow.pyfunc.load_model(f"models:/{MODEL}@champion")
    finally:
        mlflow.set_tracking_uri(None)
    answers = model.predict(pd.DataFrame({"image": [request_of(data, index) for index in range(3)]}))
    wrong = ~right(0.7)[:3]
    assert answers["label"].tolist() == [
        data.categories.names("labels")[(k + wrong[k]) % 3] for k in range(3)
    ]


def test_a_version_that_answers_otherwise_is_refused(candidate, promoted, registry, right, monkeypatch):
    upload = registry.client.log_model_artifacts

    def damaged(model, folder):
        code = Path(folder) / "served_model.py"
        code.write_text(code.read_text().replace("output.astype(float)", "output[::-1].astype(float)"))
        upload(model, folder)

    with monkeypatch.context() as patch:
        patch.setattr(registry.client, "log_model_artifacts", damaged)
        found = promoted(candidate("first", right(0.7)), serve=True)
    assert failed(found).keys() == {"serves"}
    assert "away from the model's own" in failed(found)["serves"]
    # one that was registered without a form that serves says so
    promoted(candidate("second", right(0.8)))
    found = promoted(candidate("third", right(0.9)))
    found = promoted(candidate("second", right(0.8)), serve=True, worse={})
    assert "MLmodel" in failed(found)["serves"]


def test_the_champion_itself_changes_nothing(reigning, candidate, promoted, registry, right):
    found = promoted(candidate("first", right(0.7)))
    assert found["outcome"] == "unchanged"
    assert found["challenger"]["number"] == "1"
    assert len(registry.client.search_model_versions(f"name = '{MODEL}'")) == 1
    assert registry.client.get_model_version(MODEL, "1").aliases == ["champion"]
    assert "champion already" in promotion_page(found)


def test_rolling_back_undoes_promotions_one_after_the_other(reigning, candidate, promoted, registry, right):
    promoted(candidate("second", right(0.9)))
    gone, now = registry.rollback(MODEL)
    assert (gone.number, now.number) == ("2", "1")
    assert champion(registry) == ("1", "first")
    # the next night's run of the same model does not undo what a person decided
    found = promoted(candidate("second", right(0.9)))
    assert failed(found).keys() == {"not rolled back"}
    assert champion(registry) == ("1", "first")
    assert promoted(candidate("third", right(0.95)))["outcome"] == "promoted"
    assert registry.rollback(MODEL)[1].number == "1"
    assert registry.rollback(MODEL)[1] is None
    with pytest.raises(RegistryError, match="no champion to roll back"):
        registry.rollback(MODEL)


def test_of_two_at_once_the_better_one_wins_and_none_is_lost(reigning, candidate, promoted, registry, right):
    both = [candidate("good", right(0.85)), candidate("best", right(0.97))]
    rivals = [MlflowRegistry(Tracker(registry.tracker.config, registry.tracker.project)) for _ in both]
    with ThreadPoolExecutor(2) as pool:
        found = list(
            pool.map(lambda pair: promoted(pair[0], registry=pair[1]), zip(both, rivals, strict=True))
        )
    versions = {
        v.tags["cv_pipelines.experiment"]: v
        for v in registry.client.search_model_versions(f"name = '{MODEL}'")
    }
    assert versions.keys() == {"first", "good", "best"}
    assert champion(registry)[1] == "best"
    assert versions["best"].tags["cv_pipelines.decision"] == "promoted"
    # whoever came second was judged against whoever had come first
    good, best = found
    before = {one["challenger"]["experiment"]: one["champion"]["experiment"] for one in found}
    assert before in ({"good": "first", "best": "good"}, {"good": "best", "best": "first"})
    assert good["outcome"] == ("promoted" if before["best"] == "good" else "refused")
    assert best["outcome"] == "promoted"


def test_a_champion_that_changed_meanwhile_is_noticed(
    reigning, candidate, promoted, registry, right, monkeypatch
):
    better = candidate("best", right(0.97))
    other = MlflowRegistry(Tracker(registry.tracker.config, registry.tracker.project))
    crown, quicker = registry.crown, []

    def late(version, expected):
        if not quicker:  # a machine that does not share the lock
            monkeypatch.setattr(type(other.tracker), "lock_folder", registry.tracker.project / "elsewhere")
            quicker.append(promoted(better, registry=other))
        return crown(version, expected)

    monkeypatch.setattr(registry, "crown", late)
    found = promoted(candidate("good", right(0.85)))
    assert quicker[0]["outcome"] == "promoted"
    assert found["outcome"] == "refused"
    assert found["champion"]["experiment"] == "best"
    assert champion(registry)[1] == "best"


def test_a_champion_that_reigned_twice_is_rolled_back_to_one_that_was_not(
    candidate, promoted, registry, right
):
    first, second = candidate("first", right(0.6)), candidate("second", right(0.9))
    promoted(first)
    promoted(second)
    registry.crown(replace(registry.champion(MODEL), number="1"), registry.champion(MODEL))  # by hand
    gone, now = registry.rollback(MODEL)
    assert (gone.number, now.number) == ("1", "2")
    gone, now = registry.rollback(MODEL)
    assert (gone.number, now) == ("2", None)


def test_a_registry_that_cannot_be_reached_is_told(candidate, promoted, registry, right, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    away = MlflowRegistry(Tracker(registry.tracker.config, registry.tracker.project))
    with pytest.raises(
        RegistryError, match=r"classification.pets: MLflow's registry at http://127.0.0.1:9: "
    ):
        promoted(candidate("first", right(0.7)), registry=away)


def test_an_environment_can_keep_its_models_apart(reigning, candidate, promoted, registry, right):
    config = registry.tracker.config.model_copy(update={"models": "smoke."})
    apart = MlflowRegistry(Tracker(config, registry.tracker.project))
    found = promoted(candidate("tiny", right(0.4)), registry=apart)
    assert (found["outcome"], found["model"]) == ("promoted", f"smoke.{MODEL}")
    assert champion(registry) == ("1", "first")
