"""ImageNet ILSVRC2012 classification and localisation, as the challenge's archives unpack.

```
ILSVRC/Data/CLS-LOC/train/<synset>/<synset>_<k>.JPEG     ILSVRC/Annotations/CLS-LOC/train/<synset>/….xml
ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_<8 digits>.JPEG   ILSVRC/Annotations/CLS-LOC/val/….xml
LOC_synset_mapping.txt, LOC_val_solution.csv             beside or in ILSVRC/
ILSVRC2012_devkit_t12/data/{ILSVRC2012_validation_ground_truth.txt, meta.mat or map_clsloc.txt}
```

Labels are the synsets in sorted order, which is the order of published ImageNet weights; the devkit's own
numbers (ILSVRC2012_ID, from 1) follow another order and are translated. The official validation images are
given as `test`; the official test labels were never published.

Box corners count from 0 and are inclusive: over the 80,477 boxes of the 50,000 validation images (most of
them 500 pixels wide) the smallest corner is 0 and the common largest one 499. So a box from 0 to 499 is 500
pixels wide: w = xmax - xmin + 1. About half of the training images have no box file, officially.

Source: https://image-net.org/challenges/LSVRC/2012. Terms: non-commercial research and education.
Citation: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from PIL import Image

from cv_pipelines.data.schema import (
    Box,
    Categories,
    Quarantine,
    Tables,
    Truth,
    boxes_table,
    categories_of,
)
from cv_pipelines.errors import BadSampleError, SourceError
from cv_pipelines.sources.labelled import (
    BYTES,
    TEXT,
    Listing,
    below,
    first_synonyms,
    labelled_samples,
    names_in,
    packed_names_of,
)
from cv_pipelines.sources.lists import read_whole
from cv_pipelines.sources.matlab import read_synsets
from cv_pipelines.sources.pascal_xml import BoxFile, XmlBox, read_box_files, write_boxes
from cv_pipelines.sources.scenes import SHAPES, draw_scene

EXPECTED = "ILSVRC/Data/CLS-LOC/{train/<synset>/*.JPEG, val/*.JPEG}"
SYNSET = re.compile(r"n\d{8}")
DEVKIT_FOLDERS = ("ILSVRC2012_devkit_t12/data", "devkit/data")


def read(root: Path, *, labels_from: Literal["auto", "csv", "devkit"] = "auto") -> Tables:
    """Read whatever is there of the training and validation images, their classes and boxes.

    Args:
        root: the folder that holds `ILSVRC/`, or `ILSVRC` itself.
        labels_from: where the classes of validation images come from: "csv" is LOC_val_solution.csv, "devkit"
            the devkit's ground truth; "auto" takes the CSV where there is one.

    Raises:
        SourceError: no image is usable, or a list that is needed is missing.
    """
    prefix = next((p for p in ("ILSVRC/", "") if (root / p / "Data/CLS-LOC").is_dir()), None)
    if prefix is None:
        raise SourceError(f"{root}: expected {EXPECTED}")
    quarantine = Quarantine()
    files = _Files(root, prefix)
    words = _synset_words(files, quarantine)
    index = {wnid: i for i, wnid in enumerate(words)}
    listing = Listing()
    _list_train(files, index, listing, quarantine)
    _list_val(files, labels_from, index, listing, quarantine)
    samples = labelled_samples(root, listing, quarantine, EXPECTED)
    boxes = _boxes(files, samples, words, quarantine)
    classes = categories_of(first_synonyms(words), ids=list(words))
    return Tables(
        samples,
        boxes,
        Categories(labels=classes, objects=classes),
        quarantine.table(),
        facts={
            "reader": "imagenet",
            "official_split": "train; the official validation images are given as test",
            "licence": "ImageNet terms of access: non-commercial research and education",
            "images_without_boxes": len(samples) - boxes["sample_id"].nunique(),
        },
    )


class _Files:
    """Where the parts of the tree lie: `prefix` is "ILSVRC/" or empty; `classes` is the devkit's list."""

    def __init__(self, root: Path, prefix: str) -> None:
        self.root, self.prefix = root, prefix
        self.images = root / prefix / "Data/CLS-LOC"
        self.classes: dict[int, tuple[str, str]] | None = None

    def find(self, name: str, folders: tuple[str, ...] = (".",)) -> Path | None:
        """Return the first file of that name in the root or in `ILSVRC/`."""
        paths = (self.root / p / f / name for p in ("", self.prefix) for f in folders)
        return next((path for path in paths if path.is_file()), None)

    def relative(self, path: Path) -> str:
        """Return a path as seen from the root, with forward slashes."""
        return path.relative_to(self.root).as_posix()


def _synset_words(files: _Files, quarantine: Quarantine) -> dict[str, str]:
    path = files.find("LOC_synset_mapping.txt")
    if path is None:
        words = dict(_devkit_classes(files, quarantine).values())
    else:
        words = {}
        for line in _lines(path):
            wnid, _, text = line.partition(" ")
            if SYNSET.fullmatch(wnid):
                words[wnid] = text
            else:
                quarantine.drop(
                    files.relative(path), "unreadable line", f"{line[:80]!r}; expected a synset id"
                )
    if not words:
        raise SourceError(f"{files.root}: expected LOC_synset_mapping.txt, or meta.mat or map_clsloc.txt")
    return dict(sorted(words.items()))


