"""Scoring speed: our confusion matrix and box overlap against torchmetrics and torchvision, in one run.

Prints a table and writes `benchmarks/results/metrics.json`; a ratio above 1 means ours is faster.
"""

from __future__ import annotations

import numpy as np
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix
from torchvision.ops import box_iou

from _harness import Row, report, seconds
from cv_pipelines.metrics.boxes import iou, xywh_to_xyxy
from cv_pipelines.metrics.confusion import confusion_matrix


def main() -> None:
    """Run both comparisons on drawn data of CamVid's and COCO's size."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 12, (8, 360, 480)).astype(np.uint8)
    truth[truth == 11] = 255
    guess = rng.integers(0, 11, truth.shape).astype(np.uint8)
    t, g = torch.from_numpy(truth).long(), torch.from_numpy(guess).long()
    a, b = rng.uniform(1, 100, (2000, 4)), rng.uniform(1, 100, (500, 4))
    c, d = torch.from_numpy(xywh_to_xyxy(a)), torch.from_numpy(xywh_to_xyxy(b))
    matrices = seconds(
        [
            lambda: confusion_matrix(guess, truth, 11),
            lambda: multiclass_confusion_matrix(g, t, 11, ignore_index=255),
        ]
    )
    overlaps = seconds([lambda: iou(a, b), lambda: box_iou(c, d)])
    rows = [
        Row("confusion matrix, 8 masks of 360×480, 11 classes", "s", *matrices, "torchmetrics"),
        Row("IoU of 2,000 × 500 boxes", "s", *overlaps, "torchvision"),
    ]
    report("metrics", rows)


if __name__ == "__main__":
    main()
