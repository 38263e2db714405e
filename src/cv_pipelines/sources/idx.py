"""The idx files of MNIST and Fashion-MNIST: a big-endian header, then bytes; gzipped or not.

Files: `{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]` (magic 2051 and 2049). Format and MNIST: Y. LeCun,
C. Cortes, C. Burges, "The MNIST database of handwritten digits", http://yann.lecun.com/exdb/mnist, CC BY-SA.
Fashion-MNIST: H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747, MIT licence,
https://github.com/zalandoresearch/fashion-mnist.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits

from cv_pipelines.data.inspection import content_hash
from cv_pipelines.data.schema import (
    SAMPLES,
    Categories,
    Quarantine,
    Tables,
    Truth,
    annotations_table,
    categories_of,
)
from cv_pipelines.errors import SourceError

CHUNK = 1 << 20

STEMS = {"train": "train", "test": "t10k"}
NAMES = {
    "index": [f"class_{i}" for i in range(10)],
    "digits": [str(i) for i in range(10)],
    "fashion": [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ],
}
LICENCES = {
    "index": "as stated by the data set's authors",
    "digits": "CC BY-SA 3.0 (MNIST)",
    "fashion": "MIT (Fashion-MNIST)",
}


def read(root: Path, *, names: Literal["digits", "fashion", "index"] = "index") -> Tables:
    """Read the four files; a row whose label is not 0..9 is dropped, with a quarantine row.

    Args:
        root: folder that holds the four files, each with or without `.gz`.
        names: class names: "digits" for MNIST's, "fashion" for Fashion-MNIST's, "index" for class_0, ….

    Returns:
        Tables with a sample an image and array `images` (N, H, W) uint8, 0 for ground.

    Raises:
        SourceError: a file is missing, damaged, or of another length, type or shape than its header and
            partner say; or no row is usable.
    """
    quarantine = Quarantine()
    parts = {split: _read_split(root, split) for split in STEMS}
    shapes = {split: images.shape[1:] for split, (images, _) in parts.items()}
    if shapes["train"] != shapes["test"]:
        raise SourceError(f"{root}: train images are {shapes['train']}, t10k images {shapes['test']}")
    for split, (_, labels) in parts.items():
        for index in np.flatnonzero(labels > 9):
            name = f"{_find(root, f'{STEMS[split]}-labels-idx1-ubyte').name}:{index}"
            quarantine.drop(name, "label outside range", f"{labels[index]}; expected 0 to 9")
    good = {split: np.flatnonzero(labels <= 9) for split, (_, labels) in parts.items()}
    images = np.concatenate([parts[split][0][good[split]] for split in STEMS])
    if not len(images):
        raise SourceError(f"{root}: no row with a label from 0 to 9")
    return Tables(
        samples=_samples(images, {split: parts[split][1][good[split]] for split in STEMS}, good),
        annotations=annotations_table([]),
        categories=Categories(labels=categories_of(NAMES[names], [str(i) for i in range(10)])),
        quarantine=quarantine.table(),
        arrays={"images": images},
        facts={"reader": "idx", "official_split": "train and test (t10k)", "licence": LICENCES[names]},
    )


def _samples(images: np.ndarray, labels: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> pd.DataFrame:
    """Build the table by column: there are 70,000 rows. `rows` holds row numbers in the files."""
    ids = [f"{split}_{index:05d}" for split, found in rows.items() for index in found]
    count, height, width = images.shape
    frame = pd.DataFrame(
        {
            "sample_id": ids,
            "media": None,
            "row": np.arange(count),
            "target": None,
            "split": np.repeat(list(rows), [len(found) for found in rows.values()]),
            "group": ids,
            "width": width,
            "height": height,
            "labels": [[label] for label in np.concatenate(list(labels.values())).tolist()],
            "content_hash": [content_hash(image.tobytes()) for image in images],
        }
    )
    return SAMPLES.validate(frame, lazy=True)


def _find(root: Path, stem: str) -> Path:
    for path in (root / stem, root / f"{stem}.gz"):
        if path.is_file():
            return path
    raise SourceError(f"{root}: missing {stem}[.gz]; expected the four idx files of MNIST")


def _read_split(root: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, H, W) and labels (N,), uint8."""
    paths = [_find(root, f"{STEMS[split]}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
    images, labels = _read_array(paths[0], 3), _read_array(paths[1], 1)
    if len(images) != len(labels):
        raise SourceError(f"{paths[1]}: {len(labels)} labels; expected {len(images)}, one an image")
    return images, labels


def _read_array(path: Path, ndim: int) -> np.ndarray:
    """Read one idx file of unsigned bytes with `ndim` dimensions; its length must be exactly what it says."""
    start = 4 + 4 * ndim
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(start)
            if len(head) < start:
                raise SourceError(f"{path}: {len(head)} bytes; expected a header of {start}")
            magic, *shape = struct.unpack(f">{1 + ndim}I", head)
            if magic != 0x800 + ndim:
                expected = f"{0x800 + ndim} (bytes, {ndim} dimensions)"
                raise SourceError(f"{path}: magic number {magic}; expected {expected}")
            if 0 in shape:
                raise SourceError(f"{path}: shape {tuple(shape)}; expected no dimension of 0")
            count = math.prod(shape)
            data = bytearray()
            while len(data) <= count and (block := file.read(CHUNK)):  # however much it would unpack to
                data += block
    except (EOFError, OSError, zlib.error) as error:
        raise SourceError(f"{path}: damaged gzip file ({error})") from None
    if len(data) != count:
        found = f"{'at least ' * (len(data) > count)}{len(data) + start} bytes"
        raise SourceError(f"{path}: {found}; expected {count + start} for shape {tuple(shape)}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def write_sample(root: Path, *, n: int = 1200, size: tuple[int, int] = (28, 28), seed: int = 0) -> Truth:
    """Write handwritten digits in MNIST's format, gzipped: scikit-learn's digits, enlarged, moved and noised.

    Args:
        root: folder that receives the four files.
        n: images; a seventh is the test split. Above 1,797 the same handwriting comes again, placed anew.
        size: (width, height) in pixels, each 12 at least.
        seed: same seed, same bytes.

    Returns:
        Splits and labels; the names are those of the default option `names="index"`.
    """
    rng = np.random.default_rng(seed)
    digits = load_digits()
    order = np.concatenate([rng.permutation(len(digits.target)) for _ in range(n // len(digits.target) + 1)])[
        :n
    ]
    held_out = n // 7
    root.mkdir(parents=True, exist_ok=True)
    truth = Truth(splits={})
    for split, chosen in {"train": order[: n - held_out], "test": order[n - held_out :]}.items():
        images = np.array([_draw(rng, digits.images[i], size) for i in chosen], dtype=np.uint8)
        labels = digits.target[chosen].astype(np.uint8)
        _write_array(root / f"{STEMS[split]}-images-idx3-ubyte.gz", images.reshape(-1, size[1], size[0]))
        _write_array(root / f"{STEMS[split]}-labels-idx1-ubyte.gz", labels)
        truth.splits |= {split: len(chosen)} if len(chosen) else {}
        truth.labels |= {f"{split}_{i:05d}": [NAMES["index"][label]] for i, label in enumerate(labels)}
    return truth


def _draw(rng: np.random.Generator, digit: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Place one (8, 8) digit of 0..16 on black, with about MNIST's margin and some grain on the strokes."""
    width, height = size
    side = int(min(size) * rng.uniform(0.68, 0.78))
    glyph = Image.fromarray((digit * 255 / 16).astype(np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    x = (width - side) // 2 + int(rng.integers(-2, 3))
    y = (height - side) // 2 + int(rng.integers(-2, 3))
    canvas: Any = Image.new("L", size)
    canvas.paste(glyph, (x, y))
    image = np.asarray(canvas, dtype=np.float64)
    return np.clip(image * rng.normal(1.0, 0.06, image.shape), 0, 255).astype(np.uint8)


def _write_array(path: Path, values: np.ndarray) -> None:
    header = struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape)
    # A time stamp in the gzip header would make two writes differ.
    path.write_bytes(gzip.compress(header + values.tobytes(), compresslevel=6, mtime=0))
