"""MS COCO: images, and JSON with boxes, polygons or RLE, person keypoints, or captions.

    annotations/{instances,person_keypoints,captions}_{train,val}2017.json
    {train,val}2017/000000000139.jpg

Source: https://cocodataset.org. Annotations are CC BY 4.0; the images are from Flickr (its terms).
Citation: Lin et al.: Microsoft COCO: Common Objects in Context, ECCV 2014, arXiv:1405.0312.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

import numpy as np

from cv_pipelines.data.inspection import image_columns, is_text, scan_images
from cv_pipelines.data.schema import (
    Categories,
    Category,
    Quarantine,
    Tables,
    annotations_frame,
    categories_of,
    samples_frame,
)
from cv_pipelines.errors import SourceError
from cv_pipelines.sources.coco_json import Columns, ImageRecord, as_image, dicts, is_id, read_lists, read_text
from cv_pipelines.sources.coco_records import Adder, Kind, Part, Usable
from cv_pipelines.sources.coco_sample import write_sample

__all__ = ["read", "write_sample"]

FILES = {"instances": "instances", "keypoints": "person_keypoints", "captions": "captions"}
SPLITS = {"train": "train", "val": "test"}


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
        Adder(columns, part, annotations, objects, index, quarantine).add_all()
    images = [(part.split, image) for part in found for image in part.usable.values()]
    if not images:
        raise SourceError(f"{root}: no usable image in {', '.join(f'{part.folder}/' for part in found)}")
    _renumber(columns, {part.number: part.path for part in found}, quarantine)
    labels = objects if annotations != "captions" else []
    categories = Categories(labels=labels, objects=objects, multi_label=bool(labels))
    rows = annotations_frame(columns.arrays([image.sample_id for _, image in images]))
    samples = samples_frame(_sample_columns(images, columns, bool(labels)))
    return Tables(samples, rows, categories, quarantine.table(), facts=_facts(year, annotations, found))


def _load(root: Path, name: str, year: int, kind: Kind, quarantine: Quarantine) -> Part | None:
    path = f"annotations/{FILES[kind]}_{name}{year}.json"
    keys = ["images", "annotations"] + (["categories"] if kind != "captions" else [])
    try:
        text = read_text(root / path)
        lists = read_lists(text, keys)
    except SourceError:
        quarantine.drop(path, "missing file", "the other split is read without it")
        return None
    except ValueError as error:  # also what bytes that are no UTF-8 raise
        quarantine.drop(path, "unreadable JSON", str(error))
        return None
    images = [image for record in lists["images"] if (image := as_image(record)) is not None]
    categories = list(dicts(lists.get("categories", [])))
    lost = len(lists["images"]) + len(lists.get("categories", [])) - len(images) - len(categories)
    if lost:
        quarantine.drop(path, "unreadable record", f"{lost} list entries are not objects")
    number = list(SPLITS).index(name)
    return Part(number, path, f"{name}{year}", SPLITS[name], images, lists["annotations"], categories, text)


def _classes(root: Path, parts: list[Part], kind: Kind) -> tuple[list[Category], dict[int, int]]:
    """Give the classes of all parts and the index of each official category id."""
    if kind == "captions":
        return categories_of(["caption"]), {}
    seen: dict[int, dict[str, Any]] = {}
    for part in parts:
        for row in part.categories:
            if not is_id(row.get("id")) or not is_text(row.get("name")):
                raise SourceError(f"{root / part.path}: category {row}; expected an integer id and a name")
            if seen.setdefault(row["id"], row)["name"] != row["name"]:
                raise SourceError(f"{root / part.path}: category {row['id']} has another name elsewhere")
    ids = sorted(seen)
    categories = categories_of([seen[k]["name"] for k in ids], [str(k) for k in ids])
    for category, k in zip(categories, ids, strict=True):
        try:
            names, limbs = seen[k].get("keypoints", []), seen[k].get("skeleton", [])
            category.keypoints = [name for name in names if is_text(name)]
            category.skeleton = [(a - 1, b - 1) for a, b in limbs if is_id(a) and is_id(b)]
            if (len(category.keypoints), len(category.skeleton)) != (len(names), len(limbs)):
                raise ValueError
        except (TypeError, ValueError):
            detail = f"category {k}; expected a list of keypoint names and a skeleton of pairs"
            raise SourceError(f"{root}/annotations: {detail}") from None
    return categories, {k: i for i, k in enumerate(ids)}


def _scan(root: Path, part: Part, first: int, quarantine: Quarantine) -> None:
    """Find out which of a part's images can be used (readable, of the stated size, named once); number them.

    Args:
        root: folder of the source.
        part: whose `usable` and `unusable` are filled.
        first: the number that the first usable image gets.
        quarantine: where defects are recorded.
    """
    wanted: dict[str, ImageRecord] = {}
    names: set[str] = set()
    for row in part.images:
        name, number = row.file_name, row.id
        if not _is_inner_path(name) or not is_id(number):
            quarantine.drop(part.path, "unreadable image record", f"{row}"[:200])
        elif (sample_id := _sample_id(part, name)) in names or number in part.unusable:
            quarantine.drop(part.path, "listed twice", f"image {number}, {name}")
        else:
            names.add(sample_id)
            part.unusable.add(number)
            wanted[f"{part.folder}/{name}"] = row
    for path, info in scan_images(root, wanted, quarantine).items():
        row = wanted[path]
        stated = (
            info.width if row.width is None else row.width,
            info.height if row.height is None else row.height,
        )
        if stated != (info.width, info.height):
            detail = f"{info.width}×{info.height}; {part.path} says {stated[0]}×{stated[1]}"
            quarantine.drop(path, "image of another size", detail)
            continue
        index = first + len(part.usable)
        part.usable[row.id] = Usable(index, _sample_id(part, row.file_name), info)
        part.unusable.discard(row.id)


def _is_inner_path(name: Any) -> TypeGuard[str]:
    if not is_text(name):
        return False
    if "/" not in name and name not in {"", ".", ".."}:
        return True  # all of COCO's own
    path = PurePosixPath(name)
    return bool(path.name) and not path.is_absolute() and ".." not in path.parts


def _sample_id(part: Part, file_name: str) -> str:
    stem, _, suffix = file_name.rpartition(".")
    plain = stem if stem and "/" not in suffix and not stem.endswith("/") else file_name
    return f"{part.folder}/{plain}"


def _renumber(columns: Columns, paths: dict[int, str], quarantine: Quarantine) -> None:
    """Give annotations whose id occurred before a fresh one."""
    ids = np.frombuffer(columns.annotation_id, np.int64)
    if len(distinct(ids)) == len(ids):
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


def distinct(values: np.ndarray) -> np.ndarray:
    """Return the distinct ones of (N,) integers, sorted; np.unique hashes them, which takes longer."""
    ordered = np.sort(values)
    return ordered[np.diff(ordered, prepend=ordered[:1] - 1) != 0]


def _sample_columns(images: list[tuple[str, Usable]], columns: Columns, labelled: bool) -> dict[str, Any]:
    """Return the columns of `samples`; `labels` are the classes of a sample's objects, in order."""
    sample, category = (np.frombuffer(c, np.int64) for c in (columns.sample, columns.category))
    classes = int(category.max(initial=0)) + 1
    pairs = distinct(sample * classes + category) if labelled else np.empty(0, np.int64)
    starts = np.searchsorted(pairs // classes, np.arange(1, len(images)))
    ids = [image.sample_id for _, image in images]
    return {
        **image_columns(image.info for _, image in images),
        "sample_id": ids,
        "split": [split for split, _ in images],
        "group": ids,
        "labels": [part.tolist() for part in np.split(pairs % classes, starts)],
    }


def _facts(year: int, kind: Kind, parts: list[Part]) -> dict[str, Any]:
    return {
        "reader": "coco",
        "year": year,
        "annotations": kind,
        "official_split": "train; val is given as test",
        "licence": "annotations CC BY 4.0; images Flickr terms of use",
        "listed": sum(len(part.images) for part in parts),
    }
