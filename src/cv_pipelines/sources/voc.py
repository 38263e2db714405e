"""PASCAL VOC: images with boxes (XML), class masks and object masks (palette PNG), and image lists.

    VOCdevkit/VOC2012/{JPEGImages,Annotations,SegmentationClass,SegmentationObject}/
    VOCdevkit/VOC2012/ImageSets/{Main,Segmentation}/{train,val,trainval}.txt

Source: http://host.robots.ox.ac.uk/pascal/VOC/. Images are from Flickr, under its terms of use.
Citation: Everingham, Van Gool, Williams, Winn, Zisserman: The PASCAL Visual Object Classes (VOC) Challenge,
IJCV 88(2), 2010.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask
from scipy.ndimage import binary_dilation

from cv_pipelines.data.images import ImageInfo, check_mask, inspect_image, scan_images
from cv_pipelines.data.schema import (
    IGNORE_INDEX,
    Categories,
    Quarantine,
    Tables,
    Truth,
    annotations_table,
    categories_of,
    samples_table,
)
from cv_pipelines.errors import BadSampleError, SourceError
from cv_pipelines.sources.pascal_xml import XmlBox, read_boxes, write_boxes
from cv_pipelines.sources.scenes import SHAPES, Scene, draw_scene

CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""The official class names in official order; mask value k + 1 is class k."""

SAMPLE_CLASSES = ("bus", "tvmonitor", "aeroplane", "bicycle", "bird", "person")
"""What `write_sample` calls the six drawn shapes, in the order of `scenes.SHAPES`."""

FOLDERS = {"main": "Main", "segmentation": "Segmentation"}
Task = Literal["main", "segmentation"]


def palette() -> list[tuple[int, int, int]]:
    """Return VOC's 256 mask colours: the bits of the value, dealt to R, G, B from the highest bit down."""

    def channel(value: int, first: int) -> int:
        """Gather every third bit of the index, from the highest of a channel down."""
        return sum((value >> (3 * k + first) & 1) << (7 - k) for k in range(3))

    return [(channel(v, 0), channel(v, 1), channel(v, 2)) for v in range(256)]


@dataclass(frozen=True)
class _Release:
    root: Path
    folder: str
    task: Task
    categories: Categories
    quarantine: Quarantine


def read(root: Path, *, year: int = 2012, task: Task = "main") -> Tables:
    """Read one year's release.

    `labels` are all classes that have a box (also difficult ones); `area` is the box's. A sample whose XML is
    unusable is dropped from the main task and kept without boxes for segmentation; an unusable mask costs
    the main task only the `target`, segmentation the sample.

    Args:
        root: folder that holds `VOCdevkit/VOC<year>` or `VOC<year>`.
        year: which release. Official val is given as 'test', as no test labels are public; only 2007 has
            them, and with its `test.txt` there val stays 'val'.
        task: whose image lists count: 'main' (detection, classification) or 'segmentation' (every sample has
            a mask).

    Raises:
        SourceError: the folder or its image lists are missing, or no listed sample is usable.
    """
    quarantine = Quarantine()
    release = _Release(root, _release_folder(root, year), task, _categories(), quarantine)
    lists = _list_splits(release, year)
    images = scan_images(root, [f"{release.folder}/JPEGImages/{stem}.jpg" for stem in lists], quarantine)
    samples: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for info in images.values():
        stem = Path(info.path).stem
        boxes, target = _boxes(release, info), _target(release, info)
        if (boxes is None and task == "main") or (target is None and task == "segmentation"):
            continue
        rows = _annotation_rows(release, info, boxes or [])
        annotations += rows
        labels = sorted({row["category"] for row in rows})
        samples.append(_sample_row(info, lists[stem], target, labels))
    if not samples:
        raise SourceError(f"{root / release.folder}: none of {len(lists)} listed images is usable")
    frame = samples_table(samples)
    facts = _facts(year, task, lists, int(frame["target"].isna().sum()))
    return Tables(frame, annotations_table(annotations), release.categories, quarantine.table(), facts=facts)


