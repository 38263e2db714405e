"""Small data sets cut from the real files: the smallest images, and lists and annotations of these alone."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import struct
import tarfile
from collections.abc import Iterable
from pathlib import Path


def _copy(raw: Path, folder: Path, paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_file():
            target = folder / path.relative_to(raw)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _smallest(paths: Iterable[Path], count: int) -> list[Path]:
    return sorted(paths, key=lambda path: path.stat().st_size)[:count]


def _keep_lines(source: Path, target: Path, words: Iterable[str]) -> None:
    """Write the lines of a list in which one of the words stands."""
    known = list(words)
    target.parent.mkdir(parents=True, exist_ok=True)
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    target.write_text("".join(line for line in lines if any(word in line for word in known)))


def camvid(raw: Path, folder: Path) -> None:
    """One frame a split."""
    base = raw / "camvid/CamVid"
    for split in ("train", "val", "test"):
        frame = _smallest((base / split).iterdir(), 1)[0]
        _copy(raw / "camvid", folder, [frame, base / f"{split}annot/{frame.stem}.png"])
        _keep_lines(base / f"{split}.txt", folder / f"CamVid/{split}.txt", [frame.name])


def camvid32(raw: Path, folder: Path) -> None:
    """One frame."""
    base = raw / "camvid32"
    frame = _smallest((base / "701_StillsRaw_full").iterdir(), 1)[0]
    label = base / f"LabeledApproved_full/{frame.stem}_L.png"
    _copy(base, folder, [frame, label, base / "label_colors.txt"])


def coco(raw: Path, folder: Path) -> None:
    """Two images for training, one of val; those with a person, so that all annotation files have rows."""
    base = raw / "coco"
    (folder / "annotations").mkdir()
    for split, count in (("train", 2), ("val", 1)):
        people = json.loads((base / f"annotations/person_keypoints_{split}2017.json").read_text())
        wanted = {row["image_id"] for row in people["annotations"]}
        named = {row["file_name"]: row["id"] for row in people["images"] if row["id"] in wanted}
        chosen = _smallest([base / f"{split}2017/{name}" for name in named], count)
        _copy(base, folder, chosen)
        ids = {named[path.name] for path in chosen}
        for kind in ("instances", "person_keypoints", "captions"):
            name = f"annotations/{kind}_{split}2017.json"
            content = json.loads((base / name).read_text())
            content["images"] = [row for row in content["images"] if row["id"] in ids]
            content["annotations"] = [row for row in content["annotations"] if row["image_id"] in ids]
            (folder / name).write_text(json.dumps(content))


def hapt(raw: Path, folder: Path) -> None:
    """The first 26 seconds of one recording of each split, as a tar archive."""
    with (
        tarfile.open(raw / "hapt/HAPT Data Set.tar.xz") as whole,
        tarfile.open(folder / "HAPT Data Set.tar", "w") as short,
    ):
        for member in whole:
            name = member.name.rsplit("/", 1)[-1]
            cut = {"labels.txt": _early_labels}.get(name, lambda data: data[:1300])
            if name.startswith("subject_id"):
                cut = _first_subject
            elif name != "labels.txt" and not name.endswith(("exp01_user01.txt", "exp03_user02.txt")):
                continue
            stream = whole.extractfile(member)
            assert stream is not None
            data = b"".join(cut(stream.read().splitlines(keepends=True)))
            member.size = len(data)
            short.addfile(member, io.BytesIO(data))


def _early_labels(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if int(line.split()[0]) in {1, 3} and int(line.split()[3]) < 1300]


def _first_subject(lines: list[bytes]) -> list[bytes]:
    return lines[:1]


def idx(raw: Path, folder: Path) -> None:
    """Twelve images a split."""
    for path in (raw / "fashion_mnist").glob("*.gz"):
        images = "idx3" in path.name
        start, row = (16, 784) if images else (8, 1)
        with gzip.open(path) as file:
            data = bytearray(file.read(start + 12 * row))
        data[4:8] = struct.pack(">I", 12)
        (folder / path.name).write_bytes(gzip.compress(bytes(data), mtime=0))


def imagenette(raw: Path, folder: Path) -> None:
    """Two classes, an image of each split of each."""
    base = raw / "imagenette"
    for split in ("train", "val"):
        for wnid in ("n01440764", "n03000684"):
            found = (base / f"imagenette2-160/{split}/{wnid}").iterdir()
            _copy(base, folder, _smallest(found, 1))


def tiny_imagenet(raw: Path, folder: Path) -> None:
    """Two classes, an image of each split of each."""
    base, name = raw / "tiny_imagenet", "tiny-imagenet-200"
    wnids = sorted(path.name for path in (base / name / "train").iterdir())[:2]
    listed = (base / name / "val/val_annotations.txt").read_text().splitlines()
    val = [next(line.split()[0] for line in listed if wnid in line) for wnid in wnids]
    _copy(base, folder, [base / name / "val/images" / image for image in val])
    _keep_lines(base / name / "val/val_annotations.txt", folder / name / "val/val_annotations.txt", val)
    for wnid in wnids:
        images = _smallest((base / name / f"train/{wnid}/images").iterdir(), 1)
        _copy(base, folder, images)
        boxes = f"{name}/train/{wnid}/{wnid}_boxes.txt"
        _keep_lines(base / boxes, folder / boxes, [path.name for path in images])
    for words in ("wnids.txt", "words.txt"):
        _keep_lines(base / name / words, folder / name / words, wnids)


def imagenet(raw: Path, folder: Path) -> None:
    """Three of the validation images."""
    base = raw / "imagenet"
    images = _smallest((base / "ILSVRC/Data/CLS-LOC/val").iterdir(), 3)
    stems = [path.stem for path in images]
    _copy(base, folder, images)
    _copy(base, folder, [base / f"ILSVRC/Annotations/CLS-LOC/val/{stem}.xml" for stem in stems])
    solution = "ILSVRC/LOC_val_solution.csv"
    _keep_lines(base / solution, folder / solution, ["ImageId", *stems])
    classes = {line.split(",")[1].split()[0] for line in (folder / solution).read_text().splitlines()[1:]}
    mapping = "ILSVRC/LOC_synset_mapping.txt"
    _keep_lines(base / mapping, folder / mapping, classes)


def orl_faces(raw: Path, folder: Path) -> None:
    """Three portraits of two people."""
    base = raw / "orl_faces"
    _copy(base, folder, [base / f"att_faces/{name}.pgm" for name in ("s1/1", "s1/2", "s2/1")])


def oxford_pets(raw: Path, folder: Path) -> None:
    """Two images with a head box and one without."""
    base = raw / "oxford_pets"
    boxed = {path.stem for path in (base / "annotations/xmls").iterdir()}
    known = {path.stem for path in (base / "annotations/trimaps").iterdir()}
    tested = {line.split()[0] for line in (base / "annotations/test.txt").read_text().splitlines()}
    pictures = list((base / "images").glob("*.jpg"))
    chosen = _smallest([path for path in pictures if path.stem in boxed & known], 2)
    chosen += _smallest([path for path in pictures if path.stem in tested & known - boxed], 1)
    _copy(base, folder, chosen)
    for path in chosen:
        below = base / "annotations"
        _copy(base, folder, [below / f"trimaps/{path.stem}.png", below / f"xmls/{path.stem}.xml"])
    for name in ("trainval.txt", "test.txt"):
        lists = f"annotations/{name}"
        _keep_lines(base / lists, folder / lists, [f"{path.stem} " for path in chosen])


def voc(raw: Path, folder: Path) -> None:
    """Two images for training and one of val, all with a mask."""
    base, release = raw / "voc", Path("VOCdevkit/VOC2012")
    masked = {path.stem for path in (base / release / "SegmentationClass").iterdir()}
    chosen: list[str] = []
    for split, count in (("train", 2), ("val", 1)):
        listed = set((base / release / f"ImageSets/Segmentation/{split}.txt").read_text().split())
        both = listed & masked & set((base / release / f"ImageSets/Main/{split}.txt").read_text().split())
        images = [base / release / f"JPEGImages/{stem}.jpg" for stem in both]
        chosen += [path.stem for path in _smallest(images, count)]
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "xml"), ("SegmentationClass", "png")):
        _copy(base, folder, [base / release / f"{kind}/{stem}.{suffix}" for stem in chosen])
    for task in ("Main", "Segmentation"):
        for split in ("train", "val"):
            lists = release / f"ImageSets/{task}/{split}.txt"
            _keep_lines(base / lists, folder / lists, chosen)
