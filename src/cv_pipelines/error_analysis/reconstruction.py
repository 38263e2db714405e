"""The errors of autoencoders, from saved reconstructions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from cv_pipelines.comparing.reconstruction import Reconstructed
from cv_pipelines.data.datasets import SampleDataset, SourceData
from cv_pipelines.data.encoding import decode_png
from cv_pipelines.error_analysis.form import WORST, Kind, Report, Worst
from cv_pipelines.error_analysis.slices import slices
from cv_pipelines.metrics.reconstruction import mse_parts, per_sample_mse, per_sample_ssim
from cv_pipelines.tasks.autoencoder import channels_last

MEANINGS = {
    "brightness": "the part of the squared error that a shift of all pixels takes away",
    "contrast": "the part that stretching the pixels about their mean takes away",
    "structure": "the rest: what does not rise and fall together",
}
BINS = 40
_NO_CLASSES = "a reconstruction says no class"


def report(predictions: pd.DataFrame, data: SourceData, measures: pd.DataFrame) -> Report:
    """Report on an autoencoder; see `error_analysis.analyse.analyse`."""
    pictures = dict(zip(predictions["sample_id"], predictions["image"], strict=True))
    rebuilt = np.stack([decode_png(pictures[sample]) for sample in data.samples["sample_id"]])
    dataset = SampleDataset(data, "none", size=list(rebuilt.shape[1:3]))
    images = np.stack([channels_last(dataset[i]["image"]) for i in range(len(data.samples))])
    errors, parts = per_sample_mse(images, rebuilt), mse_parts(images, rebuilt)
    return Report(
        metric="psnr",
        value=_psnr(errors),
        unit="images of which it is the largest part",
        worst_by="mean squared error",
        curves=histogram(errors, "mean squared error", "images"),
        kinds=_kinds(errors, parts),
        worst=_worst(errors, parts, data),
        slices=slices(
            Reconstructed(errors, per_sample_ssim(images, rebuilt), *_labels(data)), "psnr", data, measures
        ),
        absent={"confusion": _NO_CLASSES, "calibration": _NO_CLASSES},
    )


def _psnr(errors: np.ndarray) -> float:
    mean = float(errors.mean())
    return -10 * float(np.log10(mean)) if mean > 0 else float("inf")


def _kinds(errors: np.ndarray, parts: dict[str, np.ndarray]) -> list[Kind]:
    largest = np.stack(list(parts.values())).argmax(axis=0)
    return [
        Kind(
            name,
            MEANINGS[name],
            int((largest == k)[errors > 0].sum()),
            _psnr(np.maximum(errors - part, 0.0)) - _psnr(errors) if errors.any() else 0.0,
        )
        for k, (name, part) in enumerate(parts.items())
    ]


def _worst(errors: np.ndarray, parts: dict[str, np.ndarray], data: SourceData) -> list[Worst]:
    found = []
    for i in np.argsort(-errors, kind="stable")[:WORST]:
        shares = sorted(((name, float(part[i])) for name, part in parts.items()), key=lambda one: -one[1])
        told = ", ".join(f"{name} {share / errors[i]:.0%}" for name, share in shares) if errors[i] else "none"
        sample = str(data.samples["sample_id"].iat[i])
        found.append(Worst(sample, [shares[0][0]], float(errors[i]), f"mse {errors[i]:.4f}: {told}"))
    return found


def _labels(data: SourceData) -> tuple[list[str], np.ndarray] | tuple[()]:
    """Return class names and the class of each sample, where the source gives each one class."""
    lists = data.samples["labels"]
    if data.categories.multi_label or not data.categories.labels or not lists.map(len).eq(1).all():
        return ()
    return data.categories.names("labels"), np.array([values[0] for values in lists])


def histogram(values: np.ndarray, x: str, unit: str, name: str = "all") -> dict[str, Any]:
    """Return the distribution of a number as the `curves` of a report.

    Args:
        values: (N,) float.
        x: what they are.
        unit: what is counted.
        name: of the line.
    """
    line = histogram_line(values, np.histogram_bin_edges(values, BINS), name)
    return {"title": f"How the {x} is spread", "x": x, "y": unit, "lines": [line]}


def histogram_line(values: np.ndarray, edges: np.ndarray, name: str) -> dict[str, Any]:
    """Return one line of a histogram: the middles of its bins and how many values lie in each."""
    counts, _ = np.histogram(values, edges)
    middles = (edges[:-1] + edges[1:]) / 2
    mean = float(np.mean(values)) if len(values) else float("nan")
    return {"name": name, "area": mean, "n": len(values), "x": middles.tolist(), "y": counts.tolist()}
