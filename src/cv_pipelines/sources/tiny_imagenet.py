"""Tiny ImageNet (200 classes, 64×64 pixels, one box an image), read through `image_folder`.

`tiny-imagenet-200/{wnids.txt, words.txt, train/<wnid>/{images/*.JPEG, <wnid>_boxes.txt},
val/{images/*.JPEG, val_annotations.txt}}`; `val` is given as `test`, for the labels of `test` are not public.

A box line is `file x1 y1 x2 y2` with corners that count from 0 and are inclusive: of 5,000 boxes 1,837 start
at 0, 2,127 end at 63 on 64 pixels and none ends at 64. So w = x2 - x1 + 1. A few boxes were scaled down to a
line at the image's edge (x1 = x2); they show nothing and are dropped as boxes without area.

Source: http://cs231n.stanford.edu/tiny-imagenet-200.zip (Stanford CS231n; Le and Yang, Tiny ImageNet Visual
Recognition Challenge, 2015). Licence: ImageNet's terms.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cv_pipelines.data.schema import (
    Box,
    Categories,
    Quarantine,
    Tables,
    boxes_table,
    categories_of,
)
from cv_pipelines.errors import SourceError
from cv_pipelines.sources.labelled import Listing, first_synonyms, labelled_samples, names_in
from cv_pipelines.sources.lists import read_lines

EXPECTED = "wnids.txt, train/<wnid>/images/*.JPEG and val/{images/*.JPEG, val_annotations.txt}"


def read_tiny_imagenet(root: Path, class_names: dict[str, str]) -> Tables:
    """Read images, classes (sorted synset ids) and boxes.

    Args:
        root: the folder that holds `tiny-imagenet-200`, or that folder itself.
        class_names: readable names by synset id, which go before those of words.txt.

    Raises:
        SourceError: `wnids.txt` is missing or no image is usable.
    """
    base = next((path for path in (root, root / "tiny-imagenet-200") if (path / "wnids.txt").is_file()), None)
    if base is None:
        raise SourceError(f"{root}: expected {EXPECTED}")
    quarantine = Quarantine()
    words = _words(base) | class_names
    wnids = sorted({line.strip() for line in _lines(base / "wnids.txt") if line.strip()})
    index = {wnid: i for i, wnid in enumerate(wnids)}
    tree = _Tree(root, base, index, quarantine)
    corners: dict[str, list[str]] = {}
    listing = Listing()
    tree.list_train(listing, corners)
    tree.list_val(listing, corners)
    samples = labelled_samples(root, listing, quarantine, EXPECTED)
    rows = samples[["sample_id", "media", "width", "height", "labels"]].to_dict("records")
    boxes = boxes_table([box for row in rows for box in tree.boxes(row, corners.get(row["media"]))])
    classes = categories_of(first_synonyms({wnid: words.get(wnid, wnid) for wnid in wnids}), ids=wnids)
    return Tables(
        samples,
        boxes,
        Categories(labels=classes, objects=classes),
        quarantine.table(),
        facts={
            "reader": "image_folder",
            "official_split": "train; val is given as test (test has no public labels)",
            "licence": "ImageNet terms of access: non-commercial research and education",
            "images_without_boxes": len(samples) - boxes["sample_id"].nunique(),
        },
    )


def _lines(path: Path) -> list[str]:
    return read_lines(path) if path.is_file() else []


def _words(base: Path) -> dict[str, str]:
    parts = (line.partition("\t") for line in _lines(base / "words.txt"))
    return {wnid: text for wnid, _, text in parts}


class _Tree:
    """The two halves of the tree; `corners` collects the box corners, as text, by image path."""

    def __init__(self, root: Path, base: Path, index: dict[str, int], quarantine: Quarantine) -> None:
        self.root, self.base, self.index, self.quarantine = root, base, index, quarantine

    def list_train(self, listing: Listing, corners: dict[str, list[str]]) -> None:
        """List the training images with class and box."""
        folders = (self.base / "train").iterdir() if (self.base / "train").is_dir() else []
        for folder in sorted(path for path in folders if path.is_dir()):
            wnid = folder.name
            if wnid not in self.index:
                self.quarantine.drop(self._relative(folder), "unknown class", "not in wnids.txt")
                continue
            for name, values in self._records(folder / f"{wnid}_boxes.txt", fields=4):
                corners[self._relative(folder / "images" / name)] = values
            for name in names_in(folder / "images", ".JPEG"):
                self._add(listing, folder / "images" / name, "train", wnid)

    def list_val(self, listing: Listing, corners: dict[str, list[str]]) -> None:
        """List the validation images with class and box."""
        folder = self.base / "val"
        records = dict(self._records(folder / "val_annotations.txt", fields=5))
        for name in sorted({*names_in(folder / "images", ".JPEG"), *records}):
            path = self._relative(folder / "images" / name)
            if name not in records:
                self.quarantine.drop(path, "no label", "not in val_annotations.txt")
                continue
            wnid, *values = records[name]
            if wnid not in self.index:
                self.quarantine.drop(path, "unknown class", f"{wnid!r} not in wnids.txt")
                continue
            corners[path] = values
            self._add(listing, folder / "images" / name, "test", wnid)

    def _add(self, listing: Listing, path: Path, split: str, wnid: str) -> None:
        sample_id = path.relative_to(self.base).as_posix()
        listing.add([sample_id], [self._relative(path)], split, self.index[wnid])

    def boxes(self, row: dict[str, Any], values: list[str] | None) -> Iterator[Box]:
        """Yield the box of an image, if it has one that can be used."""
        if values is None:
            return
        if not all(value.isdecimal() for value in values):
            self.quarantine.drop(row["media"], "unreadable box", f"{values}; expected four whole numbers")
            return
        x1, y1, x2, y2 = (int(value) for value in values)
        right, bottom = min(x2 + 1, row["width"]), min(y2 + 1, row["height"])
        if x2 <= x1 or y2 <= y1:
            self.quarantine.drop(row["media"], "box without area", f"corners {values}")
            return
        if right <= x1 or bottom <= y1:
            self.quarantine.drop(row["media"], "box outside image", f"corners {values}")
            return
        if (right, bottom) != (x2 + 1, y2 + 1):
            self.quarantine.repair(row["media"], "box outside image", f"corners {values} cut to the image")
        yield Box(row["sample_id"], row["labels"][0], x1, y1, right - x1, bottom - y1)

    def _records(self, path: Path, fields: int) -> Iterator[tuple[str, list[str]]]:
        """Yield (file name, other fields) of a tab separated list."""
        if not path.is_file():
            self.quarantine.drop(self._relative(path), "missing file", "expected a box list")
        for line in _lines(path):
            name, *values = line.split() or [""]
            if len(values) == fields and "/" not in name:
                yield name, values
            else:
                self.quarantine.drop(self._relative(path), "unreadable line", line[:80])

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()
