"""Trees of images with a folder a class, such as imagenette, and Tiny ImageNet's variant of them.

`folders`: `{train,val}/<class>/*.JPEG`, or class folders alone. With `train` and `val` only (imagenette),
`val` is given as `test`; with `train`, `val` and `test` each keeps its name; class folders alone are all
`train`. imagenette is ten easy classes of ImageNet (https://github.com/fastai/imagenette, J. Howard; the
images under ImageNet's terms); its ten class names are known here.

`tiny_imagenet`: see `cv_pipelines.sources.tiny_imagenet`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from cv_pipelines.data.inspection import SUFFIX_FORMATS, is_text
from cv_pipelines.data.schema import (
    SPLITS,
    Categories,
    Quarantine,
    Tables,
    Truth,
    annotations_table,
    categories_of,
)
from cv_pipelines.errors import SourceError
from cv_pipelines.sources.labelled import Listing, labelled_samples
from cv_pipelines.sources.scenes import SHAPES, draw_scene
from cv_pipelines.sources.tiny_imagenet import read_tiny_imagenet

EXPECTED = "{train,val}/<class>/<images>, or <class>/<images>"
IMAGENETTE_NAMES = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}


def read(
    root: Path,
    *,
    layout: Literal["folders", "tiny_imagenet"] = "folders",
    class_names: dict[str, str] | None = None,
) -> Tables:
    """Read a tree of class folders; classes are numbered in the sorted order of the folder names.

    Args:
        root: the folder that holds `train/` or the class folders, or whose only such sub-folder does.
        layout: "folders", or "tiny_imagenet" with its box and word lists.
        class_names: readable names by folder name; other folders are called what imagenette (or words.txt)
            calls them, or else by the folder's name.

    Raises:
        SourceError: no image is usable, or a list that is needed is missing.
    """
    if layout == "tiny_imagenet":
        return read_tiny_imagenet(root, class_names or {})
    quarantine = Quarantine()
    base = _base(root)
    folders = _split_folders(base)
    classes = sorted({path.name for folder in folders.values() for path in _subfolders(folder)})
    listing = Listing()
    for split, folder in folders.items():
        for path in _subfolders(folder):
            _list_class(root, path, split, classes.index(path.name), listing, quarantine)
    samples = labelled_samples(root, listing, quarantine, EXPECTED)
    names = IMAGENETTE_NAMES | (class_names or {})
    return Tables(
        samples,
        annotations_table([]),
        Categories(labels=categories_of([names.get(name, name) for name in classes], ids=classes)),
        quarantine.table(),
        facts={
            "reader": "image_folder",
            "official_split": ", ".join(
                f"{folder.relative_to(base).as_posix()} given as {split}" for split, folder in folders.items()
            ),
            "licence": "ImageNet terms" if set(classes) <= set(IMAGENETTE_NAMES) else "the data set's own",
            "unused_class_names": sorted(set(class_names or {}) - set(classes)),
        },
    )


def _subfolders(folder: Path) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else []
    return sorted(path for path in found if path.is_dir() and not path.name.startswith("."))


def _holds_images(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIX_FORMATS for path in folder.iterdir())


def _base(root: Path) -> Path:
    """Return the folder of the splits: `root`, or its only sub-folder that has them."""
    inner = _subfolders(root)
    for fits in (_splits_of, lambda path: any(map(_holds_images, _subfolders(path)))):
        if fits(root):
            return root
        fitting = [path for path in inner if fits(path)]
        if len(fitting) == 1:
            return fitting[0]
    raise SourceError(f"{root}: expected {EXPECTED}")


def _splits_of(base: Path) -> list[str]:
    return [split for split in SPLITS if _subfolders(base / split)]


def _split_folders(base: Path) -> dict[str, Path]:
    there = _splits_of(base)
    if not there:
        return {"train": base}
    called = {"val": "test"} if "test" not in there else {}
    return {called.get(name, name): base / name for name in there}


def _list_class(
    root: Path, folder: Path, split: str, label: int, listing: Listing, quarantine: Quarantine
) -> None:
    """List the images at any depth below a class folder."""
    media: list[str] = []
    for place, inner, names in os.walk(folder):
        inner.sort()
        prefix = Path(place).relative_to(root).as_posix()
        for name in (name for name in names if not name.startswith(".")):
            suffix = os.path.splitext(name)[1]
            if not is_text(name):
                quarantine.drop(f"{prefix}/{name}", "unreadable file name", "expected UTF-8")
            elif suffix.lower() in SUFFIX_FORMATS:
                media.append(f"{prefix}/{name}")
            else:
                expected = f"suffix {suffix!r}; expected {' '.join(SUFFIX_FORMATS)}"
                quarantine.drop(f"{prefix}/{name}", "not an image", expected)
    media.sort(key=lambda path: path.split("/"))
    listing.add(media, media, split, label)
    if not media:
        quarantine.drop(folder.relative_to(root).as_posix(), "empty class folder", "expected images")


def write_sample(root: Path, *, n: int = 60, size: tuple[int, int] = (128, 128), seed: int = 0) -> Truth:
    """Draw six shape classes into `{train,val}/<shape>/*.JPEG`, a third of the images in `val`.

    Args:
        root: folder to write into.
        n: images in all.
        size: (width, height) in pixels.
        seed: same seed, same bytes.
    """
    rng = np.random.default_rng(seed)
    first_val = n - n // 3
    truth = Truth({"train": first_val, **({"test": n - first_val} if n > first_val else {})})
    for i in range(n):
        shape = SHAPES[i % len(SHAPES)]
        name = f"{'train' if i < first_val else 'val'}/{shape}/{shape}_{i}.JPEG"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        scene = draw_scene(rng, size, [i % len(SHAPES)], scale=(0.35, 0.7))
        Image.fromarray(scene.image).save(root / name, format="JPEG", quality=92)
        truth.labels[name] = [shape]
    return truth
