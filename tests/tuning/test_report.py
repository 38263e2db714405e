"""The page of a study and the file of its winner, from the saved table alone."""

import json

import pandas as pd
import pytest
import yaml

from cv_pipelines.config.study import StudyConfig
from cv_pipelines.tuning.report import study_page
from cv_pipelines.tuning.tables import COLUMNS, shorter, study_of
from cv_pipelines.tuning.winner import winner_yaml

EXPERIMENT = {
    "task": "classification",
    "source": "digits",
    "tour": True,
    "group": {"name": "many", "panels": {}},
    "model": {"name": "residual_cnn", "channels": [4, 8]},
    "train": {"epochs": 2, "optimizer": {"name": "adamw", "lr": 0.003}},
}
SPACE = {
    "train.optimizer.lr": {"low": 0.0001, "high": 0.1, "log": True},
    "model.channels": [[4, 8], [8, 16]],
    "train.batch_size": [8, 16, None],
}
CONFIG = StudyConfig.model_validate({"experiment": "toy", "trials": 9, "space": SPACE})


def trial(number, lr, value, state="complete", **more):
    params = {
        "train.optimizer.lr": lr,
        "model.channels": "[4, 8]",
        "train.batch_size": 8 if number % 2 else None,
    }
    curve = {epoch: value or 0.0 for epoch in range(1, 3 if state == "complete" else 2)}
    base = {"number": number, "state": state, "value": value, "epochs": len(curve), "seconds": 1.5}
    base |= {"worker": "here:1", "same_as": None, "reason": None, "params": json.dumps(params)}
    return base | {"curve": json.dumps(curve)} | more


def made(*rows, best=0, direction="maximize"):
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"same_as": "Int64"})
    states = table["state"].value_counts().to_dict()
    chosen = table[table["number"] == best].iloc[0]
    values = json.loads(chosen["params"]) | {"model.channels": [4, 8]}
    found = {
        "study": "search", "experiment": "toy", "source": "digits", "monitor": "val_accuracy",
        "direction": direction, "seeds": [0], "total": 9, "states": states,
        "best": {"trial": best, "value": float(chosen["value"]), "values": values},
    }  # fmt: skip
    return table, found


def test_the_page_shows_the_winner_beside_the_experiment_and_every_trial():
    table, found = made(
        trial(0, 0.003, 0.8),
        trial(1, 0.01, 0.9),
        trial(2, 0.09, 0.2, "pruned"),
        trial(3, 0.02, None, "failed", reason="NotFiniteError: <nan>", curve="{}", epochs=0),
        trial(4, 0.01, 0.9, same_as=1),
        best=1,
    )
    page = study_page(CONFIG, table, found, EXPERIMENT)
    body = page.split("</script>", 1)[1]
    assert "kedro run --pipeline search_best" in body
    assert "validation accuracy" in body
    for part in ("Best", "History", "Importance", "Parallel coordinates", "Slices", "Curves", "Trials"):
        assert f"<h2>{part}</h2>" in body
    assert body.count("Plotly.newPlot") == 5
    assert "no data" not in body
    assert "NotFiniteError: &lt;nan&gt;" in body
    assert "same as trial 1" in body
    rows = body.split("<h2>Trials</h2>")[1]
    places = [rows.index(f'<tr><td class="number">{n}</td>') for n in (1, 0, 2, 3)]
    assert places == sorted(places)  # the best first, then the pruned, then the failed


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_one_trial_is_enough_for_a_page(direction):
    table, found = made(trial(0, 0.003, 0.8), direction=direction)
    page = study_page(CONFIG, table, found, EXPERIMENT)
    assert "needs two complete trials" in page


def test_a_hopeless_trial_does_not_flatten_the_others():
    rows = [trial(n, 0.003 + n / 1000, 0.9 + n / 1000) for n in range(6)]
    table, found = made(*rows, trial(6, 0.09, 0.0), best=5)
    assert "1 far worse trial lies outside" in study_page(CONFIG, table, found, EXPERIMENT)


def test_the_study_of_a_table_has_its_trials():
    table, _ = made(trial(0, 0.003, 0.8), trial(1, 0.01, 0.2, "pruned"))
    study = study_of(CONFIG, table, "maximize")
    assert [t.value for t in study.trials] == [0.8, 0.2]
    assert study.trials[0].params == {shorter(k): v for k, v in json.loads(table["params"][0]).items()}
    assert study.trials[1].intermediate_values == {1: 0.2}


def test_the_winner_is_a_whole_experiment_of_its_own():
    _, found = made(trial(0, 0.02, 0.8))
    text = winner_yaml(found, EXPERIMENT)
    assert yaml.safe_load(text) == {
        "search_best": {
            "task": "classification",
            "source": "digits",
            "model": {"name": "residual_cnn", "channels": [4, 8]},
            "train": {"epochs": 2, "optimizer": {"name": "adamw", "lr": 0.02}, "batch_size": None},
        }
    }
    comment = [line for line in text.splitlines() if line.startswith("#")]
    assert "trial 0 of 9 (1 complete)" in comment[0]
    assert "validation accuracy 0.8, the highest; toy with" in comment[1]
