"""Memory private to a loader worker that has passed over a source of COCO's size, beside a list of dicts.

118,287 samples with 860,001 boxes. A worker is forked from the process that holds the tables: what it only
reads stays shared, unless reading changes a reference count beside it, which copies the page. Images are a
few pixels, so that the boxes are what is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from _harness import Row, report
from cv_pipelines.data.datasets import EpochSampler, SampleDataset, SourceData
from cv_pipelines.data.memory import share_what_is_there
from cv_pipelines.data.schema import Categories, annotations_table, categories_of, samples_table

SAMPLES, OBJECTS, PEER_IMAGE = 118_287, 860_001, np.zeros((2, 2, 3), np.uint8)


def source() -> SourceData:
    """Return samples and boxes, drawn."""
    rng = np.random.default_rng(0)
    ids = [f"{number:012d}" for number in range(SAMPLES)]
    row = {"split": "train", "media": None, "labels": [], "width": 640, "height": 480}
    samples = [row | {"sample_id": i, "group": i, "content_hash": i, "row": 0} for i in ids]
    x, y, w, h = rng.uniform(1, 200, (4, OBJECTS)).round(2).tolist()
    of, category = rng.integers(0, SAMPLES, OBJECTS).tolist(), rng.integers(0, 80, OBJECTS).tolist()
    objects = [
        {
            "sample_id": ids[of[k]],
            "category": category[k],
            "x": x[k],
            "y": y[k],
            "w": w[k],
            "h": h[k],
            "area": 9.0,
        }
        for k in range(OBJECTS)
    ]
    categories = Categories(objects=categories_of([f"class {k}" for k in range(80)]))
    images = {"images": PEER_IMAGE[None]}
    return SourceData(samples_table(samples), annotations_table(objects), categories, images)


class ListOfDicts(Dataset[Any]):
    """What torchvision's CocoDetection keeps: a list of records an image."""

    def __init__(self, data: SourceData) -> None:
        objects = data.annotations[["sample_id", "category", "x", "y", "w", "h", "area"]].to_dict("records")
        self.records: list[list[dict[str, Any]]] = [[] for _ in range(SAMPLES)]
        place = {sample_id: k for k, sample_id in enumerate(data.samples["sample_id"])}
        for record in objects:
            self.records[place[record["sample_id"]]].append(record)

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        records = self.records[index]
        boxes = torch.tensor([[r["x"], r["y"], r["w"], r["h"]] for r in records])
        return boxes, torch.tensor([r["category"] for r in records])


def private() -> float:
    """Return the memory that this process shares with no other, in MB; Linux only."""
    with open("/proc/self/smaps_rollup") as file:
        lines = [line.split() for line in file]
    return sum(int(line[1]) for line in lines if line[0] in {"Private_Clean:", "Private_Dirty:"}) / 1024


def collate(items: list[Any]) -> tuple[int, float]:
    """Return which worker this is and its private memory, and drop the samples."""
    worker = get_worker_info()
    return (worker.id if worker else 0), private()


def growth(dataset: Dataset[Any], order: Any, begin: Callable[[int], None] | None = None) -> float:
    """Return how much the private memory of a worker grows from its first batch to the end of a pass."""
    loader = DataLoader(dataset, 512, sampler=order, num_workers=2, collate_fn=collate, worker_init_fn=begin)
    seen: dict[int, list[float]] = {}
    for worker, megabytes in loader:
        seen.setdefault(worker, []).append(megabytes)
    return max(values[-1] - values[0] for values in seen.values())


def main() -> None:
    """Pass over both and print what each worker has of its own."""
    data = source()
    mine = growth(SampleDataset(data, "boxes"), EpochSampler(SAMPLES, 0), share_what_is_there)
    peer = growth(ListOfDicts(data), range(SAMPLES))
    what = f"memory private to a loader worker after {OBJECTS:,} boxes"
    rows = [
        Row(what, "MB", mine, peer, "list of dicts"),
        Row(f"{what}: limit", "MB", mine, 5.0, "limit", 1.0),
    ]
    report("data_workers", rows)


if __name__ == "__main__":
    main()
