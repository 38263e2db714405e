"""PASCAL VOC: images with boxes (XML), class masks and object masks (palette PNG), and image lists.

    VOCdevkit/VOC2012/{JPEGImages,Annotations,SegmentationClass,SegmentationObject}/
    VOCdevkit/VOC2012/ImageSets/{Main,Segmentation}/{train,val,trainval}.txt

Source: http://host.robots.ox.ac.uk/pascal/VOC/. Images are from Flickr, under its terms of use.
Citation: Everingham, Van Gool, Williams, Winn, Zisserman: The PASCAL Visual Object Classes (VOC) Challenge,
IJCV 88(2), 2010.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation

from cv_pipelines.data.encoding import encode_segmentation
from cv_pipelines.data.images import scan_masks
from cv_pipelines.data.inspection import ImageInfo, image_columns, inspect_image, scan_images
from cv_pipelines.data.parallel import in_parallel
from cv_pipelines.data.schema import (
    IGNORE_INDEX,
    Box,
    Categories,
    Quarantine,
    Tables,
    Truth,
    boxes_table,
    categories_of,
    samples_frame,
)
from cv_pipelines.errors import BadSampleError, SourceError
from cv_pipelines.sources.labelled import names_in
from cv_pipelines.sources.lists import read_lines
from cv_pipelines.sources.pascal_xml import XmlBox, read_box_files, write_boxes
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

NUMBERS = {name: index for index, name in enumerate(CLASSES)}

SAMPLE_CLASSES = ("bus", "tvmonitor", "aeroplane", "bicycle", "bird", "person")
"""What `write_sample` calls the six drawn shapes, in the order of `scenes.SHAPES`."""

FOLDERS = {"main": "Main", "segmentation": "Segmentation"}
Task = Literal["main", "segmentation"]
List = Literal["train", "trainval"]
Difficult = Literal["apart", "ordinary"]


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


def read(
    root: Path,
    *,
    year: int = 2012,
    task: Task = "main",
    train: List = "train",
    difficult: Difficult = "apart",
) -> Tables:
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
        train: the list that 'train' is made of; 'trainval', which the official server's entrants train on,
            leaves no 'val'.
        difficult: 'ordinary' takes objects that are marked as difficult for objects as any other, which are
            learned; 'apart' keeps their mark.

    Raises:
        SourceError: the folder or its image lists are missing, or no listed sample is usable.
    """
    quarantine = Quarantine()
    release = _Release(root, _release_folder(root, year), task, _categories(), quarantine)
    lists = _list_splits(release, year, train)
    stems = {f"{release.folder}/JPEGImages/{stem}.jpg": stem for stem in lists}
    infos = {stems[path]: info for path, info in scan_images(root, stems, quarantine).items()}
    objects, targets = _objects(release, infos), _targets(release, infos)
    needed: Container[str] = targets if task == "segmentation" else objects
    infos = {stem: info for stem, info in infos.items() if stem in needed}
    boxes = _boxes(release, infos, objects)
    if difficult == "ordinary":
        boxes = [box._replace(difficult=False) for box in boxes]
    labels: dict[str, set[int]] = {stem: set() for stem in infos}
    for box in boxes:
        labels[box.sample_id].add(box.category)
    if not infos:
        raise SourceError(f"{root / release.folder}: none of {len(lists)} listed images is usable")
    samples = samples_frame(
        {
            **image_columns(infos.values()),
            "sample_id": list(infos),
            "group": list(infos),
            "target": [targets.get(stem) for stem in infos],
            "split": [lists[stem] for stem in infos],
            "labels": [sorted(labels[stem]) for stem in infos],
        }
    )
    facts = _facts(year, task, train, lists, int(samples["target"].isna().sum()))
    return Tables(samples, boxes_table(boxes), release.categories, quarantine.table(), facts=facts)


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


def _list_splits(release: _Release, year: int, train: List) -> dict[str, str]:
    folder = f"{release.folder}/ImageSets/{FOLDERS[release.task]}"
    splits = {"trainval": "train"} if train == "trainval" else {"train": "train", "val": "test"}
    if year == 2007 and (release.root / folder / "test.txt").is_file():
        splits = {name: name.replace("trainval", "train") for name in (*splits, "test")}
    lists = {split: _lines(release.root, f"{folder}/{name}.txt") for name, split in splits.items()}
    tested = set(lists.get("test", ()))
    found: dict[str, str] = {}
    for name, split in splits.items():
        path = f"{folder}/{name}.txt"
        for line in lists[split]:
            if len(line.split()) != 1 or "/" in line:
                release.quarantine.drop(
                    path, "unreadable list line", f"{line[:80]!r}; expected an image name"
                )
            elif split != "test" and line in tested:
                release.quarantine.drop(path, "test image in a train list", f"{line} stays in test only")
            elif line in found:
                release.quarantine.drop(path, "listed twice", f"{line} is in {found[line]} already")
            else:
                found[line] = split
    if year != 2007:
        _note_test_of_2007(release, found)
    return found