def _release_folder(root: Path, year: int) -> str:
    for folder in (f"VOCdevkit/VOC{year}", f"VOC{year}"):
        if (root / folder).is_dir():
            return folder
    raise SourceError(f"{root}: no VOC {year} here; expected VOCdevkit/VOC{year} or VOC{year} in this folder")


def _categories() -> Categories:
    colors, names = palette(), list(CLASSES)
    values = {str(value): value for value in range(len(CLASSES) + 1)}
    return Categories(
        labels=categories_of(names, colors=colors[1:21]),
        objects=categories_of(names, colors=colors[1:21]),
        mask=categories_of(["background", *names], colors=colors[:21]),
        mask_lookup={**values, "255": IGNORE_INDEX},
        multi_label=True,
    )


def _list_splits(release: _Release, year: int) -> dict[str, str]:
    folder = f"{release.folder}/ImageSets/{FOLDERS[release.task]}"
    splits = {"train": "train", "val": "test"}
    if year == 2007 and (release.root / folder / "test.txt").is_file():
        splits = {"train": "train", "val": "val", "test": "test"}
    found: dict[str, str] = {}
    for name, split in splits.items():
        path = f"{folder}/{name}.txt"
        try:
            text = (release.root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            raise SourceError(
                f"{release.root / path}: no image list; expected an image name a line"
            ) from None
        for line in filter(None, map(str.strip, text.splitlines())):
            if len(line.split()) != 1 or "/" in line:
                release.quarantine.drop(
                    path, "unreadable list line", f"{line[:80]!r}; expected an image name"
                )
            elif line in found:
                release.quarantine.drop(path, "listed twice", f"{line} is in {found[line]} already")
            else:
                found[line] = split
    return found


def _boxes(release: _Release, info: ImageInfo) -> list[XmlBox] | None:
    path = f"{release.folder}/Annotations/{Path(info.path).stem}.xml"
    try:
        boxes = read_boxes(release.root, path, (info.width, info.height), release.quarantine)
    except BadSampleError as error:
        release.quarantine.drop(path, error.reason, error.detail)
        return None
    for box in boxes:
        if box.name not in CLASSES:
            release.quarantine.drop(path, "unknown class", f"{box.name!r} is none of the 20 classes")
    return [box for box in boxes if box.name in CLASSES]


def _target(release: _Release, info: ImageInfo) -> str | None:
    path = f"{release.folder}/SegmentationClass/{Path(info.path).stem}.png"
    if release.task == "main" and not (release.root / path).is_file():
        return None
    try:
        check_mask(release.root, path, (info.width, info.height), release.categories)
    except BadSampleError as error:
        release.quarantine.drop(path, error.reason, error.detail)
        return None
    return path


def _annotation_rows(release: _Release, info: ImageInfo, boxes: list[XmlBox]) -> list[dict[str, Any]]:
    masks = _object_masks(release, info, boxes)
    return [
        {
            "sample_id": Path(info.path).stem,
            "category": CLASSES.index(box.name),
            **{"x": box.x, "y": box.y, "w": box.w, "h": box.h, "area": box.w * box.h},
            "difficult": box.difficult,
            "segmentation": masks.get(box.number),
        }
        for box in boxes
    ]


def _object_masks(release: _Release, info: ImageInfo, boxes: list[XmlBox]) -> dict[int, str]:
    """Give the COCO RLE (JSON text) of every object that has pixels; value k is the XML's k-th object."""
    path = f"{release.folder}/SegmentationObject/{Path(info.path).stem}.png"
    if not boxes or not (release.root / path).is_file():
        return {}
    try:
        found = inspect_image(release.root, path)
        if (found.width, found.height, found.mode in {"P", "L"}) != (info.width, info.height, True):
            detail = f"{found.width}×{found.height} {found.mode}; expected {info.width}×{info.height} P"
            raise BadSampleError("mask of another size or mode", detail)
    except BadSampleError as error:
        release.quarantine.drop(path, error.reason, error.detail)
        return {}
    with Image.open(release.root / path) as image:
        numbers = np.asarray(image)
    return {box.number: _rle(numbers == box.number) for box in boxes if (numbers == box.number).any()}


def _rle(mask: np.ndarray) -> str:
    packed = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return json.dumps({"size": list(mask.shape), "counts": packed["counts"].decode("ascii")})


def _sample_row(info: ImageInfo, split: str, target: str | None, labels: list[int]) -> dict[str, Any]:
    stem = Path(info.path).stem
    place = {"sample_id": stem, "media": info.path, "target": target, "split": split, "group": stem}
    size = {"width": info.width, "height": info.height}
    return {**place, **size, "labels": labels, "content_hash": info.content_hash}


def _facts(year: int, task: Task, lists: dict[str, str], without_mask: int) -> dict[str, Any]:
    kept = "val" in lists.values()
    return {
        "reader": "voc",
        "year": year,
        "task": task,
        "official_split": "train, val, test" if kept else "train; val is given as test",
        "licence": "Flickr terms of use",
        "listed": len(lists),
        "samples_without_mask": without_mask,
    }


def write_sample(root: Path, *, n: int = 60, size: tuple[int, int] = (128, 128), seed: int = 0) -> Truth:
    """Draw a small VOC2012 of six of the 20 classes, one to three objects an image.

    Every fourth image is in val. Void (255) is a line one pixel wide around the objects.

    Args:
        root: folder to write `VOCdevkit/VOC2012` under.
        n: number of images.
        size: (width, height) in pixels.
        seed: same seed, same bytes.
    """
    folder = root / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "Annotations", "SegmentationClass", "SegmentationObject"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    lists: dict[str, list[str]] = {"train": [], "val": [], "trainval": []}
    truth = Truth(splits={})
    for index in range(n):
        stem = f"2012_{index + 1:06d}"
        scene = draw_scene(rng, size, [int(k) for k in rng.integers(0, len(SHAPES), rng.integers(1, 4))])
        boxes = [
            XmlBox(SAMPLE_CLASSES[o.shape], o.x, o.y, o.w, o.h, bool(rng.random() < 0.1))
            for o in scene.objects
        ]
        _write_image(folder, stem, scene, boxes)
        for name in ("val" if index % 4 == 3 else "train", "trainval"):
            lists[name].append(stem)
        truth.labels[stem] = sorted({box.name for box in boxes}, key=CLASSES.index)
        truth.boxes[stem] = [(b.name, b.x, b.y, b.w, b.h) for b in boxes]
    _write_lists(folder, lists)
    truth.splits = {"train": len(lists["train"]), "test": len(lists["val"])}
    return truth


def _write_image(folder: Path, stem: str, scene: Scene, boxes: list[XmlBox]) -> None:
    height, width = scene.instances.shape
    Image.fromarray(scene.image).save(folder / "JPEGImages" / f"{stem}.jpg", quality=90)
    xml = folder / "Annotations" / f"{stem}.xml"
    write_boxes(xml, boxes, folder="VOC2012", filename=f"{stem}.jpg", size=(width, height), segmented=True)
    values = np.array([0, *(CLASSES.index(box.name) + 1 for box in boxes)], dtype=np.uint8)
    void = binary_dilation(scene.instances > 0, np.ones((3, 3))) & (scene.instances == 0)
    for kind, mask in (("Class", values[scene.instances]), ("Object", scene.instances)):
        image = Image.fromarray(np.where(void, IGNORE_INDEX, mask).astype(np.uint8))
        image.putpalette([shade for color in palette() for shade in color])
        image.save(folder / f"Segmentation{kind}" / f"{stem}.png")


def _write_lists(folder: Path, lists: dict[str, list[str]]) -> None:
    for task in FOLDERS.values():
        (folder / "ImageSets" / task).mkdir(parents=True, exist_ok=True)
        for name, stems in lists.items():
            (folder / "ImageSets" / task / f"{name}.txt").write_text("".join(f"{stem}\n" for stem in stems))
