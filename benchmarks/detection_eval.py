"""COCO's figures of boxes: the back ends against pycocotools as it comes, and how much memory it takes.

Each side runs in a process of its own on the same drawn data, of the size of COCO's validation split: 5,000
images, 80 classes, 36,000 objects. Times are of `coco_scores`, from the two lists to all figures, and of a
person's `COCO`, `loadRes`, `COCOeval` on them. Prints a table and writes
`benchmarks/results/detection_eval.json`; a ratio above 1 means ours is better.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from _harness import Row, alone, report
from cv_pipelines.metrics.coco import coco_scores, proposal_recall
from cv_pipelines.metrics.coco_backends import BACKENDS

IMAGES, OBJECTS, FOUND = 5_000, 36_000, 40_000
MEMORY = 2_048
"""What 100 detections an image may take, in MB."""

Lists = tuple[dict[str, Any], list[dict[str, Any]]]


def drawn(images: int, objects: int, found: int) -> Lists:
    """Draw objects, few classes an image, and detections near them, three of ten of any class."""
    rng = np.random.default_rng(0)
    home = rng.integers(1, images + 1, objects)
    category = (home * 7 + rng.integers(0, 4, objects) ** 2) % 80 + 1
    boxes = np.c_[rng.uniform(0, 400, (objects, 2)), np.exp(rng.uniform(2, 5.5, (objects, 2)))]
    truth = {
        "images": [{"id": i + 1, "width": 640, "height": 480} for i in range(images)],
        "annotations": [
            {
                "id": k + 1,
                "image_id": int(home[k]),
                "category_id": int(category[k]),
                "bbox": boxes[k].tolist(),
                "area": float(boxes[k, 2] * boxes[k, 3]),
                "iscrowd": 0,
            }
            for k in range(objects)
        ],
        "categories": [{"id": k + 1, "name": f"class {k}"} for k in range(80)],
    }
    near = rng.permutation(found) % objects
    moved = boxes[near] * rng.normal(1, 0.1, (found, 4)).clip(0.5, 1.5)
    named = np.where(rng.random(found) < 0.7, category[near], rng.integers(1, 81, found))
    rows = zip(home[near].tolist(), named.tolist(), rng.random(found), moved, strict=True)
    results = [
        {"image_id": image, "category_id": kind, "score": float(score), "bbox": box.tolist()}
        for image, kind, score, box in rows
    ]
    return truth, results


def ours(backend: str, images: int, objects: int, found: int) -> tuple[float, float]:
    """Return the seconds that a back end takes, and `map`."""
    lists = drawn(images, objects, found)
    started = time.perf_counter()
    values, _ = coco_scores(*lists, "bbox", backend)  # type: ignore[arg-type]
    return time.perf_counter() - started, values["map"]


def by_hand(images: int, objects: int, found: int) -> tuple[float, float]:
    """Return the seconds that pycocotools takes as its own examples call it, and its first figure."""
    truth, results = drawn(images, objects, found)
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = truth
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return time.perf_counter() - started, float(evaluation.stats[0])


def recalls(images: int, objects: int, found: int) -> float:
    """Return the recall of all detections whatever their class."""
    return proposal_recall(*drawn(images, objects, found))["all"][-1]


def main() -> None:
    """Run all sides; `python benchmarks/detection_eval.py ROUNDS` (3)."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    size, small = (IMAGES, OBJECTS, FOUND), (20, 100, 100)
    rows = []
    peers = [alone(by_hand, *size, warm=small).result for _ in range(rounds)]
    peer, expected = sorted(peers)[rounds // 2]
    for backend in BACKENDS:
        runs = [alone(ours, backend, *size, warm=(backend, *small)).result for _ in range(rounds)]
        seconds, figure = sorted(runs)[rounds // 2]
        assert abs(figure - expected) < 1e-12, (backend, figure, expected)
        what = f"map of {IMAGES:,} images, {FOUND:,} detections, by {backend}"
        must = 20.0 if backend == "hotcoco" else None
        rows.append(Row(what, "s", seconds, peer, "pycocotools as it comes", must))
    many = (IMAGES, OBJECTS, 100 * IMAGES)
    memory = alone(ours, "pycocotools", *many, warm=("pycocotools", *small)).megabytes
    theirs = alone(by_hand, *many, warm=small).megabytes
    what = f"peak memory of {IMAGES:,} images × 100 detections"
    rows.append(Row(what, "MB", memory, theirs, "pycocotools as it comes"))
    rows.append(Row(f"{what}, against what is allowed", "MB", memory, MEMORY, "allowed", 1.0))
    classless = alone(recalls, *many, warm=small).megabytes
    rows.append(Row(f"{what}, recall without classes", "MB", classless, MEMORY, "allowed", 1.0))
    report("detection_eval", rows)


if __name__ == "__main__":
    main()
