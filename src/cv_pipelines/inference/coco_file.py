"""Detections as one file in COCO's form, written part by part."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from cv_pipelines.data.schema import Categories
from cv_pipelines.inference.parts import Parts


def write_coco(parts: Parts, categories: Categories, path: Path) -> None:
    """Write images, classes and detections, each with its `score`, as tools that show COCO files read them.

    Ids count from 1, in the order of the tables; a class's id is its index + 1, as in the project's other
    COCO files. No more than one part is held in memory, beside the ids of its images.
    """
    fresh = path.with_name(path.name + ".writing")
    classes = [{"id": c.index + 1, "name": c.name} for c in categories.objects]
    with fresh.open("w", encoding="utf8") as file:
        file.write(f'{{"info": {{}}, "categories": {json.dumps(classes)}, "images": [')
        _write_list(file, _images(parts))
        file.write('], "annotations": [')
        _write_list(file, _objects(parts))
        file.write("]}\n")
    fresh.replace(path)


def _write_list(file: TextIO, entries: Iterable[dict[str, Any]]) -> None:
    for place, entry in enumerate(entries):
        file.write((",\n" if place else "\n") + json.dumps(entry))


def _images(parts: Parts) -> Iterator[dict[str, Any]]:
    number = 0
    for table in parts.tables("samples"):
        for row in table.to_pylist():
            number += 1
            yield {
                "id": number,
                "file_name": row["sample_id"],
                "width": row["width"],
                "height": row["height"],
            }


def _objects(parts: Parts) -> Iterator[dict[str, Any]]:
    first, number = 1, 0
    for samples, found in zip(parts.tables("samples"), parts.tables("predictions"), strict=True):
        ids = {name: first + place for place, name in enumerate(samples["sample_id"].to_pylist())}
        first += len(ids)
        for row in found.to_pylist():
            number += 1
            yield {
                "id": number,
                "image_id": ids[row["sample_id"]],
                "category_id": row["category"] + 1,
                "bbox": [row["x"], row["y"], row["w"], row["h"]],
                "area": row["w"] * row["h"],
                "iscrowd": 0,
                "score": row["score"],
            }