def _devkit_classes(files: _Files, quarantine: Quarantine) -> dict[int, tuple[str, str]]:
    """Return ILSVRC2012_ID to (synset, words), of meta.mat or else of map_clsloc.txt; read once."""
    if files.classes is None:
        files.classes = _read_devkit(files, quarantine)
    return files.classes


def _read_devkit(files: _Files, quarantine: Quarantine) -> dict[int, tuple[str, str]]:
    meta = files.find("meta.mat", DEVKIT_FOLDERS)
    if meta is not None:
        try:
            return read_synsets(meta)
        except BadSampleError as error:
            quarantine.drop(files.relative(meta), error.reason, error.detail)
    classes: dict[int, tuple[str, str]] = {}
    table = files.find("map_clsloc.txt", DEVKIT_FOLDERS)
    if table is None:
        return classes
    for line in _lines(table):
        match line.split():
            case [wnid, number, name] if number.isdecimal():
                classes[int(number)] = (wnid, name.replace("_", " "))
            case _:
                quarantine.drop(files.relative(table), "unreadable line", line[:80])
    return classes


def _list_train(files: _Files, index: dict[str, int], listing: Listing, quarantine: Quarantine) -> None:
    """List the training images, synset by synset."""
    train = files.images / "train"
    media, wnids = files.relative(train), names_in(train, "")
    listed = packed_names_of([train / wnid for wnid in wnids], ".JPEG")
    for wnid, names in zip(wnids, listed, strict=True):
        if wnid in index:
            paths = below(f"{media}/{wnid}", names)
            # both ends are ASCII, and bytes are cut in half the time
            ids = pc.binary_slice(paths.view(BYTES), len(media) - len("train"), -len(".JPEG")).view(TEXT)
            listing.add(ids, paths, "train", index[wnid])
        elif (train / wnid).is_dir():
            quarantine.drop(f"{media}/{wnid}", "unknown class", f"not among {len(index)} synsets")


def _list_val(
    files: _Files, labels_from: str, index: dict[str, int], listing: Listing, quarantine: Quarantine
) -> None:
    """List the validation images whose class is known."""
    names = names_in(files.images / "val", ".JPEG")
    labels = _val_labels(files, labels_from, quarantine) if names else {}
    for name in names:
        stem, path = name[:-5], files.relative(files.images / "val" / name)
        wnid = labels.get(stem)
        if wnid in index:
            listing.add([f"val/{stem}"], [path], "test", index[wnid])
        else:
            reason = "no label" if wnid is None else "unknown class"
            quarantine.drop(path, reason, f"{wnid}; expected one of {len(index)} synsets")


def _val_labels(files: _Files, labels_from: str, quarantine: Quarantine) -> dict[str, str]:
    """Return the validation images' synsets by file stem."""
    solution = files.find("LOC_val_solution.csv") if labels_from != "devkit" else None
    if solution is not None:
        return _csv_labels(solution, files, quarantine)
    truth = (
        files.find("ILSVRC2012_validation_ground_truth.txt", DEVKIT_FOLDERS) if labels_from != "csv" else None
    )
    if truth is None:
        wanted = {"csv": "LOC_val_solution.csv", "devkit": "the devkit's ground truth"}
        raise SourceError(
            f"{files.root}: no labels for {files.prefix}Data/CLS-LOC/val; expected "
            + wanted.get(labels_from, " or ".join(wanted.values()))
        )
    classes = _devkit_classes(files, quarantine)
    labels: dict[str, str] = {}
    for number, line in enumerate(_lines(truth), start=1):
        if line.isdecimal() and int(line) in classes:
            labels[f"ILSVRC2012_val_{number:08d}"] = classes[int(line)][0]
        else:
            quarantine.drop(files.relative(truth), "unreadable line", f"line {number}: {line[:80]!r}")
    return labels


def _csv_labels(path: Path, files: _Files, quarantine: Quarantine) -> dict[str, str]:
    labels: dict[str, str] = {}
    for number, line in enumerate(_lines(path)[1:], start=2):
        image, _, boxes = line.partition(",")
        if boxes.split():
            labels[image] = boxes.split()[0]
        else:
            quarantine.drop(files.relative(path), "unreadable line", f"line {number}: {line[:80]!r}")
    return labels


def _lines(path: Path) -> list[str]:
    return read_whole(path).decode("utf-8", "replace").rstrip().splitlines()


