"""The handwritten digits that come with scikit-learn: 1,797 images of 8×8 pixels; no files needed.

A copy of the test set of UCI's "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998,
https://archive.ics.uci.edu/dataset/80), CC BY 4.0, read through `sklearn.datasets.load_digits`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from cv_pipelines.data.inspection import content_hash
from cv_pipelines.data.schema import (
    Categories,
    Quarantine,
    Tables,
    annotations_table,
    categories_of,
    samples_table,
)


def read(root: Path | None = None) -> Tables:
    """Read the digits, all in split "train": there is no official split.

    Args:
        root: not used; here so that every reader is called alike.

    Returns:
        Tables with a sample an image (`group` is the sample: the writers are not known) and array `images`
        (1797, 8, 8) uint8, the original 0..16 scaled to 0..255.
    """
    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    names = [f"digit_{i:04d}" for i in range(len(images))]
    rows = [
        {
            "sample_id": name,
            "row": i,
            "split": "train",
            "group": name,
            "width": images.shape[2],
            "height": images.shape[1],
            "labels": [int(digits.target[i])],
            "content_hash": content_hash(images[i].tobytes()),
        }
        for i, name in enumerate(names)
    ]
    return Tables(
        samples=samples_table(rows),
        annotations=annotations_table([]),
        categories=Categories(labels=categories_of([str(i) for i in range(10)])),
        quarantine=Quarantine().table(),
        arrays={"images": images},
        facts={"reader": "digits", "official_split": "none", "licence": "CC BY 4.0"},
    )
