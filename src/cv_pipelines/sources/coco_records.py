"""Judging the annotations of COCO's files: what is sound goes to the columns, the rest to quarantine."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from mmap import mmap
from typing import Any, Literal

import numpy as np

from cv_pipelines.data.inspection import ImageInfo, is_text
from cv_pipelines.data.schema import Category, Quarantine
from cv_pipelines.errors import BadSampleError
from cv_pipelines.sources.coco_json import (
    CHUNK,
    Chunk,
    Columns,
    ImageRecord,
    Record,
    as_dict,
    chunk_of,
    finite,
    forget,
    is_id,
)

Kind = Literal["instances", "keypoints", "captions"]
Box = tuple[float, float, float, float]
Repairs = list[tuple[str, str]]

ROUNDING = 0.01
"""The source rounds boxes to two decimals: an overhang of up to this many pixels is cut without a remark."""


@dataclass(frozen=True)
class Usable:
    """An image that can be used: its place among the samples, its id as a sample, what it is."""

    index: int
    sample_id: str
    info: ImageInfo


@dataclass
class Part:
    """One JSON file: its path, its folder of images, what it holds, and its images that are usable by id.

    `text` is the file, which `annotations` point into.
    """

    number: int
    path: str
    folder: str
    split: str
    images: list[ImageRecord]
    annotations: list[Record]
    categories: list[dict[str, Any]]
    text: mmap
    usable: dict[int, Usable] = field(default_factory=dict)
    unusable: set[int] = field(default_factory=set)


@dataclass
class Adder:
    """Adds the annotations of one file to the columns, with a quarantine row for each defect.

    Attributes:
        columns: what is added to.
        part: the file.
        kind: what it holds.
        objects: the classes.
        index: official category id to class index.
        quarantine: where defects are recorded.
        lost: image id to the number of annotations that were left out because of it.
        strange: number of entries that are no objects.
    """

    columns: Columns
    part: Part
    kind: Kind
    objects: list[Category]
    index: dict[int, int]
    quarantine: Quarantine
    lost: Counter[int] = field(default_factory=Counter)
    strange: int = 0

    def add_all(self) -> None:
        """Add every annotation, in order: those of the usual form together, the others one by one."""
        records = self.part.annotations
        for start in range(0, len(records), CHUNK):
            some = records[start : start + CHUNK]
            chunk = chunk_of(some) if self.kind == "instances" else None
            if chunk is None:
                for record in some:
                    self._add(record)
            else:
                self._add_chunk(chunk, some)
            forget(self.part.text, some[-1])
        self.part.annotations = []  # with them goes the file itself, of which they are parts
        if self.strange:
            detail = f"{self.strange} list entries are not objects"
            self.quarantine.drop(self.part.path, "unreadable record", detail)
        for image, count in self.lost.items():
            detail = f"{count} of image {image}"
            self.quarantine.drop(self.part.path, "annotation of an unusable image", detail)

    def __post_init__(self) -> None:
        usable = self.part.usable
        self._images = _Lookup({i: (u.index, u.info.width, u.info.height) for i, u in usable.items()}, 3)
        self._classes = _Lookup({i: (index,) for i, index in self.index.items()}, 1)

    def _add_chunk(self, chunk: Chunk, records: list[Record]) -> None:
        known, (samples, widths, heights) = self._images.find(chunk.image)
        classed, (categories,) = self._classes.find(chunk.category)
        x, y, w, h = chunk.box.T
        inside = (x >= 0) & (y >= 0) & (w > 0) & (h > 0) & (x + w <= widths) & (y + h <= heights)
        usual = known & classed & inside & chunk.sound & (chunk.area >= 0)
        done = 0
        for row in [*np.flatnonzero(~usual).tolist(), len(records)]:
            self.columns.extend(chunk, slice(done, row), samples, self.part.number, categories)
            for record in records[row : row + 1]:
                self._add(record)
            done = row + 1

    def _add(self, raw: Record) -> None:
        """Add one annotation after looking at each of its keys."""
        record = as_dict(raw)
        if record is None:
            self.strange += 1
            return
        image = record.get("image_id")
        if isinstance(image, int) and image in self.part.unusable:
            self.lost[image] += 1
            return
        repairs: Repairs = []
        where = f"annotation {record.get('id')}"
        try:
            self._judge(record, repairs)
        except BadSampleError as error:
            self.quarantine.drop(self.part.path, error.reason, f"{where}: {error.detail}")
            return
        for reason, detail in repairs:
            self.quarantine.repair(self.part.path, reason, f"{where}: {detail}")

    def _judge(self, record: dict[str, Any], repairs: Repairs) -> None:
        number, columns = record.get("image_id"), self.columns
        image = self.part.usable.get(number) if isinstance(number, int) else None
        if image is None:
            raise BadSampleError("unknown image", f"image_id {number!r}")
        if not is_id(own := record.get("id")):
            raise BadSampleError("unreadable annotation", "no integer id")
        if self.kind == "captions":
            if not is_text(text := record.get("caption")) or not text.strip():
                raise BadSampleError("unreadable annotation", "no caption")
            columns.captions[len(columns)] = text.strip()
            width, height = float(image.info.width), float(image.info.height)
            columns.add(image.index, self.part.number, own, 0, (0.0, 0.0, width, height), width * height)
            return
        category = record.get("category_id")
        if not isinstance(category, int) or category not in self.index:
            raise BadSampleError("unknown category", f"category_id {category!r}")
        index = self.index[category]
        box = _box(record.get("bbox"), image.info, repairs)
        area: Any = record.get("area")
        segmentation = _segmentation(record.get("segmentation"), image.info, repairs)
        if self.kind == "keypoints":
            columns.keypoints[len(columns)] = _keypoints(record.get("keypoints"), self.objects[index])
        columns.add(
            image.index,
            self.part.number,
            own,
            index,
            box,
            float(area) if finite([area]) and area >= 0 else box[2] * box[3],
            iscrowd=bool(record.get("iscrowd", 0)),
            segmentation=segmentation,
        )


class _Lookup:
    """A dict of 64-bit integers to rows of integers, for many keys at once."""

    def __init__(self, table: dict[int, tuple[int, ...]], width: int) -> None:
        self.keys = np.array(sorted(table), np.int64)
        self.rows = np.array([table[key] for key in self.keys.tolist()], np.int64).reshape(-1, width)

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (N,) whether each key is there, and (width, N) its row, another one's where it is not."""
        if not len(self.keys):
            return np.zeros(len(keys), bool), np.zeros((self.rows.shape[1], len(keys)), np.int64)
        at = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return self.keys[at] == keys, np.ascontiguousarray(self.rows[at].T)