def _boxes(
    files: _Files, samples: pd.DataFrame, words: dict[str, str], quarantine: Quarantine
) -> pd.DataFrame:
    """Read the boxes of all images that have some; only validation images officially have a file each.

    Some official box files name a class by its first word ("Scottish_deerhound") instead of its synset.
    """
    index = {wnid: i for i, wnid in enumerate(words)}
    by_word = {
        first.replace(" ", "_"): wnid for wnid, first in zip(words, first_synonyms(words), strict=True)
    }
    folder = files.root / files.prefix / "Annotations/CLS-LOC"
    wnids = names_in(folder / "train", "")
    listed = packed_names_of([folder / "train" / wnid for wnid in wnids], ".xml")
    there = {
        f"train/{wnid}/{name[:-4]}"
        for wnid, names in zip(wnids, listed, strict=True)
        for name in names.to_pylist()
    }
    complete = (folder / "val").is_dir()
    wanted = (samples["split"] == "test") & complete
    if there:
        wanted |= samples["sample_id"].isin(there)
    if not wanted.any():
        return boxes_table([])
    some = samples.loc[wanted, ["sample_id", "width", "height"]]
    rows = list(some.itertuples(index=False, name=None))
    paths = [f"{files.prefix}Annotations/CLS-LOC/{sample_id}.xml" for sample_id, _, _ in rows]
    xml: list[BoxFile] = [(path, (w, h)) for path, (_, w, h) in zip(paths, rows, strict=True)]
    found = read_box_files(files.root, xml, quarantine, offset=0, remark="; image kept without boxes")
    boxes: list[Box] = []
    for path, (sample_id, width, height), objects in zip(paths, rows, found, strict=True):
        for name, x, y, w, h, difficult, _ in objects or []:
            wnid = name if name in index else by_word.get(name)
            if wnid is not None:
                inside = (min(w + 1, width - x), min(h + 1, height - y))
                boxes.append(Box(sample_id, index[wnid], x, y, *inside, difficult))
                if wnid != name:
                    quarantine.repair(path, "class by its word", f"{name!r} read as {wnid}")
            else:
                quarantine.drop(path, "unknown class", f"{name!r} not among {len(index)} synsets")
    return boxes_table(boxes)


def write_sample(root: Path, *, n: int = 60, size: tuple[int, int] = (128, 128), seed: int = 0) -> Truth:
    """Draw a small ImageNet of six shapes with one or two objects an image, all lists and box files included.

    Args:
        root: folder to write into.
        n: images in all; the last quarter are validation images.
        size: (width, height) in pixels.
        seed: same seed, same bytes.
    """
    rng = np.random.default_rng(seed)
    wnids = [f"n9000000{k}" for k in range(len(SHAPES))]
    first_val = n - n // 4
    truth, solution = Truth({"train": first_val, "test": n - first_val}), ["ImageId,PredictionString"]
    truth.splits = {split: count for split, count in truth.splits.items() if count}
    numbers: list[int] = []
    for i in range(n):
        shape, k = i % len(SHAPES), i - first_val + 1
        name = f"val/ILSVRC2012_val_{k:08d}" if k > 0 else f"train/{wnids[shape]}/{wnids[shape]}_{i}"
        scene = draw_scene(rng, size, [shape] * int(rng.integers(1, 3)))
        corners = [(o.x, o.y, o.x + o.w - 1, o.y + o.h - 1) for o in scene.objects]
        _write_image(root, name, scene.image, wnids[shape], corners)
        truth.labels[name] = [SHAPES[shape]]
        truth.boxes[name] = [
            (SHAPES[shape], float(o.x), float(o.y), float(o.w), float(o.h)) for o in scene.objects
        ]
        if k > 0:
            strings = (f"{wnids[shape]} {' '.join(map(str, box))} " for box in corners)
            solution.append(f"{Path(name).name},{''.join(strings)}")
            numbers.append(len(SHAPES) - shape)
    _write_lists(root, wnids, solution, numbers)
    return truth


def _write_lists(root: Path, wnids: list[str], solution: list[str], numbers: list[int]) -> None:
    """Write the lists; the devkit numbers the classes backwards, for its order is not the sorted one."""
    devkit = root / DEVKIT_FOLDERS[0]
    devkit.mkdir(parents=True, exist_ok=True)
    pairs = list(zip(wnids, SHAPES, strict=True))
    texts = {
        root / "LOC_synset_mapping.txt": [f"{wnid} {name}, drawn shape" for wnid, name in pairs],
        root / "LOC_val_solution.csv": solution,
        devkit / "map_clsloc.txt": [
            f"{w} {i} {name}" for i, (w, name) in enumerate(reversed(pairs), start=1)
        ],
        devkit / "ILSVRC2012_validation_ground_truth.txt": [str(number) for number in numbers],
    }
    for path, lines in texts.items():
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _write_image(
    root: Path, name: str, pixels: np.ndarray, wnid: str, corners: list[tuple[int, int, int, int]]
) -> None:
    image_path = root / "ILSVRC/Data/CLS-LOC" / f"{name}.JPEG"
    box_path = root / "ILSVRC/Annotations/CLS-LOC" / f"{name}.xml"
    for path in (image_path, box_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(image_path, format="JPEG", quality=92)
    drawn = [XmlBox(wnid, x, y, right - x, bottom - y, difficult=False) for x, y, right, bottom in corners]
    height, width = pixels.shape[:2]
    write_boxes(
        box_path,
        drawn,
        folder=image_path.parent.name,
        filename=image_path.stem,
        size=(width, height),
        offset=0,
    )