def _lines(root: Path, path: str) -> list[str]:
    try:
        lines = read_lines(root / path)
    except SourceError:
        raise SourceError(f"{root / path}: no image list; expected an image name a line") from None
    return [line for line in map(str.strip, lines) if line]


def _note_test_of_2007(release: _Release, found: Mapping[str, str]) -> None:
    """Tell which train images are in the test set of VOC2007, if its list lies beside this release.

    Later releases hold images of 2007 as `2007_<name>`; who trains on them cannot score on VOC2007's test.
    """
    path = f"{Path(release.folder).parent.as_posix()}/VOC2007/ImageSets/Main/test.txt".removeprefix("./")
    try:
        tested = set(_lines(release.root, path))
    except SourceError:
        return
    for stem, split in found.items():
        if split == "train" and stem.removeprefix("2007_") in tested:
            file = f"{release.folder}/JPEGImages/{stem}.jpg"
            release.quarantine.note(file, "VOC2007 test image in train", f"{stem} is listed in {path}")


def _objects(release: _Release, infos: Mapping[str, ImageInfo]) -> dict[str, list[XmlBox]]:
    """Read the objects of known classes of every image that has a usable XML."""
    folder, quarantine = f"{release.folder}/Annotations", release.quarantine
    files = [(f"{folder}/{stem}.xml", (info.width, info.height)) for stem, info in infos.items()]
    found: dict[str, list[XmlBox]] = {}
    results = read_box_files(release.root, files, quarantine)
    for stem, (path, _), boxes in zip(infos, files, results, strict=True):
        if boxes is None:
            continue
        found[stem] = [box for box in boxes if box.name in NUMBERS]
        for box in boxes:
            if box.name not in NUMBERS:
                quarantine.drop(path, "unknown class", f"{box.name!r} is none of the 20 classes")
    return found


def _targets(release: _Release, infos: Mapping[str, ImageInfo]) -> dict[str, str]:
    """Give the usable class masks by image name; for the main task an image need not have one."""
    folder = f"{release.folder}/SegmentationClass"
    there = set(names_in(release.root / folder, ".png"))
    some = [stem for stem in infos if release.task == "segmentation" or f"{stem}.png" in there]
    masks = [(f"{folder}/{stem}.png", (infos[stem].width, infos[stem].height)) for stem in some]
    targets: dict[str, str] = {}
    defects = scan_masks(release.root, masks, release.categories)
    for stem, (path, _), error in zip(some, masks, defects, strict=True):
        if error is None:
            targets[stem] = path
        else:
            release.quarantine.drop(path, error.reason, error.detail)
    return targets


def _boxes(
    release: _Release, infos: Mapping[str, ImageInfo], objects: Mapping[str, list[XmlBox]]
) -> list[Box]:
    """Give the objects of the images, with their masks where there are any."""
    folder = f"{release.folder}/SegmentationObject"
    there = set(names_in(release.root / folder, ".png"))
    masked = [stem for stem in infos if objects.get(stem) and f"{stem}.png" in there]
    asked = [(f"{folder}/{stem}.png", infos[stem], [box.number for box in objects[stem]]) for stem in masked]
    results = in_parallel(partial(_object_masks, release.root), asked, "Reading object masks")
    masks: dict[str, dict[int, str]] = {}
    for stem, (path, *_), found in zip(masked, asked, results, strict=True):
        if isinstance(found, BadSampleError):
            release.quarantine.drop(path, found.reason, found.detail)
        else:
            masks[stem] = found
    return [
        Box(stem, NUMBERS[name], x, y, w, h, difficult, masks.get(stem, {}).get(number))
        for stem in infos
        for name, x, y, w, h, difficult, number in objects.get(stem, [])
    ]


def _object_masks(root: Path, asked: tuple[str, ImageInfo, list[int]]) -> dict[int, str] | BadSampleError:
    """Give the COCO RLE (JSON text) of every object that has pixels; value k is the XML's k-th object."""
    path, info, numbers = asked
    try:
        found = inspect_image(root, path)
    except BadSampleError as error:
        return error
    if (found.width, found.height, found.mode in {"P", "L"}) != (info.width, info.height, True):
        detail = f"{found.width}×{found.height} {found.mode}; expected {info.width}×{info.height} P"
        return BadSampleError("mask of another size or mode", detail)
    with Image.open(root / path) as image:
        values = np.asarray(image)
    return {number: encode_segmentation(values == number) for number in numbers if (values == number).any()}


def _facts(year: int, task: Task, train: List, lists: dict[str, str], without_mask: int) -> dict[str, Any]:
    given = "train, val, test" if "val" in lists.values() else "train; val is given as test"
    return {
        "reader": "voc",
        "year": year,
        "task": task,
        "official_split": "trainval is given as train" if train == "trainval" else given,
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