def _box(values: Any, info: ImageInfo, repairs: Repairs) -> Box:
    if not finite(values) or len(values) != 4:
        raise BadSampleError("unreadable annotation", f"bbox {values!r}; expected four numbers")
    x, y, w, h = map(float, values)
    if w <= 0 or h <= 0:
        raise BadSampleError("box without area", f"bbox {values}")
    left, top = max(x, 0.0), max(y, 0.0)
    right, bottom = min(x + w, float(info.width)), min(y + h, float(info.height))
    if right <= left or bottom <= top:
        raise BadSampleError("box outside image", f"bbox {values} in {info.width}×{info.height}")
    overhang = max(-x, -y, x + w - info.width, y + h - info.height)
    if overhang <= 0:  # the source's own numbers: x + w - x is not always w
        return x, y, w, h
    if overhang > ROUNDING:
        repairs.append(("box outside image", f"bbox {values} cut to {info.width}×{info.height}"))
    return left, top, right - left, bottom - top


def _segmentation(value: Any, info: ImageInfo, repairs: Repairs) -> bytes:
    """Give polygons or RLE as JSON text, empty for none; what pycocotools could not decode is left out."""
    if value is None:
        return b""
    good: Any = None
    if isinstance(value, list):
        good = [p for p in value if finite(p) and len(p) >= 6 and len(p) % 2 == 0]
    elif isinstance(value, dict) and value.get("size") == [info.height, info.width]:
        counts = value.get("counts")
        whole = finite(counts) and sum(counts) == info.height * info.width
        good = value if isinstance(counts, str) or whole else None
    if not good or len(good) < len(value):
        repairs.append(("unusable segmentation", "left out a mask or polygon that cannot be decoded"))
    return json.dumps(good, separators=(",", ":")).encode() if good else b""


def _keypoints(values: Any, category: Category) -> list[float]:
    expected = 3 * len(category.keypoints)
    if not finite(values) or len(values) != expected:
        raise BadSampleError("unreadable annotation", f"keypoints; expected {expected} numbers")
    return [float(v) for v in values]
