"""The tables that every reader gives and every later stage reads: the project's one data form.

`samples` has a row a sample, `annotations` a row an object, `quarantine` a row a defect. Images and
signals that lie many to a file (idx, HAR windows) are given as `arrays`; `samples.row` points into them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

IGNORE_INDEX = 255
"""The class index of pixels that neither train nor score (void)."""

SPLITS = ("train", "val", "test")

ACTIONS = ("dropped", "repaired", "noted")
"""What was done with a defect: left out, kept after a stated correction, kept as it is."""

DEFAULTS = {"row": -1, "width": 0, "height": 0, "iscrowd": False, "difficult": False, "detail": ""}
"""What a row that says nothing has; null in all other columns."""

NESTED = {"labels", "keypoints"}
"""Columns of lists."""


def all_different(values: pd.Series) -> bool:
    """Whether no value occurs twice. Ordered ones, as most readers give them, need no hash table."""
    packed = pyarrow.Array.from_pandas(values)
    chunks = packed.chunks if isinstance(packed, pyarrow.ChunkedArray) else [packed]
    chunks = [chunk for chunk in chunks if len(chunk)]
    within = all(pc.all(pc.less(chunk[:-1], chunk[1:])).as_py() for chunk in chunks)
    rises = within and all(one[-1].as_py() < other[0].as_py() for one, other in pairwise(chunks))
    return bool(rises or values.is_unique)


SAMPLES = pa.DataFrameSchema(
    {
        "sample_id": pa.Column(str, pa.Check(all_different)),
        "media": pa.Column(str, nullable=True),
        "row": pa.Column("int64"),
        "target": pa.Column(str, nullable=True),
        "split": pa.Column(str, pa.Check.isin(SPLITS)),
        "group": pa.Column(str),
        "width": pa.Column("int64", pa.Check.ge(0)),
        "height": pa.Column("int64", pa.Check.ge(0)),
        "labels": pa.Column(object),
        "content_hash": pa.Column(str),
    },
    strict=True,
    ordered=True,
    coerce=True,
)
"""`media` and `target` are paths relative to the source's root, or null; `row` is the index into the
source's arrays, or -1 where `media` names the sample's own file; `group` is what must not be in two
splits; `width`, `height` in pixels (0 for signals); `labels` is a list of contiguous class indices;
`content_hash` is a hex digest of the sample's bytes."""

ANNOTATIONS = pa.DataFrameSchema(
    {
        "sample_id": pa.Column(str),
        "annotation_id": pa.Column("int64", pa.Check(all_different)),
        "category": pa.Column("int64", pa.Check.ge(0)),
        "x": pa.Column("float64"),
        "y": pa.Column("float64"),
        "w": pa.Column("float64", pa.Check.gt(0)),
        "h": pa.Column("float64", pa.Check.gt(0)),
        "area": pa.Column("float64", pa.Check.ge(0)),
        "iscrowd": pa.Column(bool),
        "difficult": pa.Column(bool),
        "segmentation": pa.Column(str, nullable=True),
        "keypoints": pa.Column(object, nullable=True),
        "caption": pa.Column(str, nullable=True),
    },
    strict=True,
    ordered=True,
    coerce=True,
)
"""`x, y` is the top left corner and `w, h` the size, in absolute pixels, 0-based, float; `segmentation` is
the source's polygons or RLE as JSON text; `keypoints` is a list of 3K floats (x, y, visibility)."""

QUARANTINE = pa.DataFrameSchema(
    {
        "file": pa.Column(str),
        "reason": pa.Column(str),
        "action": pa.Column(str, pa.Check.isin(ACTIONS)),
        "detail": pa.Column(str),
    },
    strict=True,
    ordered=True,
    coerce=True,
)
"""`reason` is a short fixed phrase (counted in reports), `action` one of `ACTIONS`; `detail` says what was
seen and expected."""


class Category(BaseModel):
    """One class: its contiguous index in this project and what the source calls it."""

    model_config = ConfigDict(extra="forbid")

    index: int
    id: str
    name: str
    color: tuple[int, int, int] | None = None
    keypoints: list[str] = []
    skeleton: list[tuple[int, int]] = []


class Categories(BaseModel):
    """The class lists of a source.

    Attributes:
        labels: what `samples.labels` indexes (classification, activity); empty if the source has none.
        objects: what `annotations.category` indexes; empty if the source has none.
        mask: the classes of a decoded `target` mask; empty if the source has none.
        mask_lookup: raw pixel of a target file to mask class or `ignore_index`. A key is a grey or palette
            value ("7") or a colour ("64,128,64"); a pixel that is no key is a defect.
        multi_label: whether a sample may have several labels.
    """

    model_config = ConfigDict(extra="forbid")

    labels: list[Category] = []
    objects: list[Category] = []
    mask: list[Category] = []
    mask_lookup: dict[str, int] = {}
    multi_label: bool = False
    ignore_index: int = IGNORE_INDEX

    def names(self, kind: Literal["labels", "objects", "mask"]) -> list[str]:
        """Return the class names of one kind, in index order."""
        return [category.name for category in getattr(self, kind)]


def mirrored_points(names: Sequence[str]) -> list[int]:
    """Return for each keypoint which one it is in the mirror image: `left_eye` is the `right_eye` there."""
    places = {name: place for place, name in enumerate(names)}
    swapped = {"left": "right", "right": "left"}
    found = ["_".join(swapped.get(part, part) for part in name.split("_")) for name in names]
    return [places.get(other, place) for place, other in enumerate(found)]


