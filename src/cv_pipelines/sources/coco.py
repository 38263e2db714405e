"""MS COCO: images, and JSON with boxes, polygons or RLE, person keypoints, or captions.

    annotations/{instances,person_keypoints,captions}_{train,val}2017.json
    {train,val}2017/000000000139.jpg

Source: https://cocodataset.org. Annotations are CC BY 4.0; the images are from Flickr (its terms).
Citation: Lin et al.: Microsoft COCO: Common Objects in Context, ECCV 2014, arXiv:1405.0312.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeGuard

from cv_pipelines.data.images import ImageInfo, scan_images
from cv_pipelines.data.schema import (
    Categories,
    Category,
    Quarantine,
    Tables,
    annotations_table,
    categories_of,
    samples_table,
)
from cv_pipelines.errors import BadSampleError, SourceError
from cv_pipelines.sources.coco_sample import write_sample

__all__ = ["read", "write_sample"]

Kind = Literal["instances", "keypoints", "captions"]
FILES = {"instances": "instances", "keypoints": "person_keypoints", "captions": "captions"}
SPLITS = {"train": "train", "val": "test"}
ROUNDING = 0.01
"""The source rounds boxes to two decimals: an overhang of up to this many pixels is cut without a remark."""


@dataclass
class _Part:
    """One JSON file: its path, its folder of images, what it holds, and its images that are usable by id."""

    path: str
    folder: str
    split: str
    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    usable: dict[int, tuple[str, ImageInfo]] = field(default_factory=dict)
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
    records: list[dict[str, Any]] = []
    for part in found:
        _scan(root, part, quarantine)
        records += _records(part, annotations, objects, index, quarantine)
    if not any(part.usable for part in found):
        raise SourceError(f"{root}: no usable image in {', '.join(f'{part.folder}/' for part in found)}")
    _renumber(records, quarantine)
    labels = objects if annotations != "captions" else []
    categories = Categories(labels=labels, objects=objects, multi_label=bool(labels))
    samples = samples_table(_sample_rows(found, records, bool(labels)))
    rows = annotations_table([{k: v for k, v in r.items() if k != "file"} for r in records])
    return Tables(samples, rows, categories, quarantine.table(), facts=_facts(year, annotations, found))


def _load(root: Path, name: str, year: int, kind: Kind, quarantine: Quarantine) -> _Part | None:
    path = f"annotations/{FILES[kind]}_{name}{year}.json"
    try:
        content = json.loads((root / path).read_bytes())
    except OSError:
        quarantine.drop(path, "missing file", "the other split is read without it")
        return None
    except ValueError as error:  # also what bytes that are no UTF-8 raise
        quarantine.drop(path, "unreadable JSON", str(error))
        return None
    keys = ["images", "annotations"] + (["categories"] if kind != "captions" else [])
    if not isinstance(content, dict) or any(not isinstance(content.get(key), list) for key in keys):
        quarantine.drop(path, "unreadable JSON", f"expected an object with the lists {', '.join(keys)}")
        return None
    lists = {key: [row for row in content[key] if isinstance(row, dict)] for key in keys}
    lost = sum(len(content[key]) - len(lists[key]) for key in keys)
    if lost:
        quarantine.drop(path, "unreadable record", f"{lost} list entries are not objects")
    return _Part(
        path,
        f"{name}{year}",
        SPLITS[name],
        lists["images"],
        lists["annotations"],
        lists.get("categories", []),
    )


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


def _scan(root: Path, part: _Part, quarantine: Quarantine) -> None:
    """Find out which of a part's images can be used: readable, of the stated size, named once."""
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
        part.usable[row["id"]] = (_sample_id(part, row["file_name"]), info)
        part.unusable.discard(row["id"])


def _is_inner_path(name: Any) -> TypeGuard[str]:
    path = PurePosixPath(name) if isinstance(name, str) else PurePosixPath()
    return bool(path.name) and not path.is_absolute() and ".." not in path.parts


def _sample_id(part: _Part, file_name: str) -> str:
    return f"{part.folder}/{PurePosixPath(file_name).with_suffix('')}"


