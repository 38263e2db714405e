"""Selective search on the drawn COCO: how many of the objects are among how many proposals, in what time?

`python benchmarks/detection_proposals.py [SOURCE]` looks at the validation split of a prepared source
(`kedro run --pipelines SOURCE`). Prints a table: of each mode the milliseconds and proposals an image, the
recall at an IoU of 0.5, and the average recall over IoU 0.50 to 0.95 by the number of proposals, by the same
program that scores detectors.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torchvision.ops import box_convert, box_iou

from cv_pipelines.data.datasets import SampleDataset, SourceData
from cv_pipelines.data.schema import Categories
from cv_pipelines.metrics.coco import PROPOSALS, proposal_recall
from cv_pipelines.metrics.coco_form import ground_truth, results
from cv_pipelines.models.regions.proposals import Mode, Search, SelectiveSearch

PROJECT = Path(__file__).parent.parent
MODES: tuple[Mode, ...] = ("single", "fast", "quality")


def prepared(source: str) -> SourceData:
    """Read the tables of a source, the validation split."""
    read = PROJECT / "data/02_intermediate" / source
    categories = Categories.model_validate_json((read / "categories.json").read_text(encoding="utf8"))
    samples = pd.read_parquet(PROJECT / "data/05_model_input" / source / "manifest.parquet")
    annotations = pd.read_parquet(read / "annotations.parquet")
    return SourceData(samples, annotations, categories, root=PROJECT / "data/01_raw" / source).only("val")


def judged(data: SourceData, mode: Mode) -> str:
    """Search all images in one mode; a line of the table."""
    search = SelectiveSearch(Search(mode, 100, 1000, 8, 500), 1)
    dataset, rows, best, took = SampleDataset(data, "boxes"), [], [], 0.0
    for index, sample_id in enumerate(data.samples["sample_id"]):
        item = dataset[index]
        began = time.perf_counter()
        (boxes,) = search([item["image"].as_subclass(torch.Tensor)])
        took += time.perf_counter() - began
        if len(item["boxes"]):
            best += box_iou(item["boxes"].as_subclass(torch.Tensor), boxes).amax(dim=1).tolist()
        for place, box in enumerate(box_convert(boxes, "xyxy", "xywh").tolist()):
            rows.append((sample_id, 0, 1 / (1 + place), *box))
    table = pd.DataFrame(rows, columns=["sample_id", "category", "score", "x", "y", "w", "h"])
    truth = ground_truth(data.samples, data.annotations, data.categories)
    recalls = proposal_recall(truth, results(table, truth))["all"]
    count, n = len(data.samples), len(rows)
    figures = [1e3 * took / count, n / count, float(np.mean(np.array(best) >= 0.5)), *recalls]
    return f"{mode:8s}" + "".join(f"{figure:10.3f}" for figure in figures)


def main() -> None:
    """Judge all modes."""
    torch.set_num_threads(1)
    data = prepared(sys.argv[1] if len(sys.argv) > 1 else "sample_coco")
    names = ["ms", "boxes", "recall_50", *(f"ar_{n}" for n in PROPOSALS)]
    print(f"{'mode':8s}" + "".join(f"{name:>10s}" for name in names))
    for mode in MODES:
        print(judged(data, mode))


if __name__ == "__main__":
    main()