def categories_of(
    names: list[str],
    ids: list[str] | None = None,
    colors: Sequence[tuple[int, int, int] | None] | None = None,
) -> list[Category]:
    """Number class names 0, 1, … in the given order.

    Args:
        names: class names in index order.
        ids: the source's own ids, as text; the names themselves if not given.
        colors: RGB, 0..255 each.
    """
    ids = ids or names
    shades = colors if colors is not None else [None] * len(names)
    rows = zip(names, ids, shades, strict=True)
    return [Category(index=i, id=k, name=n, color=c) for i, (n, k, c) in enumerate(rows)]


@dataclass
class Tables:
    """What a reader gives.

    Attributes:
        samples: see `SAMPLES`.
        annotations: see `ANNOTATIONS`; empty for sources without objects.
        categories: the class lists.
        quarantine: see `QUARANTINE`.
        arrays: name to array whose first axis `samples.row` indexes: `images` (N, H, W) or (N, H, W, 3)
            uint8; `signals` (N, C, T) float32; `features` (N, F) float32.
        facts: JSON-able remarks for the data report (version, licence, what the official splits share, …).
    """

    samples: pd.DataFrame
    annotations: pd.DataFrame
    categories: Categories
    quarantine: pd.DataFrame
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Truth:
    """What `write_sample` drew, for tests and for people: nothing a reader may look at.

    Attributes:
        splits: split to number of samples, as the reader should give them.
        labels: sample id to class names, in `Categories.labels` terms.
        boxes: sample id to (class name, x, y, w, h), 0-based pixels, in annotation order.
    """

    splits: dict[str, int]
    labels: dict[str, list[str]] = field(default_factory=dict)
    boxes: dict[str, list[tuple[str, float, float, float, float]]] = field(default_factory=dict)


def table(schema: pa.DataFrameSchema, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Make a validated table of dict rows (missing nullable columns become null, `row` becomes -1).

    Raises:
        pandera.errors.SchemaErrors: a column has a wrong type or value, or an id occurs twice.
    """
    names = list(schema.columns)
    columns = {n: pd.Series([r.get(n, DEFAULTS.get(n)) for r in rows], dtype=object, name=n) for n in names}
    frame = pd.DataFrame(columns, columns=names)
    if not rows:
        frame = frame.astype({name: str(column.dtype) for name, column in schema.columns.items()})
    return schema.validate(frame, lazy=True)


def samples_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Make the validated `samples` table of dict rows, in the order given."""
    return table(SAMPLES, rows)


def annotations_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Make the validated `annotations` table; rows without `annotation_id` are numbered 1, 2, …."""
    return table(ANNOTATIONS, [{"annotation_id": i, **row} for i, row in enumerate(rows, start=1)])


def frame(schema: pa.DataFrameSchema, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Make a validated table of whole columns; as `table`, but without an object for every value.

    Columns that are missing or None become null, or what `table` puts there.
    """
    count = len(columns["sample_id"])
    whole = {}
    for name in schema.columns:
        value = columns.get(name)
        if value is None and name in DEFAULTS:
            value = np.full(count, DEFAULTS[name])
        elif value is None:
            value = pd.Series(pyarrow.nulls(count, pyarrow.large_string()), dtype="str")
        whole[name] = pd.Series(value, dtype=object) if name in NESTED else value
    found = pd.DataFrame(whole, copy=False)
    if all(found[name].dtype == column.dtype.type for name, column in schema.columns.items() if column.dtype):
        schema = pa.DataFrameSchema(schema.columns, strict=True, ordered=True)  # coercing would copy it all
    return schema.validate(found, lazy=True, inplace=True)


def samples_frame(columns: Mapping[str, Any]) -> pd.DataFrame:
    """Make the validated `samples` table of whole columns."""
    return frame(SAMPLES, columns)


def annotations_frame(columns: Mapping[str, Any]) -> pd.DataFrame:
    """Make the validated `annotations` table of whole columns."""
    return frame(ANNOTATIONS, columns)


class Box(NamedTuple):
    """One object of a reader whose objects are boxes: see `ANNOTATIONS`; its area is that of the box."""

    sample_id: str
    category: int
    x: float
    y: float
    w: float
    h: float
    difficult: bool = False
    segmentation: str | None = None


def boxes_table(boxes: Sequence[Box]) -> pd.DataFrame:
    """Make the validated `annotations` table of boxes, numbered 1, 2, … in the order given."""
    if not boxes:
        return annotations_table([])
    columns: dict[str, Any] = dict(zip(Box._fields, zip(*boxes, strict=True), strict=True))
    for side in "xywh":
        columns[side] = np.array(columns[side], np.float64)
    columns |= {"annotation_id": np.arange(1, len(boxes) + 1), "area": columns["w"] * columns["h"]}
    return annotations_frame(columns)


class Quarantine:
    """Collects the defects that a reader met; nothing bad is dropped without a row here."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []

    def drop(self, file: str, reason: str, detail: str = "") -> None:
        """Record that a file or record was left out."""
        self._add(file, reason, "dropped", detail)

    def repair(self, file: str, reason: str, detail: str = "") -> None:
        """Record that a file or record was kept after a stated correction."""
        self._add(file, reason, "repaired", detail)

    def note(self, file: str, reason: str, detail: str = "") -> None:
        """Record something that people should know of a file or record that was kept as it is."""
        self._add(file, reason, "noted", detail)

    def extend(self, other: Quarantine) -> None:
        """Take over what another collected."""
        self.rows += other.rows

    def _add(self, file: str, reason: str, action: str, detail: str) -> None:
        # Names and JSON may hold surrogates, which no Parquet file can.
        file, detail = (text.encode("utf8", "backslashreplace").decode("utf8") for text in (file, detail))
        self.rows.append({"file": file, "reason": reason, "action": action, "detail": detail})

    def table(self) -> pd.DataFrame:
        """Return the validated `quarantine` table."""
        return table(QUARANTINE, self.rows)
