"""What an engine costs a row: the time of doing nothing to many rows on threads, processes and Dask.

The results travel to one process, which writes the tables, so this bounds how many cores are of use.
"""

from __future__ import annotations

import time

from _harness import Row, report
from cv_pipelines.config import Engine
from cv_pipelines.data.inspection import ImageInfo
from cv_pipelines.data.parallel import in_parallel, running_on

ROWS, WORKERS = 400_000, 2


def inspected(path: str) -> ImageInfo:
    """Return what inspecting a file gives, without opening it."""
    return ImageInfo(path, 500, 375, "RGB", "JPEG", path[-32:])


def microseconds(engine: Engine) -> float:
    """Return the time a row, once the engine is there."""
    paths = [f"ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_{k:08d}.JPEG" for k in range(ROWS)]
    with running_on(engine):
        list(in_parallel(inspected, paths[:1000], "Starting"))
        started = time.perf_counter()
        found = sum(1 for _ in in_parallel(inspected, paths, "Rows"))
        assert found == ROWS
        return 1e6 * (time.perf_counter() - started) / ROWS


def main() -> None:
    """Measure each engine beside a plain loop."""
    paths = [str(k) for k in range(ROWS)]
    started = time.perf_counter()
    _ = [inspected(path) for path in paths]
    loop = 1e6 * (time.perf_counter() - started) / ROWS
    rows = [
        Row(f"a row on {backend}", "µs", microseconds(Engine(backend=backend, workers=WORKERS)), loop, "loop")
        for backend in ("threads", "processes", "dask")
    ]
    report("data_engine", rows)


if __name__ == "__main__":
    main()
