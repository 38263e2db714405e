"""The data sets that are damaged: a few images each, drawn by `write_sample` or cut from the real files."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

from cv_pipelines.sources import reader
from fuzzing import real

SMALL = (32, 32)


@dataclass(frozen=True)
class Case:
    """One way of reading a format.

    Attributes:
        name: of the case: the reader's, and what is special.
        reader: its name in `READERS`.
        options: of the reader.
        n: how many samples `write_sample` draws; 0 if it does not draw this form.
        cut: makes a data set of the real files, from (folder of the real data, folder to fill); None if there
            are none.
        finish: what else is done to a drawn data set.
        share: of inputs, where one costs more time than elsewhere.
    """

    name: str
    reader: str
    options: dict[str, Any] = field(default_factory=dict)
    n: int = 0
    cut: Callable[[Path, Path], None] | None = None
    finish: Callable[[Path], None] = lambda folder: None
    share: float = 1.0

    def draw(self, folder: Path) -> None:
        """Draw the data set."""
        sized = {} if self.reader in {"hapt", "uci_har"} else {"size": SMALL}
        reader(self.reader).write_sample(folder, n=self.n, seed=1, **sized)
        self.finish(folder)


def shorten(paths: Iterable[Path], lines: int) -> None:
    """Keep the first lines of text files."""
    for path in paths:
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]))


def _short_recordings(folder: Path) -> None:
    base = folder / "HAPT Data Set"
    for path in base.glob("RawData/*_exp*.txt"):
        if not path.stem.startswith(("acc_exp01", "gyro_exp01", "acc_exp03", "gyro_exp03")):
            path.unlink()
    shorten(base.glob("RawData/*_exp*.txt"), 450)
    labels = (base / "RawData/labels.txt").read_text().splitlines(keepends=True)
    kept = [line for line in labels if line.split()[0] in {"1", "3"} and int(line.split()[3]) < 450]
    (base / "RawData/labels.txt").write_text("".join(kept))
    shorten(base.glob("*/subject_id_*.txt"), 3)


def _unpack(folder: Path) -> None:
    """Take the files out of gzip, whose checksum keeps most damage from the reader."""
    for path in folder.glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()


def _short_windows(folder: Path) -> None:
    shorten(folder.rglob("*_t*.txt"), 2)


def _devkit_alone(folder: Path) -> None:
    for name in ("LOC_synset_mapping.txt", "LOC_val_solution.csv"):
        (folder / name).unlink()


def _matlab_classes(folder: Path) -> None:
    """Put the classes in MATLAB's form beside the text, as the devkit has them."""
    _devkit_alone(folder)
    devkit = folder / "ILSVRC2012_devkit_t12/data"
    rows = [line.split() for line in (devkit / "map_clsloc.txt").read_text().splitlines()]
    kinds = [("ILSVRC2012_ID", "i4"), ("WNID", "O"), ("words", "O"), ("num_children", "i4")]
    synsets = np.array([(int(k), w, n, 0) for w, k, n in rows], dtype=kinds)
    savemat(devkit / "meta.mat", {"synsets": synsets}, do_compression=True)


CASES = [
    Case("camvid", "camvid", n=5, cut=real.camvid),
    Case("camvid, 32 colours", "camvid", {"layout": "color32"}, cut=real.camvid32, share=0.25),
    Case("coco", "coco", n=4, cut=real.coco),
    Case("coco, keypoints", "coco", {"annotations": "keypoints"}, 8, cut=real.coco),
    Case("coco, captions", "coco", {"annotations": "captions"}, 4, cut=real.coco),
    Case("hapt", "hapt", {"activities": "all"}, 2, cut=real.hapt, finish=_short_recordings),
    Case("idx", "idx", n=7, cut=real.idx, finish=_unpack),
    Case("image_folder", "image_folder", n=3, cut=real.imagenette),
    Case("tiny_imagenet", "image_folder", {"layout": "tiny_imagenet"}, cut=real.tiny_imagenet),
    Case("imagenet", "imagenet", n=4, cut=real.imagenet),
    Case("imagenet, devkit", "imagenet", {"labels_from": "devkit"}, 4, finish=_devkit_alone),
    Case("imagenet, meta.mat", "imagenet", {"labels_from": "devkit"}, 4, finish=_matlab_classes, share=0.05),
    Case("orl_faces", "orl_faces", n=3, cut=real.orl_faces),
    Case("oxford_pets", "oxford_pets", n=7, cut=real.oxford_pets),
    Case("oxford_pets, pet", "oxford_pets", {"labels": "species", "mask": "pet"}, 7, cut=real.oxford_pets),
    Case("uci_har", "uci_har", n=2, finish=_short_windows, share=0.4),
    Case("voc", "voc", n=4, cut=real.voc),
    Case("voc, segmentation", "voc", {"task": "segmentation"}, 4, cut=real.voc),
]


def prepare(case: Case, folder: Path, raw: Path | None) -> list[Path]:
    """Fill an empty folder with a case's data set.

    Args:
        case: which.
        folder: where.
        raw: the real data to cut it from; drawn if None.

    Returns:
        Its files.
    """
    if raw is None:
        case.draw(folder)
    else:
        assert case.cut is not None
        case.cut(raw, folder)
        for path in folder.rglob("*"):
            path.chmod(0o755)  # the real files may be for reading only
    for path in folder.rglob("list.txt"):  # of Pets: nobody reads it
        path.unlink()
    return sorted(path for path in folder.rglob("*") if path.is_file())
