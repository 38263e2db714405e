"""Results on the disk while they come: tables as folders of Parquet files, each there wholly or not at all.

A part is what was predicted between two writes: a file in each of `predictions`, `samples`, `quarantine` and,
last of all, `read`. What `read` has no file for does not count and is written again: so after a kill every
input is in the tables once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from cv_pipelines.errors import InputError
from cv_pipelines.files import write_text
from cv_pipelines.inference.rows import DEFECTS, READ, SAMPLES

NOTE = "run.json"
TABLES = ("predictions", "samples", "quarantine", "read")
Row = dict[str, Any]
MADE = (*TABLES, "pictures", "coco.json", NOTE)


class Parts:
    """The results of one input by one model.

    Args:
        folder: where they lie; what an earlier run of the same made there is kept.
        identity: what has to be the same for results to belong together.
        predictions: columns of the predictions.
        fresh: remove what lies there first.

    Raises:
        InputError: other results lie there, or another process writes there.
    """

    def __init__(
        self, folder: Path, identity: dict[str, Any], predictions: pa.Schema, *, fresh: bool = False
    ) -> None:
        self.folder = folder
        self.schemas = dict(zip(TABLES, (predictions, SAMPLES, DEFECTS, READ), strict=True))
        self.rows: dict[str, list[Row]] = {name: [] for name in TABLES}
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InputError(f"{folder}: another process writes its results there") from None
        if fresh:
            clear(folder)
        self._claim(identity)
        for name in TABLES:
            (folder / name).mkdir(exist_ok=True)
        self.number = len(self.files("read"))
        self._drop_unfinished()
        self.done: set[str] = set()
        for table in self.tables("read"):
            self.done.update(table["sample_id"].to_pylist())

    def _claim(self, identity: dict[str, Any]) -> None:
        note = self.folder / NOTE
        if note.exists():
            known = json.loads(note.read_text(encoding="utf8"))
            differing = [key for key in identity if known.get(key) != identity[key]]
            if differing:
                key = differing[0]
                raise InputError(
                    f"{self.folder}: holds results of another {key} ({known.get(key)}, not {identity[key]}); "
                    "name another folder, or start it afresh"
                )
        else:
            write_text(note, json.dumps(identity, indent=2) + "\n")

    def _drop_unfinished(self) -> None:
        """Remove what a kill left: parts without their last file."""
        for name in TABLES:
            for path in (self.folder / name).iterdir():
                if path.suffix != ".parquet" or int(path.stem.split("-")[1]) >= self.number:
                    path.unlink()

    def add(self, names: list[str], samples: list[Row], predictions: list[Row], defects: list[Row]) -> None:
        """Take over results; they are on the disk after `flush`.

        Args:
            names: of all inputs that were looked at.
            samples: rows of those that were predicted.
            predictions: their rows.
            defects: rows of the quarantine.
        """
        added = (predictions, samples, defects, [{"sample_id": name} for name in names])
        for name, rows in zip(TABLES, added, strict=True):
            self.rows[name] += rows

    @property
    def waiting(self) -> int:
        """How many inputs are not on the disk yet."""
        return len(self.rows["read"])

    def flush(self) -> None:
        """Write what was added as a part."""
        if not self.waiting:
            return
        for name in TABLES:
            target = self._path(name, self.number)
            fresh = target.with_name(f".{target.name}.writing")
            pq.write_table(pa.Table.from_pylist(self.rows[name], self.schemas[name]), fresh)
            fresh.replace(target)
        self.done.update(row["sample_id"] for row in self.rows["read"])
        self.rows = {name: [] for name in TABLES}
        self.number += 1

    def files(self, name: str) -> list[Path]:
        """Return the files of a table, in order."""
        return sorted((self.folder / name).glob("part-*.parquet"))

    def tables(self, name: str) -> Iterator[pa.Table]:
        """Yield a table part by part."""
        for path in self.files(name):
            yield pq.read_table(path, partitioning=None)

    def count(self, name: str) -> int:
        """Return the number of rows of a table."""
        return sum(pq.read_metadata(path).num_rows for path in self.files(name))

    def close(self) -> None:
        """Let other processes write there."""
        self._lock.release()

    def _path(self, name: str, number: int) -> Path:
        return self.folder / name / f"part-{number:06d}.parquet"


def clear(folder: Path) -> None:
    """Remove results from a folder, and nothing else. What says which parts count goes first."""
    shutil.rmtree(folder / "read", ignore_errors=True)
    for name in MADE:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