def _records(
    part: _Part, kind: Kind, objects: list[Category], index: dict[int, int], quarantine: Quarantine
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    lost: Counter[int] = Counter()
    for record in part.annotations:
        image = record.get("image_id")
        if isinstance(image, int) and image in part.unusable:
            lost[image] += 1
            continue
        try:
            row = _row(part, record, kind, objects, index)
        except BadSampleError as error:
            where = f"annotation {record.get('id')}"
            quarantine.drop(part.path, error.reason, f"{where}: {error.detail}")
            continue
        for reason, detail in row.pop("repairs"):
            quarantine.repair(part.path, reason, f"annotation {record['id']}: {detail}")
        rows.append({**row, "file": part.path})
    for image, count in lost.items():
        quarantine.drop(part.path, "annotation of an unusable image", f"{count} of image {image}")
    return rows


def _row(
    part: _Part, record: dict[str, Any], kind: Kind, objects: list[Category], index: dict[int, int]
) -> dict[str, Any]:
    image = record.get("image_id")
    if not isinstance(image, int) or image not in part.usable:
        raise BadSampleError("unknown image", f"image_id {image!r}")
    if not isinstance(record.get("id"), int):
        raise BadSampleError("unreadable annotation", "no integer id")
    sample_id, info = part.usable[image]
    row: dict[str, Any] = {"sample_id": sample_id, "annotation_id": record["id"], "repairs": []}
    if kind == "captions":
        if not isinstance(text := record.get("caption"), str) or not text.strip():
            raise BadSampleError("unreadable annotation", "no caption")
        frame = {"x": 0.0, "y": 0.0, "w": info.width, "h": info.height, "area": info.width * info.height}
        return {**row, **frame, "category": 0, "caption": text.strip()}
    category = record.get("category_id")
    if not isinstance(category, int) or category not in index:
        raise BadSampleError("unknown category", f"category_id {category!r}")
    box = _box(record.get("bbox"), info, row["repairs"])
    area = _area(record.get("area"), box)
    row |= {**box, "area": area}
    row |= {"category": index[category], "iscrowd": bool(record.get("iscrowd", 0))}
    row["segmentation"] = _segmentation(record.get("segmentation"), info, row["repairs"])
    if kind == "keypoints":
        row["keypoints"] = _keypoints(record.get("keypoints"), objects[index[category]])
    return row


def _finite(values: Any) -> TypeGuard[list[float]]:
    """Say whether `values` is a list of finite numbers."""
    if not isinstance(values, list):
        return False
    return all(isinstance(v, int | float) and math.isfinite(v) for v in values)


def _box(values: Any, info: ImageInfo, repairs: list[tuple[str, str]]) -> dict[str, float]:
    if not _finite(values) or len(values) != 4:
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
        return {"x": x, "y": y, "w": w, "h": h}
    if overhang > ROUNDING:
        repairs.append(("box outside image", f"bbox {values} cut to {info.width}×{info.height}"))
    return {"x": left, "y": top, "w": right - left, "h": bottom - top}


def _area(value: Any, box: dict[str, float]) -> float:
    return float(value) if _finite([value]) and value >= 0 else box["w"] * box["h"]


def _segmentation(value: Any, info: ImageInfo, repairs: list[tuple[str, str]]) -> str | None:
    """Give polygons or RLE as JSON text; what pycocotools could not decode is left out."""
    if value is None:
        return None
    good: Any = None
    if isinstance(value, list):
        good = [p for p in value if _finite(p) and len(p) >= 6 and len(p) % 2 == 0]
    elif isinstance(value, dict) and value.get("size") == [info.height, info.width]:
        counts = value.get("counts")
        whole = _finite(counts) and sum(counts) == info.height * info.width
        good = value if isinstance(counts, str) or whole else None
    if not good or len(good) < len(value):
        repairs.append(("unusable segmentation", "left out a mask or polygon that cannot be decoded"))
    return json.dumps(good, separators=(",", ":")) if good else None


def _keypoints(values: Any, category: Category) -> list[float]:
    expected = 3 * len(category.keypoints)
    if not _finite(values) or len(values) != expected:
        raise BadSampleError("unreadable annotation", f"keypoints; expected {expected} numbers")
    return [float(v) for v in values]


def _renumber(records: list[dict[str, Any]], quarantine: Quarantine) -> None:
    """Give annotations whose id occurred before a fresh one."""
    seen: set[int] = set()
    fresh = max((r["annotation_id"] for r in records), default=0)
    for record in records:
        if (old := record["annotation_id"]) in seen:
            fresh += 1
            record["annotation_id"] = fresh
            quarantine.repair(record["file"], "annotation id used twice", f"{old} renumbered to {fresh}")
        seen.add(record["annotation_id"])


def _sample_rows(parts: list[_Part], records: list[dict[str, Any]], labelled: bool) -> list[dict[str, Any]]:
    classes: dict[str, set[int]] = {}
    for record in records if labelled else []:
        classes.setdefault(record["sample_id"], set()).add(record["category"])
    return [
        {
            **{"sample_id": sample_id, "media": info.path, "split": part.split, "group": sample_id},
            **{"width": info.width, "height": info.height, "content_hash": info.content_hash},
            "labels": sorted(classes.get(sample_id, set())),
        }
        for part in parts
        for sample_id, info in part.usable.values()
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
