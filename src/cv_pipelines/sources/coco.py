"""MS COCO: images, and JSON with boxes, polygons or RLE, person keypoints, or captions.

    annotations/{instances,person_keypoints,captions}_{train,val}2017.json
    {train,val}2017/000000000139.jpg

Source: https://cocodataset.org. Annotations are CC BY 4.0; the images are from Flickr (its terms).
Citation: Lin et al.: Microsoft COCO: Common Objects in Context, ECCV 2014, arXiv:1405.0312.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeGuard

import numpy as np

from cv_pipelines.data.images import ImageInfo, scan_images
from cv_pipelines.data.schema import (
    Categories,
    Category,
    Quarantine,
    Tables,
    annotations_frame,
    categories_of,
    samples_table,
)
from cv_pipelines.errors import BadSampleError, SourceError
from cv_pipelines.sources.coco_json import (
    Columns,
    Record,
    Regular,
    as_dict,
    as_regular,
    dicts,
    finite,
    read_lists,
)
from cv_pipelines.sources.coco_sample import write_sample

__all__ = ["read", "write_sample"]

Kind = Literal["instances", "keypoints", "captions"]
FILES = {"instances": "instances", "keypoints": "person_keypoints", "captions": "captions"}
SPLITS = {"train": "train", "val": "test"}
ROUNDING = 0.01
"""The source rounds boxes to two decimals: an overhang of up to this many pixels is cut without a remark."""


Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Usable:
    """An image that can be used: its place among the samples, its id as a sample, what it is."""

    index: int
    sample_id: str
    info: ImageInfo


@dataclass
class _Part:
    """One JSON file: its path, its folder of images, what it holds, and its images that are usable by id."""

    number: int
    path: str
    folder: str
    split: str
    images: list[dict[str, Any]]
    annotations: list[Record]
    categories: list[dict[str, Any]]
    usable: dict[int, _Usable] = field(default_factory=dict)
    unusable: set[int] = field(default_factory=set)


def read(root: Path, *, year: int = 2017, annotations: Kind = "instances") -> Tables:
    """Read the train and val files of one year; one of the two is enough.

    Category ids, which have gaps, become indices in the order of the ids. Boxes that reach outside their
    image are cut. `segmentation` stays as in the source: polygons, or RLE for crowds. `Category.skeleton` is
    made 0-based. `labels` are all classes with an object (also crowds); captions have none, and their boxes
    are the whole image with the one category 'caption'.

    Args:
        root: folder that holds `annotations/` and `train<year>/`, `val<year>/`.
        year: which release. Official val is given as 'test', as no test labels are public.
        annotations: which files to read: 'instances', 'keypoints' (of persons) or 'captions'.

    Raises:
        SourceError: no annotation file can be read, the two contradict each other, or no image is usable.
    """
    quarantine = Quarantine()
    parts = [_load(root, name, year, annotations, quarantine) for name in SPLITS]
    found = [part for part in parts if part is not None]
    if not found:
        expected = f"annotations/{FILES[annotations]}_{{train,val}}{year}.json"
        raise SourceError(f"{root}: no readable COCO file; expected {expected} and {{train,val}}{year}/")
    objects, index = _classes(root, found, annotations)
    columns = Columns()
    for part in found:
        _scan(root, part, sum(len(other.usable) for other in found), quarantine)
        _add_records(columns, part, annotations, objects, index, quarantine)
    images = [(part.split, image) for part in found for image in part.usable.values()]
    if not images:
        raise SourceError(f"{root}: no usable image in {', '.join(f'{part.folder}/' for part in found)}")
    _renumber(columns, {part.number: part.path for part in found}, quarantine)
    labels = objects if annotations != "captions" else []
    categories = Categories(labels=labels, objects=objects, multi_label=bool(labels))
    rows = annotations_frame(columns.arrays([image.sample_id for _, image in images]))
    samples = samples_table(_sample_rows(images, columns, bool(labels)))
    return Tables(samples, rows, categories, quarantine.table(), facts=_facts(year, annotations, found))


def _load(root: Path, name: str, year: int, kind: Kind, quarantine: Quarantine) -> _Part | None:
    path = f"annotations/{FILES[kind]}_{name}{year}.json"
    keys = ["images", "annotations"] + (["categories"] if kind != "captions" else [])
    try:
        lists = read_lists((root / path).read_bytes(), keys)
    except OSError:
        quarantine.drop(path, "missing file", "the other split is read without it")
        return None
    except ValueError as error:  # also what bytes that are no UTF-8 raise
        quarantine.drop(path, "unreadable JSON", str(error))
        return None
    images, categories = (list(dicts(lists.get(key, []))) for key in ("images", "categories"))
    lost = len(lists["images"]) + len(lists.get("categories", [])) - len(images) - len(categories)
    if lost:
        quarantine.drop(path, "unreadable record", f"{lost} list entries are not objects")
    number = list(SPLITS).index(name)
    return _Part(number, path, f"{name}{year}", SPLITS[name], images, lists["annotations"], categories)


def _classes(root: Path, parts: list[_Part], kind: Kind) -> tuple[list[Category], dict[int, int]]:
    """Give the classes of all parts and the index of each official category id."""
    if kind == "captions":
        return categories_of(["caption"]), {}
    seen: dict[int, dict[str, Any]] = {}
    for part in parts:
        for row in part.categories:
            if not isinstance(row.get("id"), int) or not isinstance(row.get("name"), str):
                raise SourceError(f"{root / part.path}: category {row}; expected an integer id and a name")
            if seen.setdefault(row["id"], row)["name"] != row["name"]:
                raise SourceError(f"{root / part.path}: category {row['id']} has another name elsewhere")
    ids = sorted(seen)
    categories = categories_of([seen[k]["name"] for k in ids], [str(k) for k in ids])
    for category, k in zip(categories, ids, strict=True):
        try:
            category.keypoints = [str(name) for name in seen[k].get("keypoints", [])]
            category.skeleton = [(int(a) - 1, int(b) - 1) for a, b in seen[k].get("skeleton", [])]
        except (TypeError, ValueError):
            detail = f"category {k}; expected a list of keypoint names and a skeleton of pairs"
            raise SourceError(f"{root}/annotations: {detail}") from None
    return categories, {k: i for i, k in enumerate(ids)}


def _scan(root: Path, part: _Part, first: int, quarantine: Quarantine) -> None:
    """Find out which of a part's images can be used (readable, of the stated size, named once); number them.

    Args:
        root: folder of the source.
        part: whose `usable` and `unusable` are filled.
        first: the number that the first usable image gets.
        quarantine: where defects are recorded.
    """
    wanted: dict[str, dict[str, Any]] = {}
    names: set[str] = set()
    for row in part.images:
        name, number = row.get("file_name"), row.get("id")
        if not _is_inner_path(name) or not isinstance(number, int):
            quarantine.drop(part.path, "unreadable image record", f"{row}"[:200])
        elif (sample_id := _sample_id(part, name)) in names or number in part.unusable:
            quarantine.drop(part.path, "listed twice", f"image {number}, {name}")
        else:
            names.add(sample_id)
            part.unusable.add(number)
            wanted[f"{part.folder}/{name}"] = row
    for path, info in scan_images(root, wanted, quarantine).items():
        row = wanted[path]
        stated = (row.get("width", info.width), row.get("height", info.height))
        if stated != (info.width, info.height):
            detail = f"{info.width}×{info.height}; {part.path} says {stated[0]}×{stated[1]}"
            quarantine.drop(path, "image of another size", detail)
            continue
        index = first + len(part.usable)
        part.usable[row["id"]] = _Usable(index, _sample_id(part, row["file_name"]), info)
        part.unusable.discard(row["id"])


def _is_inner_path(name: Any) -> TypeGuard[str]:
    path = PurePosixPath(name) if isinstance(name, str) else PurePosixPath()
    return bool(path.name) and not path.is_absolute() and ".." not in path.parts


def _sample_id(part: _Part, file_name: str) -> str:
    return f"{part.folder}/{PurePosixPath(file_name).with_suffix('')}"


def _add_records(
    columns: Columns,
    part: _Part,
    kind: Kind,
    objects: list[Category],
    index: dict[int, int],
    quarantine: Quarantine,
) -> None:
    lost: Counter[int] = Counter()
    strange = 0
    for raw in part.annotations:
        regular = as_regular(raw) if kind == "instances" else None
        if regular is not None and _add_regular(columns, part, regular, index):
            continue
        record = as_dict(raw)
        if record is None:
            strange += 1
            continue
        image = record.get("image_id")
        if isinstance(image, int) and image in part.unusable:
            lost[image] += 1
            continue
        try:
            repairs = _add_record(columns, part, record, kind, objects, index)
        except BadSampleError as error:
            where = f"annotation {record.get('id')}"
            quarantine.drop(part.path, error.reason, f"{where}: {error.detail}")
            continue
        for reason, detail in repairs:
            quarantine.repair(part.path, reason, f"annotation {record['id']}: {detail}")
    part.annotations = []
    if strange:
        quarantine.drop(part.path, "unreadable record", f"{strange} list entries are not objects")
    for image, count in lost.items():
        quarantine.drop(part.path, "annotation of an unusable image", f"{count} of image {image}")


def _add_regular(columns: Columns, part: _Part, record: Regular, index: dict[int, int]) -> bool:
    """Add an object that needs no repair; False if it is not one."""
    image, category = part.usable.get(record.image_id), index.get(record.category_id)
    x, y, w, h = record.bbox
    if image is None or category is None or w <= 0 or h <= 0 or x < 0 or y < 0:
        return False
    if x + w > image.info.width or y + h > image.info.height:
        return False
    columns.add(
        image.index,
        part.number,
        record.id,
        category,
        record.bbox,
        record.area,
        iscrowd=bool(record.iscrowd),
        segmentation=bytes(record.segmentation),
    )
    return True


def _add_record(
    columns: Columns,
    part: _Part,
    record: dict[str, Any],
    kind: Kind,
    objects: list[Category],
    index: dict[int, int],
) -> list[tuple[str, str]]:
    """Judge a record key by key and add it; returns reason and detail of what had to be repaired.

    Raises:
        BadSampleError: it cannot be used.
    """
    number = record.get("image_id")
    image = part.usable.get(number) if isinstance(number, int) else None
    if image is None:
        raise BadSampleError("unknown image", f"image_id {number!r}")
    if not isinstance(record.get("id"), int):
        raise BadSampleError("unreadable annotation", "no integer id")
    width, height = float(image.info.width), float(image.info.height)
    repairs: list[tuple[str, str]] = []
    if kind == "captions":
        if not isinstance(text := record.get("caption"), str) or not text.strip():
            raise BadSampleError("unreadable annotation", "no caption")
        columns.captions[len(columns)] = text.strip()
        columns.add(image.index, part.number, record["id"], 0, (0.0, 0.0, width, height), width * height)
        return repairs
    category = record.get("category_id")
    if not isinstance(category, int) or category not in index:
        raise BadSampleError("unknown category", f"category_id {category!r}")
    box = _box(record.get("bbox"), image.info, repairs)
    area: Any = record.get("area")
    segmentation = _segmentation(record.get("segmentation"), image.info, repairs)
    if kind == "keypoints":
        columns.keypoints[len(columns)] = _keypoints(record.get("keypoints"), objects[index[category]])
    columns.add(
        image.index,
        part.number,
        record["id"],
        index[category],
        box,
        float(area) if finite([area]) and area >= 0 else box[2] * box[3],
        iscrowd=bool(record.get("iscrowd", 0)),
        segmentation=segmentation,
    )
    return repairs


def _box(values: Any, info: ImageInfo, repairs: list[tuple[str, str]]) -> Box:
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


def _segmentation(value: Any, info: ImageInfo, repairs: list[tuple[str, str]]) -> bytes:
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


def _renumber(columns: Columns, paths: dict[int, str], quarantine: Quarantine) -> None:
    """Give annotations whose id occurred before a fresh one."""
    ids = np.frombuffer(columns.annotation_id, np.int64)
    if len(np.unique(ids)) == len(ids):
        return
    seen: set[int] = set()
    fresh = int(ids.max())
    for row, old in enumerate(ids.tolist()):
        if old in seen:
            fresh += 1
            columns.annotation_id[row] = fresh
            quarantine.repair(
                paths[columns.file[row]], "annotation id used twice", f"{old} renumbered to {fresh}"
            )
        seen.add(old)


def _sample_rows(images: list[tuple[str, _Usable]], columns: Columns, labelled: bool) -> list[dict[str, Any]]:
    classes: dict[int, list[int]] = {}
    pairs = np.stack([np.frombuffer(columns.sample, np.int64), np.frombuffer(columns.category, np.int32)])
    for sample, category in np.unique(pairs, axis=1).T.tolist() if labelled else []:
        classes.setdefault(sample, []).append(category)
    return [
        {
            **{"sample_id": image.sample_id, "media": image.info.path, "split": split},
            **{"group": image.sample_id, "content_hash": image.info.content_hash},
            **{"width": image.info.width, "height": image.info.height},
            "labels": classes.get(image.index, []),
        }
        for split, image in images
    ]


def _facts(year: int, kind: Kind, parts: list[_Part]) -> dict[str, Any]:
    return {
        "reader": "coco",
        "year": year,
        "annotations": kind,
        "official_split": "train; val is given as test",
        "licence": "annotations CC BY 4.0; images Flickr terms of use",
        "listed": sum(len(part.images) for part in parts),
    }
