"""One function over many rows, on all cores of this machine or of a cluster, in the order of the rows.

joblib does the work. `running_on` says where; outside of it rows are done one after the other, here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from joblib import Parallel, delayed, parallel_config
from rich.console import Console
from rich.progress import track

from cv_pipelines.config import Engine
from cv_pipelines.errors import ConfigError

T = TypeVar("T")
R = TypeVar("R")

BATCHES = 1000
"""Batches that rows are cut into: to send one costs a cluster as much as to inspect several images."""

SMALLEST, LARGEST = 32, 4096
"""Rows in a batch."""


BACKENDS = {"threads": "threading", "processes": "loky"}


@contextmanager
def running_on(engine: Engine) -> Iterator[None]:
    """Do what `in_parallel` does within this context on the engine.

    Raises:
        ConfigError: the engine is a cluster whose library is not installed, or that does not answer.
    """
    if engine.backend == "dask":
        with _dask_client(engine), parallel_config("dask"):
            yield
    else:
        with parallel_config(BACKENDS[engine.backend], n_jobs=engine.workers or -1):
            yield


@contextmanager
def _dask_client(engine: Engine) -> Iterator[None]:
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError("engine: backend dask needs an extra: pip install 'cv_pipelines[dask]'") from None
    make: Any = Client  # which brings no types
    local = {"n_workers": engine.workers, "threads_per_worker": 1, "dashboard_address": None}
    try:
        client = make(engine.address) if engine.address else make(**local)
    except (OSError, ValueError) as error:  # OSError: nobody answers; ValueError: no address
        raise ConfigError(f"engine: address: no Dask scheduler at {engine.address!r}: {error}") from None
    with client:
        yield


def in_parallel(
    function: Callable[[T], R], rows: Sequence[T], title: str, *, held: int | None = None
) -> Iterator[R]:
    """Yield `function(row)` for every row, with progress on a terminal.

    Args:
        function: of the top level of a module (or a `functools.partial` of one), so that it can travel.
        rows: what it is applied to.
        title: said beside the progress bar.
        held: how many results may wait in memory, where they are large; None for any number.
    """
    step = held or max(len(rows), 1)
    parts = (rows[start : start + step] for start in range(0, len(rows), step))
    yield from track(
        (result for part in parts for result in _results(function, part)),
        title,
        total=len(rows),
        transient=True,
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )


def _results(function: Callable[[T], R], rows: Sequence[T]) -> Iterator[R]:
    size = min(max(len(rows) // BATCHES, SMALLEST), LARGEST)
    tasks = (delayed(_apply)(function, rows[start : start + size]) for start in range(0, len(rows), size))
    # Rows are a few milliseconds of C code that frees the interpreter's lock, so threads are the default.
    for batch in Parallel(prefer="threads", return_as="generator", batch_size=1)(tasks):
        yield from batch


def _apply(function: Callable[[T], R], rows: Sequence[T]) -> list[R]:
    return [function(row) for row in rows]
