"""Samples of a source as somebody would send them to a served model, and whether its answers are right."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.encoding import decode_png, encode_png
from cv_pipelines.data.schema import Categories
from cv_pipelines.tasks.autoencoder import channels_last

NEAR = 1e-3
"""How far a probability may be from the model's own; sums in another order make it some 1e-6."""

PIXELS_APART = 1.0
"""How far a side of a box, or a point, may be from the model's own."""

SHARE = 0.99
"""Share of boxes, or of pixels, that have to agree: where two scores are all but equal, some may not."""

Answers = Sequence[Mapping[str, Any]]


def request_of(data: SourceData, index: int) -> Any:
    """Return a sample as it is sent: the bytes of a PNG, or a (C, T) float32 window."""
    sample = data.read(index)
    return sample.numpy() if data.kind == "signal" else encode_png(channels_last(sample))


def disagreement(
    task: str, expected: pd.DataFrame, ids: Sequence[str], answers: Answers, categories: Categories
) -> str:
    """Return what is wrong with a served model's answers; nothing if they are the model's own.

    Args:
        task: of the model.
        expected: rows that the model predicts.
        ids: of the samples that were sent.
        answers: one a sample, in their order.
        categories: of the source.
    """
    rows = {name: part for name, part in expected.groupby("sample_id")} if len(expected) else {}
    for name, answer in zip(ids, answers, strict=True):
        own = rows.get(name, pd.DataFrame(columns=expected.columns))
        if task == "detection":
            told = _of_boxes(own, answer["boxes"], categories)
        elif task == "landmarks":
            told = _of_points(own.iloc[0], answer)
        elif task in {"segmentation", "autoencoder"}:
            told = _of_pixels(task, own.iloc[0], answer)
        else:
            apart = np.abs(np.asarray(answer["probabilities"]) - own["probabilities"].iloc[0]).max()
            told = "" if apart <= NEAR else f"a probability is {apart:.2g} away from the model's own"
        if told:
            return f"{name}: {told}"
    return ""


def _of_pixels(task: str, own: pd.Series, answer: Mapping[str, Any]) -> str:
    key = "mask" if task == "segmentation" else "image"
    mine, theirs = decode_png(own[key]), decode_png(base64.b64decode(answer[key]))
    if mine.shape != theirs.shape:
        return f"{key} of shape {theirs.shape}; the model's own is {mine.shape}"
    apart = np.abs(mine.astype(int) - theirs.astype(int))
    same = float((apart <= (0 if task == "segmentation" else 1)).mean())
    return "" if same >= SHARE else f"{same:.1%} of the {key}'s pixels are those of the model"


def _of_points(own: pd.Series, answer: Mapping[str, Any]) -> str:
    mine = np.asarray(own["keypoints"]).reshape(-1, 3)[:, :2]
    theirs = np.array([[point["x"], point["y"]] for point in answer["points"]])
    apart = abs(own["score"] - answer["score"])
    if apart > NEAR:
        return f"the score is {apart:.2g} away from the model's own"
    far = float(np.abs(mine - theirs).max())
    return "" if far <= PIXELS_APART else f"a point is {far:.2g} pixels away from the model's own"


def _of_boxes(own: pd.DataFrame, boxes: Answers, categories: Categories) -> str:
    """Count the boxes of each side that the other has too."""
    names = categories.names("objects")
    mine = [(names[r.category], r.score, np.array([r.x, r.y, r.w, r.h])) for r in own.itertuples()]
    theirs = [(b["label"], b["score"], np.array([b[key] for key in "xywh"])) for b in boxes]
    shared = sum(any(_alike(one, other) for other in theirs) for one in mine)
    most = max(len(mine), len(theirs))
    # one box may always lie at a threshold
    return "" if shared >= min(SHARE * most, most - 1) else f"{shared} of {most} boxes are those of the model"


def _alike(one: tuple[str, float, np.ndarray], other: tuple[str, float, np.ndarray]) -> bool:
    near = abs(one[1] - other[1]) <= NEAR and np.abs(one[2] - other[2]).max() <= PIXELS_APART
    return bool(one[0] == other[0] and near)
