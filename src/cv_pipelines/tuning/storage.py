"""Where a study is kept: opened by many processes at once, checked against what it was begun with."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.exceptions import StorageInternalError
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from cv_pipelines.errors import StudyError
from cv_pipelines.tuning.workers import gone, worker

logger = logging.getLogger(__name__)

Direction = Literal["maximize", "minimize"]

ATTEMPTS = 5
"""How often the storage is opened, a second apart: two processes may be making its tables at once."""
BEATS = 10
"""Signs of life of a trial in the time after which it would be taken for lost."""


def address(url: str | None, folder: Path) -> str:
    """Return SQLAlchemy's address of a study: the one that is configured, or a file in its folder."""
    return url or f"sqlite:///{folder.resolve() / 'study.db'}"


def shown(url: str) -> str:
    """Return an address without its password."""
    return make_url(url).render_as_string(hide_password=True)


def open_storage(url: str) -> RDBStorage:
    """Connect to a storage; make its tables where there are none.

    Raises:
        StudyError: it cannot be reached, or the driver of its database is not installed.
    """
    if url.startswith("sqlite"):
        Path(str(make_url(url).database)).parent.mkdir(parents=True, exist_ok=True)
    # A minute is what a locked sqlite file may cost; others are asked for life before each use.
    options: dict[str, Any] = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return RDBStorage(url, engine_kwargs=options)
        except ImportError as error:
            raise StudyError(f"{shown(url)}: needs another package, such as psycopg: {error}") from None
        except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
            if attempt == ATTEMPTS:
                raise StudyError(f"{shown(url)}: cannot be opened: {error}") from None
            time.sleep(1)
    raise AssertionError("unreachable")


@contextmanager
def told_apart(url: str) -> Iterator[None]:
    """Tell a storage that fails apart from a trial that does.

    Raises:
        StudyError: in place of the database's errors.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise StudyError(
            f"{shown(url)}: the storage fails: {error}. The same command goes on when it is back"
        ) from error


def open_study(
    name: str,
    storage: RDBStorage,
    definition: dict[str, Any],
    direction: Direction,
    sampler: BaseSampler,
    pruner: BasePruner,
) -> optuna.Study:
    """Begin a study, or go on with it.

    Args:
        name: of the study.
        storage: that holds it.
        definition: flat: all that must be the same for figures to be compared.
        direction: `maximize` or `minimize`.
        sampler: draws parameters.
        pruner: ends trials early.

    Raises:
        StudyError: the storage has a study of this name with another definition; names what differs.
    """
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        direction=direction,
        sampler=sampler,
        pruner=pruner,
        load_if_exists=True,
    )
    wanted = json.loads(json.dumps(definition, default=str))
    known = study.user_attrs.get("definition")
    if known is None:
        study.set_user_attr("definition", wanted)
        study.set_user_attr("id", os.urandom(6).hex())
        return study
    changed = sorted(key for key in wanted.keys() | known.keys() if wanted.get(key) != known.get(key))
    if changed:
        told = ", ".join(f"{key} (was {known.get(key)!r}, is {wanted.get(key)!r})" for key in changed[:5])
        raise StudyError(
            f"{name}: {shown(str(storage.url))} holds a study of this name with other parameters or data: "
            f"{told}. Give this one another name, or remove the old one"
        )
    return study


def take_up(study: optuna.Study, storage: RDBStorage, lost_after: float) -> list[int]:
    """Put the trials whose process is gone back in the queue; return their numbers.

    Optuna's own heartbeat would fail such a trial and queue its parameters under a new number. Under its own,
    a trial goes on from the state that its training kept, and the study ends as if nothing had happened.

    Args:
        study: whose trials are looked at.
        storage: that holds it.
        lost_after: seconds without a sign of life that a process of another machine may have.
    """
    lost = [
        trial
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if _is_lost(trial, lost_after)
    ]
    for trial in lost:
        logger.info("trial %d was left by %s: taking it up", trial.number, trial.user_attrs.get("worker"))
        storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
    return [trial.number for trial in lost]


def _is_lost(trial: FrozenTrial, lost_after: float) -> bool:
    if gone(str(trial.user_attrs.get("worker", ""))):
        return True
    started = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
    return time.time() - float(trial.user_attrs.get("seen", started)) > lost_after


@contextmanager
def signs_of_life(storage: RDBStorage, trial: int, lost_after: float) -> Iterator[None]:
    """Note every so often that a trial's process lives, as long as the context lasts.

    Args:
        storage: that holds the trial.
        trial: its id in the storage.
        lost_after: seconds after which others take it for lost.
    """
    stop = threading.Event()

    def beat() -> None:
        """Give signs of life until told to stop."""
        while not stop.wait(lost_after / BEATS):
            try:
                storage.set_trial_user_attr(trial, "seen", time.time())
            except Exception as error:  # the training is worth more: the next beat tries again
                logger.warning("no sign of life could be given: %s", str(error)[:200])

    storage.set_trial_user_attr(trial, "worker", worker())
    storage.set_trial_user_attr(trial, "seen", time.time())
    thread = threading.Thread(target=beat, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
