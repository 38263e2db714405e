"""The sliding window crop by crop and as one convolution: the same scores, how much faster?

One image a time, on a CPU, for images of several sizes: the resizing to all scales, the scores of all windows
and the choice of detections; the two take turns. Weights are random, which changes no time but that of the
suppression. Prints a table and writes `benchmarks/results/detection_sliding.json`; a ratio above 1 says how
many times faster the convolution is.
"""

from __future__ import annotations

import sys
from functools import partial

import torch
from torch import nn

from _harness import Row, report, seconds
from cv_pipelines.models import builder

SIZES = (128, 256)
SIDES = (25.0, 31.0, 39.0, 49.0)
CLASSES = 6


def both() -> tuple[nn.Module, nn.Module]:
    """Build the two with the same weights."""
    torch.manual_seed(0)
    build = builder("sliding_window")
    convolution = build(3, CLASSES, sides=SIDES, sliding="convolution", score_threshold=0.5).eval()
    crops = build(3, CLASSES, sides=SIDES, sliding="crops", score_threshold=0.5).eval()
    crops.load_state_dict(convolution.state_dict())
    return convolution, crops


def main() -> None:
    """Run all sizes; `python benchmarks/detection_sliding.py ROUNDS` (3)."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    torch.set_num_threads(1)
    convolution, crops = both()
    rows = []
    for size in SIZES:
        image = [torch.randn(3, size, size, generator=torch.Generator().manual_seed(1))]
        with torch.inference_mode():
            ((one, boxes),), ((other, _),) = convolution.windows(image), crops.windows(image)
            assert torch.allclose(one, other, atol=1e-4)
            fast, slow = seconds([partial(convolution, image), partial(crops, image)], rounds)
        what = f"an image of {size} px, {len(boxes):,} windows at {len(SIDES)} scales"
        rows.append(Row(what, "ms", 1e3 * fast, 1e3 * slow, "the same classifier, crop by crop", 2.0))
    report("detection_sliding", rows)


if __name__ == "__main__":
    main()
