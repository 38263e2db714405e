"""A study that several processes share: every trial once, on SQLite and, where there is one, on Postgres."""

import multiprocessing
import os
import uuid

import pytest

from cv_pipelines.tuning.search import Search
from cv_pipelines.tuning.tables import trials_table
from cv_pipelines.tuning.watch import Watcher

POSTGRES = os.environ.get("CV_PIPELINES_TEST_POSTGRES")
"""Address of a database that may be written to, such as `postgresql+psycopg://me@localhost/studies`."""


def take_part(plan):
    Search(plan, Watcher()).run()


@pytest.mark.slow
@pytest.mark.parametrize(
    "storage",
    [None, pytest.param(POSTGRES, marks=pytest.mark.skipif(not POSTGRES, reason="no Postgres to test with"))],
    ids=["sqlite", "postgres"],
)
def test_processes_that_start_at_once_share_the_trials(plan, storage):
    given = plan(
        trials=6, storage=storage, pruner="hyperband", space={"train.optimizer.lr": [0.001, 0.003, 0.01]}
    )
    if storage:  # whatever earlier tests left there
        object.__setattr__(given, "name", f"toy_{uuid.uuid4().hex[:8]}")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=take_part, args=(given,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]
    table = trials_table(Search(given, Watcher()))
    assert table["number"].tolist() == list(range(6))
    assert set(table["state"]) <= {"complete", "pruned"}
    assert table["worker"].nunique() == 2
