"""Inference speed of our detectors against torchvision's SSDlite320: CPU, one image of 320 pixels at a time.

Each takes a normalised image to its detections, thresholds and suppression included, with the classes of COCO
and random weights: what a network computes does not depend on them, and with one score threshold for all few
boxes reach the suppression, as with trained ones. The detectors take turns.

Prints a table of parameters, billions of floating-point operations and milliseconds, with the test score that
the experiment of the ladder has last reached on the drawn COCO, where it was run, and writes
`benchmarks/results/detection_speed.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from _harness import Row, report, seconds
from cv_pipelines.models import builder

SIZE, CLASSES, ROUNDS = 320, 80, 40
REPORTS = Path(__file__).parent.parent / "data/08_reporting"

OURS: dict[str, tuple[str, dict[str, Any], str]] = {
    "yolo_v3_tiny": ("yolo_v3_tiny", {}, ""),
    "yolo_v3_tiny, half the width": ("yolo_v3_tiny", {"width": 0.5}, "ladder_yolo_v3_tiny"),
    "yolo_v5, width 0.25": ("yolo_v5", {"width": 0.25}, "ladder_yolo_v5"),
    "yolo_v5, width 0.5": ("yolo_v5", {"width": 0.5}, ""),
}
"""What it is called here: the model's name, its options, the experiment that trains it."""

PEER = "torchvision's SSDlite320"


def detectors() -> dict[str, nn.Module]:
    """Build all of them, the peer last."""
    made: dict[str, nn.Module] = {
        label: builder(name)(3, CLASSES, size=SIZE, **options) for label, (name, options, _) in OURS.items()
    }
    peer = ssdlite320_mobilenet_v3_large(
        weights=None,
        weights_backbone=None,
        num_classes=CLASSES + 1,  # with the background
        image_mean=[0.0, 0.0, 0.0],
        image_std=[1.0, 1.0, 1.0],
        **{"score_thresh": 0.05, "nms_thresh": 0.5, "detections_per_img": 100},  # as ours
    )
    return {label: model.eval() for label, model in (made | {PEER: peer}).items()}


def operations(model: nn.Module, image: torch.Tensor) -> float:
    """Count the operations of one image, in 10⁹; a product and its sum are two."""
    with FlopCounterMode(display=False) as counter:
        model([image])
    return counter.get_total_flops() / 1e9


def score(experiment: str) -> str:
    """Return the experiment's last map_50, or a dash."""
    path = REPORTS / experiment / "metrics.json"
    if not experiment or not path.exists():
        return "–"
    return f"{json.loads(path.read_text(encoding='utf8'))['values']['map_50']:.3f}"


def main() -> None:
    """Measure all detectors on the same image."""
    torch.manual_seed(0)
    image, models = torch.randn(3, SIZE, SIZE), detectors()
    with torch.inference_mode():
        runs: list[Callable[[], object]] = [lambda m=model: m([image]) for model in models.values()]  # type: ignore[misc]
        taken = dict(zip(models, seconds(runs, ROUNDS), strict=True))
        print(f"{'detector':<32}{'parameters':>12}{'GFLOPs':>9}{'ms':>8}{'map_50':>9}")
        for label, model in models.items():
            count = sum(parameter.numel() for parameter in model.parameters())
            found = score(OURS[label][2]) if label in OURS else "–"
            cost = operations(model, image)
            print(f"{label:<32}{count:>12,}{cost:>9.2f}{1000 * taken[label]:>8.1f}{found:>9}")
    rows = [
        Row(f"{label}: an image of {SIZE} pixels", "s", taken[label], taken[PEER], PEER) for label in OURS
    ]
    report("detection_speed", rows)


if __name__ == "__main__":
    main()
