"""The ORL Database of Faces: 40 people, ten portraits each, 92×112 grey PGM files in `s1` … `s40`.

Source: AT&T Laboratories Cambridge (the Olivetti faces of scikit-learn are the same images, scaled to 64×64).
Licence: free for research, with credit to AT&T Laboratories Cambridge.
Citation: Samaria and Harter, Parameterisation of a stochastic model for human face identification, WACV 1994.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from cv_pipelines.data.schema import (
    Categories,
    Quarantine,
    Tables,
    Truth,
    annotations_table,
    categories_of,
)
from cv_pipelines.errors import SourceError
from cv_pipelines.sources.labelled import Listing, labelled_samples, names_in

EXPECTED = "att_faces/s<number>/<number>.pgm"
PORTRAITS = 10


def read(root: Path, *, group: Literal["image", "subject"] = "image") -> Tables:
    """Read the portraits with the person as label; there is no official split, so all are `train`.

    Args:
        root: the folder that holds `att_faces`, or the folder that holds `s1`, `s2`, ….
        group: what later splits keep together. "image" for identification, where each person must be in
            every split; "subject" for verification of people who were never seen.

    Raises:
        SourceError: no portrait is usable.
    """
    base = root / "att_faces" if (root / "att_faces").is_dir() else root
    people = sorted(
        (path for path in base.glob("s*") if path.is_dir() and path.name[1:].isdecimal()),
        key=lambda path: int(path.name[1:]),
    )
    if not people:
        raise SourceError(f"{root}: expected {EXPECTED}")
    quarantine = Quarantine()
    files = Listing()
    for label, person in enumerate(people):
        names = _portraits(root, person, quarantine)
        ids = [f"{person.name}/{name.removesuffix('.pgm')}" for name in names]
        folder = person.relative_to(root).as_posix()
        kept_together = person.name if group == "subject" else ""
        files.add(ids, [f"{folder}/{name}" for name in names], "train", label, kept_together)
    samples = labelled_samples(root, files, quarantine, EXPECTED)
    return Tables(
        samples,
        annotations_table([]),
        Categories(labels=categories_of([person.name for person in people])),
        quarantine.table(),
        facts={
            "reader": "orl_faces",
            "official_split": "none; all are given as train",
            "licence": "research use with credit to AT&T Laboratories Cambridge",
            "people": len(people),
        },
    )


def _portraits(root: Path, person: Path, quarantine: Quarantine) -> list[str]:
    """List a person's files in the order of their numbers."""
    found = names_in(person, ".pgm")
    if not found:
        quarantine.drop(person.relative_to(root).as_posix(), "empty class folder", "expected *.pgm")
    return sorted(found, key=lambda name: (len(name), name))


def write_sample(root: Path, *, n: int = 80, size: tuple[int, int] = (92, 112), seed: int = 0) -> Truth:
    """Draw simple faces into `att_faces/s<k>/<i>.pgm`, ten a person (the last person may have fewer).

    What makes a person is the face's shape and its shades; pose, light and expression change by portrait.

    Args:
        root: folder to write into.
        n: portraits in all.
        size: (width, height) in pixels.
        seed: same seed, same bytes.
    """
    rng = np.random.default_rng(seed)
    truth = Truth({"train": n})
    person = rng.uniform(size=9)
    for i in range(n):
        k, portrait = divmod(i, PORTRAITS)
        if portrait == 0:
            person = rng.uniform(size=9)
        path = root / f"att_faces/s{k + 1}/{portrait + 1}.pgm"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_face(rng, size, person)).save(path, format="PPM")
        truth.labels[f"s{k + 1}/{portrait + 1}"] = [f"s{k + 1}"]
    return truth


def _face(rng: np.random.Generator, size: tuple[int, int], person: np.ndarray) -> np.ndarray:
    """Draw one portrait, (H, W) uint8; `person` holds nine traits in 0..1."""
    width, height = size
    skin, hair, ground = 120 + 90 * person[0], 20 + 130 * person[1], 60 + 50 * person[2]
    canvas = Image.new("L", size, int(ground))
    pen = ImageDraw.Draw(canvas)
    middle, chin = width * (0.5 + rng.normal(0, 0.02)), height * (0.88 + rng.normal(0, 0.015))
    half, top = width * (0.27 + 0.1 * person[3]), height * 0.17
    tall = chin - top

    def oval(x: float, y: float, rx: float, ry: float, shade: float) -> None:
        """Draw one filled oval; `x` from the face's middle, all in pixels."""
        pen.ellipse((middle + x - rx, y - ry, middle + x + rx, y + ry), fill=int(np.clip(shade, 0, 255)))

    pen.rectangle((middle - half, chin, middle + half, height), fill=int(40 + 120 * person[4]))
    oval(0, top + tall * 0.42, half * 1.12, tall * (0.5 + 0.08 * person[5]), hair)
    oval(0, top + tall * (0.55 + 0.02 * person[5]), half, tall * 0.45, skin)
    eyes, apart, turn = top + tall * 0.46, half * (0.35 + 0.2 * person[6]), half * rng.normal(0, 0.06)
    for side in (-1, 1):
        x = turn + side * apart
        oval(x, eyes, half * 0.17, tall * (0.02 + 0.02 * rng.uniform()), 235)
        oval(x, eyes, half * 0.08, tall * 0.025, 25)
        oval(x, eyes - tall * 0.08, half * 0.2, tall * (0.008 + 0.02 * person[7]), hair * 0.8)
    oval(turn, eyes + tall * 0.15, half * 0.1, tall * 0.07, skin * 0.85)
    mouth = half * (0.22 + 0.22 * person[8])
    oval(turn, eyes + tall * 0.32, mouth, tall * (0.012 + 0.03 * rng.uniform()), skin * 0.5)
    light = 1 + rng.normal(0, 0.08) + rng.normal(0, 0.1) * np.linspace(-1, 1, width)
    pixels = gaussian_filter(np.asarray(canvas, dtype=np.float64), 0.8) * light
    return np.clip(pixels + rng.normal(0, 3, (height, width)), 0, 255).astype(np.uint8)
