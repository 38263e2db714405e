"""Reading a damaged data set within bounds, and judging what comes of it."""

from __future__ import annotations

import faulthandler
import json
import resource
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandera.pandas as pa
from PIL.Image import DecompressionBombWarning

from cv_pipelines.data import schema
from cv_pipelines.data.schema import Tables
from cv_pipelines.errors import CvPipelinesError
from cv_pipelines.sources import reader

SECONDS = 10
"""Seconds after which a reading is asked for its end; the second time it is a hang.

The usual one takes hundredths. Twice, for a process may have been stopped for longer and mean no harm.
"""

HOPELESS = 60
"""Seconds of CPU after which a reading that does not even notice the alarm is ended, with its process."""

MEMORY = 2 << 30
"""Bytes that the address space may grow by."""

TRUE_VALIDATE, TRUE_TABLE = pa.DataFrameSchema.validate, schema.table
_EMPTY: dict[int, Any] = {}


class HangError(Exception):
    """A reading took longer than twice `SECONDS`."""


class Alarm:
    """Rings every `SECONDS` while a reading goes on."""

    rung = 0

    @classmethod
    def ring(cls, *_: object) -> None:
        """Raise at the second time."""
        cls.rung += 1
        if cls.rung == 2:
            raise HangError

    @classmethod
    def set(cls) -> None:
        """Begin to count."""
        cls.rung = 0
        signal.setitimer(signal.ITIMER_REAL, SECONDS, SECONDS)
        signal.setitimer(signal.ITIMER_PROF, HOPELESS)

    @classmethod
    def stop(cls) -> None:
        """Ring no more."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)


def attempt(name: str, folder: Path, options: dict[str, Any]) -> str:
    """Read a data set.

    Args:
        name: of the reader.
        folder: the data set.
        options: of the reader.

    Returns:
        "read" or "refused". Any other exception than a typed one is a find.
    """
    Alarm.set()
    try:
        tables = reader(name).read(folder, **options)
    except CvPipelinesError as error:
        str(error).encode()  # it is printed and logged
        return "refused"
    finally:
        Alarm.stop()
    _judge(tables)
    return "read"


def _judge(tables: Tables) -> None:
    """Check that tables can be used and saved."""
    samples, rows = tables.samples, tables.annotations
    assert len(samples), "no samples, and no error"
    for array in tables.arrays.values():
        assert np.isfinite(array).all(), "values that are not finite"
    assert set(rows["sample_id"]) <= set(samples["sample_id"]), "annotations without a sample"
    if len(rows):
        numbers = rows[["x", "y", "w", "h", "area"]].to_numpy()
        assert np.isfinite(numbers).all(), "boxes that are not finite"
        assert rows["category"].max() < len(tables.categories.objects), "a category that is none"
        size = samples.set_index("sample_id").loc[rows["sample_id"], ["width", "height"]].to_numpy()
        assert (numbers[:, :2] >= 0).all(), "a box outside of its image"
        assert (numbers[:, :2] + numbers[:, 2:4] <= size + 1e-6).all(), "a box outside of its image"
    labels = [label for labels in samples["labels"] for label in labels]
    assert all(0 <= label < len(tables.categories.labels) for label in labels), "a label that is none"
    tables.categories.model_dump_json()
    json.dumps(tables.facts, ensure_ascii=False).encode()


def bound() -> None:
    """Bound time and memory of what follows in this process, and make doubtful arithmetic an error."""
    signal.signal(signal.SIGALRM, Alarm.ring)
    faulthandler.enable()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    strict()


def strict() -> None:
    """Make overflows and the like exceptions; that pillow remarks on very large images is known."""
    warnings.simplefilter("error", RuntimeWarning)
    warnings.simplefilter("ignore", DecompressionBombWarning)


def hasten() -> None:
    """Let this process make and check tables quicker."""
    pa.DataFrameSchema.validate = quick_validate
    schema.table = quick_table


def quick_validate(form: pa.DataFrameSchema, frame: Any, *args: Any, **options: Any) -> Any:
    """Validate as pandera does, in a fraction of the time; what is not plainly right is left to pandera.

    Half of the time of reading a few files is pandera's. In the place of `DataFrameSchema.validate` this lets
    twice as many inputs be tried.
    """
    try:
        right = {name: column.dtype.type for name, column in form.columns.items()}
        given = dict(frame.dtypes)
        wrong = {name: dtype for name, dtype in right.items() if given.get(name) != dtype}
        coerced = frame.astype(wrong) if wrong else frame
    except (KeyError, ValueError, TypeError, OverflowError, RuntimeWarning):
        return TRUE_VALIDATE(form, frame, *args, **options)
    if not _plainly_right(form, coerced):
        return TRUE_VALIDATE(form, frame, *args, **options)
    return coerced


def quick_table(form: pa.DataFrameSchema, rows: list[dict[str, Any]]) -> Any:
    """Make a table as `schema.table` does; those without rows are made once."""
    if rows:
        return TRUE_TABLE(form, rows)
    if id(form) not in _EMPTY:
        _EMPTY[id(form)] = TRUE_TABLE(form, [])
    return _EMPTY[id(form)].copy()


def _plainly_right(form: pa.DataFrameSchema, frame: Any) -> bool:
    return list(frame.columns) == list(form.columns) and all(
        _right(column, frame[name]) for name, column in form.columns.items()
    )


def _right(column: pa.Column, values: Any) -> bool:
    if not len(values):
        return True
    if values.dtype.kind not in "ib" and not column.nullable and values.isna().any():
        return False
    if column.unique and not values.is_unique:
        return False
    return all(_passes(check.name, check.statistics, values) for check in column.checks)


def _passes(check: str, given: dict[str, Any], values: Any) -> bool:
    match check:
        case "greater_than_or_equal_to":
            return bool((values >= given["min_value"]).all())
        case "greater_than":
            return bool((values > given["min_value"]).all())
        case "isin":
            return bool(values.isin(given["allowed_values"]).all())
        case _:
            return False
