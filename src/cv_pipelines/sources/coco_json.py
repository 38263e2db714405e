"""The annotation lists of COCO's JSON files, read record by record into columns.

The whole of train2017 has 860 thousand objects: as Python dicts they take gigabytes. Here a record lives only
while it is looked at; numbers go to packed arrays, segmentations to one text buffer.
"""

from __future__ import annotations

import json
import mmap as memory
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, compress
from mmap import mmap
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa

from cv_pipelines.sources.lists import check_file, unreadable

Record: TypeAlias = msgspec.Raw | dict[str, Any]
"""One entry of a list: its bytes, or what Python's more lenient reader made of it."""

CHUNK = 8192
"""Records that are decoded at a time."""

MOST = 1e300
"""No number beyond this is taken for finite: Python's integers have no bound."""

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding a record may raise: bytes are looked at no earlier than then."""

_POLYGON_BYTES = b"0123456789+-.eE, []"


class _Regular(msgspec.Struct, gc=False):
    """An object as COCO publishes it; any other is read as a dict and judged key by key."""

    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float
    segmentation: msgspec.Raw
    iscrowd: int = 0


class ImageRecord(msgspec.Struct, gc=False):
    """What is read of an entry of `images`; whatever stands there, or None."""

    id: Any = None
    file_name: Any = None
    width: Any = None
    height: Any = None


class _File(msgspec.Struct):
    images: list[msgspec.Raw] | None = None
    annotations: list[msgspec.Raw] | None = None
    categories: list[msgspec.Raw] | None = None


_decode_file = msgspec.json.Decoder(_File).decode
_decode_regulars = msgspec.json.Decoder(list[_Regular]).decode
_decode_image = msgspec.json.Decoder(ImageRecord).decode
_decode_any = msgspec.json.Decoder().decode


def read_text(path: Path) -> mmap:
    """Read a file into memory that `forget` can give back piece by piece; at least one byte.

    Raises:
        SourceError: it is missing, or a folder or a pipe, or cannot be read.
        ValueError: it is empty.
    """
    check_file(path)
    try:
        text = mmap(-1, path.stat().st_size)  # of no file, so that nobody can change it meanwhile
        with path.open("rb") as file:
            file.readinto(text)
    except OSError as error:
        raise unreadable(path, error) from None
    return text


def forget(text: mmap, before: Record) -> None:
    """Give back the memory of all that stands in front of a record, which must not be looked at any more."""
    if isinstance(before, msgspec.Raw) and hasattr(text, "madvise"):
        place = np.frombuffer(before, np.uint8).ctypes.data - np.frombuffer(text, np.uint8).ctypes.data
        text.madvise(memory.MADV_DONTNEED, 0, place // memory.PAGESIZE * memory.PAGESIZE)


def read_lists(data: bytes | mmap, keys: list[str]) -> dict[str, list[Record]]:
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
        if None not in lists.values():
            return lists
    except (msgspec.MsgspecError, RecursionError):
        pass
    try:
        content = json.loads(bytes(data))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(content, dict) or any(not isinstance(content.get(key), list) for key in keys):
        raise ValueError(f"expected an object with the lists {', '.join(keys)}")
    return {key: content[key] for key in keys}


def as_image(record: Record) -> ImageRecord | None:
    """Decode one entry of `images`, or return None if it is no object."""
    if isinstance(record, msgspec.Raw):
        try:
            return _decode_image(record)
        except UNREADABLE:
            return None
    known = (
        {key: record.get(key) for key in ImageRecord.__struct_fields__} if isinstance(record, dict) else None
    )
    return None if known is None else ImageRecord(**known)


def as_dict(record: Record) -> dict[str, Any] | None:
    """Decode one record, or return None if it is no object."""
    try:
        value = _decode_any(record) if isinstance(record, msgspec.Raw) else record
    except UNREADABLE:
        return None
    return value if isinstance(value, dict) else None


@dataclass(frozen=True)
class Chunk:
    """Objects of the usual form, a row each.

    Attributes:
        id: (N,) int64, as `image` and `category`, which hold the file's own ids.
        box: (N, 4) float64: x, y, w, h.
        area: (N,) float64.
        iscrowd: (N,) bool.
        segmentation: N JSON texts.
        sound: (N,) bool: the text is a list of polygons that can be decoded.
    """

    id: np.ndarray
    image: np.ndarray
    category: np.ndarray
    box: np.ndarray
    area: np.ndarray
    iscrowd: np.ndarray
    segmentation: list[bytes]
    sound: np.ndarray


def chunk_of(records: list[Record]) -> Chunk | None:
    """Decode objects together, or return None if one of them has not the usual form."""
    try:
        found = _decode_regulars(b"[" + b",".join(records) + b"]")  # type: ignore[arg-type]
        ids = [np.array([r.id for r in found], np.int64)]
        ids += [np.array([r.image_id for r in found], np.int64)]
        ids += [np.array([r.category_id for r in found], np.int64)]
    except (TypeError, OverflowError, *UNREADABLE):  # dicts, not bytes; ids beyond 64 bits
        return None
    texts = [bytes(r.segmentation) for r in found]
    return Chunk(
        id=ids[0],
        image=ids[1],
        category=ids[2],
        box=np.fromiter(chain.from_iterable(r.bbox for r in found), float, 4 * len(found)).reshape(-1, 4),
        area=np.array([r.area for r in found]),
        iscrowd=np.array([r.iscrowd for r in found], bool),
        segmentation=texts,
        sound=_sound(texts),
    )


def _sound(texts: list[bytes]) -> np.ndarray:
    """Return of each text whether it is a list of polygons that can be decoded."""
    listed = [text[:2] == b"[[" and text[-2:] == b"]]" for text in texts]
    if b"".join(compress(texts, listed)).translate(None, _POLYGON_BYTES):
        return np.array([_sound_polygons(text) for text in texts], bool)
    single = np.array([text.count(b"[") == 2 for text in texts], bool)
    commas = np.array([text.count(b",") for text in texts], np.int64)
    sound = np.array(listed, bool)
    for row in np.flatnonzero(sound & ~single).tolist():  # an object in several parts
        sound[row] = _sound_polygons(texts[row])
    return sound & (~single | ((commas >= 5) & (commas % 2 == 1)))


def _sound_polygons(text: bytes) -> bool:
    """Whether JSON text is a list of polygons: flat lists of an even number, six at least, of numbers."""
    if text[:2] != b"[[" or text[-2:] != b"]]" or text.translate(None, _POLYGON_BYTES):
        return False
    if text.count(b"[") == 2:
        commas = text.count(b",")
        return commas >= 5 and commas % 2 == 1
    for polygon in text[2:-2].split(b"]"):
        inner = polygon.lstrip(b", ").removeprefix(b"[")
        commas = inner.count(b",")
        if b"[" in inner or commas < 5 or commas % 2 == 0:
            return False
    return True


def is_id(value: Any) -> TypeGuard[int]:
    """Whether a value is an integer of 64 bits."""
    return isinstance(value, int) and -(2**63) <= value < 2**63


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
    category: array[int] = field(default_factory=lambda: array("q"))
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

    def extend(
        self, chunk: Chunk, rows: slice, samples: np.ndarray, file: int, categories: np.ndarray
    ) -> None:
        """Append rows of a chunk.

        Args:
            chunk: decoded objects.
            rows: which of them.
            samples: (N,) int64: index of the sample of each object of the chunk.
            file: index of the file.
            categories: (N,) int64: class index of each object of the chunk.
        """
        texts = chunk.segmentation[rows]
        ends = len(self.segmentation) + np.cumsum([len(text) for text in texts], dtype=np.int64)
        self.sample.frombytes(samples[rows].tobytes())
        self.file.extend([file] * len(texts))
        self.annotation_id.frombytes(chunk.id[rows].tobytes())
        self.category.frombytes(categories[rows].tobytes())
        self.box.frombytes(chunk.box[rows].tobytes())
        self.area.frombytes(chunk.area[rows].tobytes())
        self.iscrowd.frombytes(chunk.iscrowd[rows].tobytes())
        self.segmentation += b"".join(texts)
        self.ends.frombytes(ends.tobytes())

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
            "category": np.frombuffer(self.category, np.int64),
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
    return all(isinstance(v, int | float) and -MOST < v < MOST for v in values)


def dicts(records: list[Record]) -> Iterator[dict[str, Any]]:
    """Decode the records that are objects."""
    return (value for record in records if (value := as_dict(record)) is not None)
