"""The errors of segmentations, from saved masks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cv_pipelines.comparing.segmentation import Segmented
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.encoding import decode_png
from cv_pipelines.error_analysis.form import RIGHT, WORST, Kind, Report, Worst, of_matrix
from cv_pipelines.error_analysis.slices import slices
from cv_pipelines.metrics.confusion import confusion_matrix, segmentation_scores
from cv_pipelines.metrics.mask_errors import KINDS, MISSED, WIDTH, kind_matrices, mended

MEANINGS = {
    "border": f"a wrong pixel within {WIDTH:.1%} of the image's diagonal of another true class",
    "missed segment": f"a pixel of a segment of which less than {MISSED:.0%} has its class",
    "inside": "any other wrong pixel: within a segment that is found",
}
_MASKS = "predictions are masks: which class, not how sure of it"


def report(predictions: pd.DataFrame, data: SourceData, measures: pd.DataFrame) -> Report:
    """Report on a segmentation; see `error_analysis.analyse.analyse`."""
    names = data.categories.names("mask")
    masks = dict(zip(predictions["sample_id"], predictions["mask"], strict=True))
    matrices, wrong = [], []
    for index, sample in enumerate(data.samples["sample_id"]):
        prediction, target = decode_png(masks[sample]), data.mask(index)
        matrices.append(confusion_matrix(prediction, target, len(names)))
        wrong.append(kind_matrices(prediction, target, len(names)))
    each, by_kind = np.stack(matrices), np.stack(wrong)
    total, errors = each.sum(axis=0), by_kind.sum(axis=0)
    value = segmentation_scores(total, names)["miou"]
    kinds = [
        Kind(
            kind,
            MEANINGS[kind],
            int(errors[k].sum()),
            segmentation_scores(mended(total, errors[k]), names)["miou"] - value,
        )
        for k, kind in enumerate(KINDS)
    ]
    return Report(
        metric="miou",
        value=value,
        unit="pixels",
        worst_by="mIoU of the image alone",
        confusion=of_matrix("pixels", names, total.tolist()),
        kinds=kinds,
        worst=_worst(each, by_kind, names, data),
        slices=slices(Segmented(each.astype(np.float64), names), "miou", data, measures),
        absent={"calibration": _MASKS, "curves": _MASKS},
    )


def _worst(matrices: np.ndarray, wrong: np.ndarray, names: list[str], data: SourceData) -> list[Worst]:
    scores = np.array([segmentation_scores(matrix, names)["miou"] for matrix in matrices])
    found = []
    for i in np.argsort(scores, kind="stable")[:WORST]:
        pixels, counts = max(int(matrices[i].sum()), 1), wrong[i].sum(axis=(1, 2))
        order = [k for k in np.argsort(-counts, kind="stable") if counts[k]]
        shares = ", ".join(f"{KINDS[k]} {counts[k] / pixels:.1%}" for k in order)
        reason = f"mIoU {scores[i]:.2f}; {shares or 'all right'}"
        confused = wrong[i].sum(axis=0)
        if confused.any():
            a, b = np.unravel_index(confused.argmax(), confused.shape)
            reason += f"; most: {names[a]} as {names[b]}"
        sample = str(data.samples["sample_id"].iat[i])
        found.append(Worst(sample, [KINDS[k] for k in order] or [RIGHT], float(scores[i]), reason))
    return found
