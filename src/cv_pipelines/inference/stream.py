"""Reading ahead of the model, in threads and in bounded memory; decoders and resizes free Python's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` values; the last may be shorter."""
    iterator = iter(values)
    while part := list(islice(iterator, size)):
        yield part


def mapped_ahead(function: Callable[[T], R], values: Iterable[T], workers: int) -> Iterator[R]:
    """Yield `function(value)` in order, computed in threads while the caller is busy.

    At most `workers` + 2 values are under way or waiting; `values` is iterated in a thread of its own.

    These threads compute without OpenMP's team: with teams of theirs there would be more of its threads than
    cores, and it would put them all to sleep after every layer, the model's too.
    """
    source, threads = iter(values), torch.get_num_threads()
    try:
        with ThreadPoolExecutor(1) as feeder, ThreadPoolExecutor(workers, initializer=_alone) as pool:

            def submit() -> Future[R] | None:
                """Take the next value, and have it worked on; None at the end."""
                for value in source:
                    return pool.submit(function, value)
                return None

            waiting = deque(feeder.submit(submit) for _ in range(workers + 2))
            try:
                while (job := waiting.popleft().result()) is not None:
                    waiting.append(feeder.submit(submit))
                    yield job.result()
            finally:
                for rest in waiting:
                    rest.cancel()
    finally:
        torch.set_num_threads(threads)


def _alone() -> None:
    torch.set_num_threads(1)  # of this thread, and of all that begin before it is set back
