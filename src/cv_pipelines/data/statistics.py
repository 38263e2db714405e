"""What is measured on the train split alone: channel means and deviations, class counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from cv_pipelines.data.datasets import SourceData

LARGEST_SAMPLE = 2000


def train_statistics(data: SourceData) -> dict[str, Any]:
    """Measure mean and deviation of each channel and count the classes of the train split.

    Images are measured on 0..255, at most 2,000 of them (evenly spaced); signals in their own units.

    Args:
        data: a prepared source, all splits.

    Returns:
        `mean` and `std`, a float a channel; `counts`, an int a label class; `pixels`, an int a mask class
        (empty without masks); `n`, samples measured.
    """
    train = data.only("train")
    picked = np.unique(
        np.linspace(0, len(train.samples) - 1, min(len(train.samples), LARGEST_SAMPLE)).astype(int)
    )
    total = torch.zeros(data.channels, dtype=torch.float64)
    square, pixels = torch.zeros_like(total), 0
    for index in picked:
        flat = train.read(int(index)).to(torch.float64).flatten(1)
        total += flat.sum(dim=1)
        square += flat.square().sum(dim=1)
        pixels += flat.shape[1]
    mean = total / max(pixels, 1)
    std = (square / max(pixels, 1) - mean.square()).clamp_min(0).sqrt()
    return {
        "mean": mean.tolist(),
        "std": std.clamp_min(1e-6).tolist(),
        "counts": class_counts(train),
        "pixels": pixel_counts(train),
        "n": len(picked),
    }


def class_counts(data: SourceData) -> list[int]:
    """Count the samples of each label class; an int a class, in index order."""
    counts = np.zeros(len(data.categories.labels), dtype=int)
    for labels in data.samples["labels"]:
        for label in labels if labels is not None else []:
            counts[label] += 1
    return [int(c) for c in counts]


def pixel_counts(data: SourceData) -> list[int]:
    """Count the pixels of each mask class over the samples that have a mask, void left out."""
    classes = len(data.categories.mask)
    counts = np.zeros(classes, dtype=np.int64)
    for index in np.flatnonzero(data.samples["target"].notna().to_numpy()) if classes else []:
        mask = data.mask(int(index))
        counts += np.bincount(mask[mask != data.categories.ignore_index], minlength=classes)
    return [int(c) for c in counts]
