"""The annotation lists of COCO's JSON files, read record by record into columns.

The whole of train2017 has 860 thousand objects: as Python dicts they take gigabytes. Here a record lives only
while it is looked at; numbers go to packed arrays, segmentations to one text buffer.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeGuard

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa

Record: TypeAlias = msgspec.Raw | dict[str, Any]
"""One entry of a list: its bytes, or what Python's more lenient reader made of it."""

_POLYGON_BYTES = b"0123456789+-.eE, "


class Regular(msgspec.Struct, gc=False):
    """An object as COCO publishes it; any other is read as a dict and judged key by key."""

    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float
    segmentation: msgspec.Raw
    iscrowd: int = 0


class _File(msgspec.Struct):
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw] = []


_decode_file = msgspec.json.Decoder(_File).decode
_decode_regular = msgspec.json.Decoder(Regular).decode
_decode_any = msgspec.json.Decoder().decode


def read_lists(data: bytes, keys: list[str]) -> dict[str, list[Record]]:
    """Split a file into the records of its lists, undecoded where it is JSON to the letter.

    Python's reader takes over for the rest: it accepts NaN, which some tools write.

    Args:
        data: the file.
        keys: the lists that must be there.

    Raises:
        ValueError: no JSON, or not an object with these lists.
    """
    try:
        found = _decode_file(data)
        lists: dict[str, Any] = {key: getattr(found, key) for key in keys}
        if "categories" not in keys or found.categories or b'"categories"' in data:
            return lists
    except msgspec.MsgspecError:
        pass
    content = json.loads(data)
    if not isinstance(content, dict) or any(not isinstance(content.get(key), list) for key in keys):
        raise ValueError(f"expected an object with the lists {', '.join(keys)}")
    return {key: content[key] for key in keys}


def as_dict(record: Record) -> dict[str, Any] | None:
    """Decode one record, or return None if it is no object."""
    value = _decode_any(record) if isinstance(record, msgspec.Raw) else record
    return value if isinstance(value, dict) else None


def as_regular(record: Record) -> Regular | None:
    """Decode one object of the usual form whose numbers and polygons are sound, else return None."""
    if not isinstance(record, msgspec.Raw):
        return None
    try:
        found = _decode_regular(record)
    except msgspec.MsgspecError:
        return None
    return found if found.area >= 0 and _sound_polygons(bytes(found.segmentation)) else None


def _sound_polygons(text: bytes) -> bool:
    """Whether JSON text is a list of polygons: flat lists of an even number, six at least, of numbers."""
    if text[:2] != b"[[" or text[-2:] != b"]]" or text.translate(None, _POLYGON_BYTES + b"[]"):
        return False
    for polygon in text[2:-2].split(b"]"):
        inner = polygon.lstrip(b", ")
        inner = inner[1:] if inner[:1] == b"[" else inner
        commas = inner.count(b",")
        if b"[" in inner or commas < 5 or commas % 2 == 0:
            return False
    return True


@dataclass
class Columns:
    """The annotations of all files, a value a row in each column; see `schema.ANNOTATIONS`.

    Attributes:
        sample: index of the row's sample.
        file: index of the file that it comes from.
    """

    sample: array[int] = field(default_factory=lambda: array("q"))
    file: array[int] = field(default_factory=lambda: array("b"))
    annotation_id: array[int] = field(default_factory=lambda: array("q"))
    category: array[int] = field(default_factory=lambda: array("i"))
    box: array[float] = field(default_factory=lambda: array("d"))
    area: array[float] = field(default_factory=lambda: array("d"))
    iscrowd: array[int] = field(default_factory=lambda: array("b"))
    segmentation: bytearray = field(default_factory=bytearray)
    ends: array[int] = field(default_factory=lambda: array("q", [0]))
    keypoints: dict[int, list[float]] = field(default_factory=dict)
    captions: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sample)

    def add(
        self,
        sample: int,
        file: int,
        annotation_id: int,
        category: int,
        box: tuple[float, float, float, float],
        area: float,
        *,
        iscrowd: bool = False,
        segmentation: bytes = b"",
    ) -> None:
        """Append a row; an empty `segmentation` is none."""
        self.sample.append(sample)
        self.file.append(file)
        self.annotation_id.append(annotation_id)
        self.category.append(category)
        self.box.extend(box)
        self.area.append(area)
        self.iscrowd.append(iscrowd)
        self.segmentation += segmentation
        self.ends.append(len(self.segmentation))

    def arrays(self, sample_ids: list[str]) -> dict[str, Any]:
        """Return the columns by name, without copying what is packed; captions and keypoints as lists."""
        boxes = np.frombuffer(self.box).reshape(-1, 4)
        ends = np.frombuffer(self.ends, np.int64)
        texts = pa.LargeStringArray.from_buffers(
            len(self), pa.py_buffer(self.ends), pa.py_buffer(self.segmentation), _validity(ends)
        )
        names = pa.DictionaryArray.from_arrays(
            pa.array(np.frombuffer(self.sample, np.int64)), pa.array(sample_ids, pa.large_string())
        )
        rows = range(len(self))
        return {
            "sample_id": pd.Series(names.cast(pa.large_string()), dtype="str"),
            "annotation_id": np.frombuffer(self.annotation_id, np.int64),
            "category": np.frombuffer(self.category, np.int32).astype(np.int64),
            **{name: boxes[:, i] for i, name in enumerate("xywh")},
            "area": np.frombuffer(self.area),
            "iscrowd": np.frombuffer(self.iscrowd, np.int8).astype(bool),
            "segmentation": pd.Series(texts, dtype="str"),
            "keypoints": [self.keypoints.get(row) for row in rows] if self.keypoints else None,
            "caption": [self.captions.get(row) for row in rows] if self.captions else None,
        }


def _validity(ends: np.ndarray) -> pa.Buffer:
    """Return Arrow's bit map of the rows that have a text."""
    return pa.py_buffer(np.packbits(np.diff(ends) > 0, bitorder="little").tobytes())


def finite(values: Any) -> TypeGuard[list[float]]:
    """Whether `values` is a list of finite numbers."""
    if not isinstance(values, list):
        return False
    return all(isinstance(v, int | float) and math.isfinite(v) for v in values)


def dicts(records: list[Record]) -> Iterator[dict[str, Any]]:
    """Decode the records that are objects."""
    return (value for record in records if (value := as_dict(record)) is not None)
