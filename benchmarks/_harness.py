"""What the benchmark scripts share: one side a process, the table that is printed, the file that is kept."""

from __future__ import annotations

import gc
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One comparison; less is better on both sides, so a ratio above 1 means that ours is better.

    Attributes:
        what: what was done.
        unit: of both figures.
        ours: our figure.
        peer: the peer's.
        peer_name: who that is.
        must: the ratio that ours has to reach, or None.
    """

    what: str
    unit: str
    ours: float
    peer: float
    peer_name: str
    must: float | None = None

    @property
    def ratio(self) -> float:
        """How many times better ours is."""
        return self.peer / self.ours


@dataclass(frozen=True)
class Run:
    """What a function took: seconds, growth of its process's peak of memory in MB, and its result."""

    seconds: float
    megabytes: float
    result: Any


def alone(function: Callable[..., Any], *arguments: Any, warm: tuple[Any, ...] | None = None) -> Run:
    """Run a function of the script's top level in a fresh process, so that its peak of memory is its own.

    Args:
        function: what to run.
        arguments: of the run that is measured.
        warm: arguments of a small run before it, so that imports are not what is measured.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (function, arguments, warm))


def in_turns(
    functions: Sequence[Callable[..., Any]], *arguments: Any, warm: tuple[Any, ...], rounds: int = 5
) -> list[Run]:
    """Run each function alone, in turns, so that a busy moment meets all; returns the median run of each."""
    runs = [[alone(function, *arguments, warm=warm) for function in functions] for _ in range(rounds)]
    return [sorted(column, key=lambda run: run.seconds)[rounds // 2] for column in zip(*runs, strict=True)]


def _measured(function: Callable[..., Any], arguments: tuple[Any, ...], warm: tuple[Any, ...] | None) -> Run:
    if warm is not None:
        function(*warm)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here; Linux only
    before = _status("VmRSS")
    started = time.perf_counter()
    result = function(*arguments)
    seconds = time.perf_counter() - started
    return Run(seconds, _status("VmHWM") - before, result)


def _status(key: str) -> float:
    """Read a figure of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def seconds(functions: list[Callable[[], object]], repeats: int = 15) -> list[float]:
    """Return the median seconds of each function; they take turns, so that a busy moment meets all."""
    taken: list[list[float]] = [[] for _ in functions]
    for turn in range(repeats + 1):
        for function, times in zip(functions, taken, strict=True):
            started = time.perf_counter()
            function()
            if turn:
                times.append(time.perf_counter() - started)
    return [median(times) for times in taken]


def report(name: str, rows: list[Row]) -> None:
    """Print the rows and write `results/<name>.json`."""
    for row in rows:
        wanted = "" if row.must is None else f" (asked: {row.must})"
        print(
            f"{row.what}: ours {row.ours:.4g} {row.unit}, {row.peer_name} {row.peer:.4g} {row.unit}, "
            f"ratio {row.ratio:.2f}{wanted}"
        )
    RESULTS.mkdir(exist_ok=True)
    kept = [asdict(row) | {"ratio": row.ratio} for row in rows]
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf8")
