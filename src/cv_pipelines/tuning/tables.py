"""The trials of a study as a table, and the study again from its table: pages need no storage."""

from __future__ import annotations

import json
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, create_trial

from cv_pipelines.config.study import StudyConfig
from cv_pipelines.tuning.search import STATES, Search, best_trial
from cv_pipelines.tuning.space import distributions, drawn_values
from cv_pipelines.tuning.storage import Direction, shown

COLUMNS = ["number", "state", "value", "epochs", "seconds", "worker", "same_as", "reason", "params", "curve"]


def trials_table(search: Search) -> pd.DataFrame:
    """Return a row a finished trial: `COLUMNS`, then a column a searched key.

    `value` is the validation figure, `epochs` how many were validated, `seconds` the time of the process that
    ended it, `same_as` the trial whose figure it took, `params` and `curve` (epoch to figure) JSON.
    """
    space = search.plan.config.space
    found = [_row(t) for t in search.study.get_trials(deepcopy=False) if t.state in STATES]
    table = pd.DataFrame(found, columns=COLUMNS).astype({"same_as": "Int64"})
    for key in space:
        values = [json.loads(params).get(key) for params in table["params"]]
        alike = len({type(value) for value in values}) <= 1
        table[key] = values if alike else [str(value) for value in values]  # one type a column
    return table


def _row(trial: FrozenTrial) -> dict[str, Any]:
    noted = trial.user_attrs
    return {
        "number": trial.number,
        "state": STATES[trial.state],
        "value": trial.value,
        "epochs": max(trial.intermediate_values, default=0),
        "seconds": float(noted.get("seconds", 0.0)),
        "worker": noted.get("worker"),
        "same_as": noted.get("same_as"),
        "reason": noted.get("reason"),
        "params": json.dumps(trial.params),
        "curve": json.dumps(trial.intermediate_values),
    }


def summary(search: Search) -> dict[str, Any]:
    """Return what `study.json` holds: what was searched, how far it is, and the best trial.

    Raises:
        ValueError: no trial is complete.
    """
    best = best_trial(search.study)
    if best is None:
        raise ValueError(f"{search.plan.name}: no trial is complete")
    config = search.plan.config
    states = [STATES.get(t.state, "running") for t in search.study.get_trials(deepcopy=False)[: config.total]]
    return {
        "study": search.plan.name,
        "experiment": config.experiment,
        "source": search.plan.job.config.source,
        "task": search.plan.job.config.task,
        "monitor": search.monitor,
        "direction": "maximize" if search.higher else "minimize",
        "epochs": search.plan.job.config.train.epochs,
        "seeds": search.plan.job.config.train.seeds,
        "total": config.total,
        "states": {state: states.count(state) for state in sorted(set(states))},
        "storage": shown(search.url),
        "best": {
            "trial": best.number,
            "value": best.value,
            "values": drawn_values(config.space, best.params),
        },
    }


def shorter(key: str) -> str:
    """Return a searched key as figures show it, where most would begin with `train.`."""
    return key.removeprefix("train.")


def study_of(config: StudyConfig, trials: pd.DataFrame, direction: Direction) -> optuna.Study:
    """Make a study in memory from its table, for Optuna's figures.

    Args:
        config: the study.
        trials: the table.
        direction: `maximize` or `minimize`.
    """
    names = {name: state for state, name in STATES.items()}
    possible = {shorter(key): value for key, value in distributions(config.space).items()}
    study = optuna.create_study(direction=direction)
    for row in trials.to_dict("records"):
        params = {shorter(key): value for key, value in json.loads(row["params"]).items()}
        curve = {int(epoch): value for epoch, value in json.loads(row["curve"]).items()}
        study.add_trial(
            create_trial(
                state=names[row["state"]],
                value=None if pd.isna(row["value"]) else row["value"],
                params=params,
                distributions={key: possible[key] for key in params},
                intermediate_values=curve,
            )
        )
    return study
