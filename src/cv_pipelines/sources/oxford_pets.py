"""Oxford-IIIT Pets: cats and dogs of 37 breeds with trimaps, and head boxes for a part of them.

    images/Abyssinian_1.jpg
    annotations/{list,trainval,test}.txt            image, class id 1..37, species, breed id in the species
    annotations/trimaps/Abyssinian_1.png            1 pet, 2 background, 3 border
    annotations/xmls/Abyssinian_1.xml               head box in VOC's form, for trainval images only

Source: https://www.robots.ox.ac.uk/~vgg/data/pets/, CC BY-SA 4.0.
Citation: Parkhi, Vedaldi, Zisserman, Jawahar: Cats and Dogs, CVPR 2012.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion

from cv_pipelines.data.images import scan_masks
from cv_pipelines.data.inspection import ImageInfo, scan_images
from cv_pipelines.data.schema import (
    IGNORE_INDEX,
    Box,
    Categories,
    Quarantine,
    Tables,
    Truth,
    boxes_table,
    categories_of,
    samples_table,
)
from cv_pipelines.errors import SourceError
from cv_pipelines.sources.labelled import names_in
from cv_pipelines.sources.lists import read_lines
from cv_pipelines.sources.pascal_xml import XmlBox, read_box_files, write_boxes
from cv_pipelines.sources.scenes import Scene, draw_scene

BREEDS = (
    *("Abyssinian", "american_bulldog", "american_pit_bull_terrier", "basset_hound", "beagle", "Bengal"),
    *("Birman", "Bombay", "boxer", "British_Shorthair", "chihuahua", "Egyptian_Mau"),
    *("english_cocker_spaniel", "english_setter", "german_shorthaired", "great_pyrenees", "havanese"),
    *("japanese_chin", "keeshond", "leonberger", "Maine_Coon", "miniature_pinscher", "newfoundland"),
    *("Persian", "pomeranian", "pug", "Ragdoll", "Russian_Blue", "saint_bernard", "samoyed"),
    *("scottish_terrier", "shiba_inu", "Siamese", "Sphynx", "staffordshire_bull_terrier"),
    *("wheaten_terrier", "yorkshire_terrier"),
)
"""The official breeds; breed k has class id k + 1. Cats are written with a capital."""

SPECIES = ("cat", "dog")

SAMPLE_BREEDS = ("Abyssinian", "beagle", "Bengal", "boxer", "Siamese", "pug")
"""What `write_sample` calls the six drawn shapes, in the order of `scenes.SHAPES`."""

SPLITS = {"trainval": "train", "test": "test"}
PET, BACKGROUND, BORDER = 1, 2, 3
LIST_HEAD = """#Image CLASS-ID SPECIES BREED ID
#ID: 1:37 Class ids
#SPECIES: 1:Cat 2:Dog
#BREED ID: 1-25:Cat 1:12:Dog
#All images with 1st letter as captial are cat images
#images with small first letter are dog images
"""
"""The first lines of the official list.txt, letter for letter."""


def read(
    root: Path,
    *,
    labels: Literal["breed", "species"] = "breed",
    mask: Literal["trimap", "pet"] = "trimap",
    samples: Literal["all", "boxed"] = "all",
) -> Tables:
    """Read the data set; official trainval is given as 'train'.

    That a test image has no head box is official and no defect; trainval images without one, of which there
    are a few, are noted. `facts` counts the images without one. An unusable trimap costs only the `target`,
    an unusable XML only the box.

    Args:
        root: folder that holds `images/` and `annotations/`.
        labels: what `samples.labels` says: one of 37 breeds, or cat or dog. Head boxes are always cat or dog.
        mask: 'trimap' has the classes pet, background and border; 'pet' has background and pet, and ignores
            the border.
        samples: 'boxed' leaves out images without a head box, for detectors: nobody has looked for heads
            there, so they are no images without a head. What is left is all of the official trainval.

    Raises:
        SourceError: the split lists are missing, or no listed image is usable, or none has a box
    """
    quarantine = Quarantine()
    lists = _list_splits(root, quarantine)
    categories = _categories(labels, mask)
    images = scan_images(root, [f"images/{stem}.jpg" for stem in lists], quarantine)
    if not images:
        raise SourceError(f"{root / 'images'}: none of {len(lists)} listed images is usable")
    targets = _targets(root, images.values(), categories, quarantine)
    heads = _heads(root, images.values(), quarantine)
    _note_missing_heads(root, images.values(), lists, quarantine)
    rows: list[dict[str, Any]] = []
    for info in images.values():
        stem = Path(info.path).stem
        split, breed = lists[stem]
        label = breed if labels == "breed" else _species(breed)
        rows.append(_sample_row(info, split, targets.get(stem), label))
    facts = _facts(lists, rows, heads)
    if samples == "boxed":
        boxed = {head.sample_id for head in heads}
        rows = [row for row in rows if row["sample_id"] in boxed]
        facts |= {"samples": "images with a head box only"}
        if not rows:
            raise SourceError(f"{root / 'annotations/xmls'}: no image has a usable head box")
    tables = samples_table(rows), boxes_table(heads)
    return Tables(*tables, categories, quarantine.table(), facts=facts)


def _species(breed: int) -> int:
    return SPECIES.index("cat" if BREEDS[breed][0].isupper() else "dog")


def _categories(labels: str, mask: str) -> Categories:
    trimap = {str(PET): 0, str(BACKGROUND): 1, str(BORDER): 2}
    pet = {str(PET): 1, str(BACKGROUND): 0, str(BORDER): IGNORE_INDEX}
    breeds = categories_of(list(BREEDS), [str(k + 1) for k in range(len(BREEDS))])
    species = categories_of(list(SPECIES), ["1", "2"])
    return Categories(
        labels=breeds if labels == "breed" else species,
        objects=species,
        mask=categories_of(["pet", "background", "border"] if mask == "trimap" else ["background", "pet"]),
        mask_lookup=trimap if mask == "trimap" else pet,
    )


def _list_splits(root: Path, quarantine: Quarantine) -> dict[str, tuple[str, int]]:
    """Give split and breed index of every listed image."""
    lists = {split: _lines(root, f"annotations/{name}.txt") for name, split in SPLITS.items()}
    tested = {entry[0] for line in lists["test"] if (entry := _entry(line))}
    found: dict[str, tuple[str, int]] = {}
    for name, split in SPLITS.items():
        path = f"annotations/{name}.txt"
        for line in lists[split]:
            entry = _entry(line)
            if entry is None:
                detail = f"{line[:80]!r}; expected an image name, a class id 1..37, species, breed id"
                quarantine.drop(path, "unreadable list line", detail)
            elif split != "test" and entry[0] in tested:
                quarantine.drop(path, "test image in a train list", f"{entry[0]} stays in test only")
            elif entry[0] in found:
                quarantine.drop(path, "listed twice", f"{entry[0]} is in {found[entry[0]][0]} already")
            else:
                found[entry[0]] = (split, entry[1])
    return found


def _entry(line: str) -> tuple[str, int] | None:
    """Give image name and breed index of a list line, or None if it is no such line."""
    stem, *ids = line.split()
    usable = len(ids) == 3 and ids[0] in {str(k + 1) for k in range(len(BREEDS))} and "/" not in stem
    return (stem, int(ids[0]) - 1) if usable else None


def _lines(root: Path, path: str) -> list[str]:
    try:
        lines = read_lines(root / path)
    except SourceError:
        raise SourceError(f"{root / path}: no image list; expected lines 'Abyssinian_1 1 1 1'") from None
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _targets(
    root: Path, images: Iterable[ImageInfo], categories: Categories, quarantine: Quarantine
) -> dict[str, str]:
    """Give the usable trimaps by image name."""
    stems = {Path(info.path).stem: (info.width, info.height) for info in images}
    masks = [(f"annotations/trimaps/{stem}.png", size) for stem, size in stems.items()]
    targets: dict[str, str] = {}
    for stem, (path, _), error in zip(stems, masks, scan_masks(root, masks, categories), strict=True):
        if error is None:
            targets[stem] = path
        else:
            quarantine.drop(path, error.reason, error.detail)
    return targets


def _heads(root: Path, images: Iterable[ImageInfo], quarantine: Quarantine) -> list[Box]:
    """Read the head boxes of the images that have a file of them."""
    there = set(names_in(root / "annotations/xmls", ".xml"))
    boxed = [info for info in images if f"{Path(info.path).stem}.xml" in there]
    files = [(f"annotations/xmls/{Path(info.path).stem}.xml", (info.width, info.height)) for info in boxed]
    heads: list[Box] = []
    for (path, _), found in zip(files, read_box_files(root, files, quarantine), strict=True):
        for name, x, y, w, h, difficult, _ in found or []:
            if name in SPECIES:
                heads.append(Box(Path(path).stem, SPECIES.index(name), x, y, w, h, difficult))
            else:
                quarantine.drop(path, "unknown class", f"{name!r} is neither cat nor dog")
    return heads


def _note_missing_heads(
    root: Path, images: Iterable[ImageInfo], lists: dict[str, tuple[str, int]], quarantine: Quarantine
) -> None:
    """Tell which trainval images have no box file; test images officially have none."""
    there = set(names_in(root / "annotations/xmls", ".xml"))
    for stem in (Path(info.path).stem for info in images) if there else ():
        if lists[stem][0] == "train" and f"{stem}.xml" not in there:
            detail = "a trainval image without a head box; kept for its breed and trimap"
            quarantine.note(f"annotations/xmls/{stem}.xml", "no box file", detail)


def _sample_row(info: ImageInfo, split: str, target: str | None, label: int) -> dict[str, Any]:
    stem = Path(info.path).stem
    place = {"sample_id": stem, "media": info.path, "target": target, "split": split, "group": stem}
    size = {"width": info.width, "height": info.height}
    return {**place, **size, "labels": [label], "content_hash": info.content_hash}


def _facts(
    lists: dict[str, tuple[str, int]], samples: list[dict[str, Any]], heads: list[Box]
) -> dict[str, Any]:
    boxed = {head.sample_id for head in heads}
    return {
        "reader": "oxford_pets",
        "official_split": "trainval is given as train; test",
        "licence": "CC BY-SA 4.0",
        "listed": len(lists),
        "breeds_present": len({breed for _, breed in lists.values()}),
        "samples_without_box": sum(row["sample_id"] not in boxed for row in samples),
    }


def write_sample(root: Path, *, n: int = 60, size: tuple[int, int] = (128, 128), seed: int = 0) -> Truth:
    """Draw small Pets of six breeds, three of cats and three of dogs, one large shape an image.

    Breeds take turns; every second round is in test. The head is the upper 40 % of the shape; as in the
    source, only trainval images have a head box. The border is three pixels wide.

    Args:
        root: folder to write `images/` and `annotations/` under.
        n: number of images.
        size: (width, height) in pixels.
        seed: same seed, same bytes.
    """
    rng = np.random.default_rng(seed)
    for folder in ("images", "annotations/trimaps", "annotations/xmls"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    lists: dict[str, list[str]] = {"trainval": [], "test": []}
    truth = Truth(splits={})
    for index in range(n):
        round_, shape = divmod(index, len(SAMPLE_BREEDS))
        name, breed = ("test" if round_ % 2 else "trainval"), SAMPLE_BREEDS[shape]
        stem = f"{breed}_{round_ + 1}"
        scene = draw_scene(rng, size, [shape], scale=(0.5, 0.8))
        Image.fromarray(scene.image).save(root / f"images/{stem}.jpg", quality=90)
        Image.fromarray(_trimap(scene)).save(root / f"annotations/trimaps/{stem}.png")
        boxes = _draw_heads(scene, SPECIES[_species(BREEDS.index(breed))]) if name == "trainval" else []
        if boxes:
            xml = root / f"annotations/xmls/{stem}.xml"
            write_boxes(xml, boxes, folder="OXIIIT", filename=f"{stem}.jpg", size=size)
        lists[name].append(f"{stem} {_official_ids(breed)}\n")
        truth.labels[stem] = [breed]
        truth.boxes[stem] = [(b.name, b.x, b.y, b.w, b.h) for b in boxes]
    for name, lines in lists.items():
        (root / f"annotations/{name}.txt").write_text("".join(lines))
    (root / "annotations/list.txt").write_text(LIST_HEAD + "".join(sorted(lists["trainval"] + lists["test"])))
    truth.splits = {"train": len(lists["trainval"]), "test": len(lists["test"])}
    return truth


def _draw_heads(scene: Scene, species: str) -> list[XmlBox]:
    return [XmlBox(species, o.x, o.y, o.w, math.ceil(0.4 * o.h), False) for o in scene.objects]


def _trimap(scene: Scene) -> np.ndarray:
    pet = scene.instances > 0
    inner = binary_erosion(pet, iterations=2, border_value=1)
    border = binary_dilation(pet) & ~inner
    return np.where(border, BORDER, np.where(pet, PET, BACKGROUND)).astype(np.uint8)


def _official_ids(breed: str) -> str:
    """Give class id, species and breed id within the species, as a list line has them."""
    index = BREEDS.index(breed)
    species = _species(index)
    within = sum(_species(k) == species for k in range(index + 1))
    return f"{index + 1} {species + 1} {within}"
