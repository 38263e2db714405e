"""Scoring speed: our confusion matrix and box overlap against torchmetrics and torchvision, in one run.

Prints a table and writes `benchmarks/results/metrics.json`; a ratio above 1 means ours is faster.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix
from torchvision.ops import box_iou

from cv_pipelines.metrics.boxes import iou, xywh_to_xyxy
from cv_pipelines.metrics.confusion import confusion_matrix

RESULTS = Path(__file__).parent / "results" / "metrics.json"
REPEATS = 15


def seconds(function: Callable[[], object]) -> float:
    """Return the median seconds of a call."""
    function()
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return median(taken)


def row(what: str, ours: Callable[[], object], peer: Callable[[], object], name: str) -> dict[str, object]:
    """Time both and build a row of the results file."""
    mine, other = seconds(ours), seconds(peer)
    return {
        "what": what,
        "unit": "s",
        "ours": mine,
        "peer": other,
        "peer_name": name,
        "ratio": other / mine,
        "must": None,
    }


def main() -> None:
    """Run both comparisons on drawn data of CamVid's and COCO's size."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 12, (8, 360, 480)).astype(np.uint8)
    truth[truth == 11] = 255
    guess = rng.integers(0, 11, truth.shape).astype(np.uint8)
    t, g = torch.from_numpy(truth).long(), torch.from_numpy(guess).long()
    a, b = rng.uniform(1, 100, (2000, 4)), rng.uniform(1, 100, (500, 4))
    c, d = torch.from_numpy(xywh_to_xyxy(a)), torch.from_numpy(xywh_to_xyxy(b))
    rows = [
        row(
            "confusion matrix, 8 masks of 360×480, 11 classes",
            lambda: confusion_matrix(guess, truth, 11),
            lambda: multiclass_confusion_matrix(g, t, 11, ignore_index=255),
            "torchmetrics",
        ),
        row("IoU of 2,000 × 500 boxes", lambda: iou(a, b), lambda: box_iou(c, d), "torchvision"),
    ]
    for r in rows:
        print(
            f"{r['what']}: ours {r['ours']:.4f} s, {r['peer_name']} {r['peer']:.4f} s, ratio {r['ratio']:.2f}"
        )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
