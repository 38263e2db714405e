"""Damage guided by coverage: atheris changes one file of text at a time and keeps what reaches new lines.

atheris is no dependency: where it is not installed this mode says so and is left out.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from fuzzing.results import Results

TARGETS = {
    "coco": "annotations/instances_train2017.json",
    "coco, keypoints": "annotations/person_keypoints_train2017.json",
    "coco, captions": "annotations/captions_train2017.json",
    "voc": "VOCdevkit/VOC2012/Annotations/*.xml",
    "camvid": "CamVid/train.txt",
    "camvid, 32 colours": "label_colors.txt",
    "oxford_pets": "annotations/trainval.txt",
    "imagenet": "LOC_val_solution.csv",
    "imagenet, devkit": "ILSVRC2012_validation_ground_truth.txt",
    "tiny_imagenet": "val_annotations.txt",
    "idx": "train-images-idx3-ubyte",
    "hapt": "labels.txt",
    "uci_har": "y_train.txt",
}
"""Case to the file that is changed, the first that fits; formats that are all images have none."""

LONGEST = 8192
"""Bytes of an input at most."""


def instrument() -> bool:
    """Import the readers with counters of their branches; to be called before anything else imports them.

    Returns:
        Whether atheris is installed.
    """
    try:
        import atheris
    except ImportError:
        return False
    with atheris.instrument_imports(include=["cv_pipelines.sources", "cv_pipelines.data"]):
        from cv_pipelines.sources import READERS, reader

        for name in READERS:
            reader(name)
    return True


def explore(
    target: Path, inputs: int, seed: int, attempt: Callable[[], str], done: Callable[[Results], None]
) -> None:
    """Change a file again and again; does not return, for libFuzzer ends with its process.

    Args:
        target: the file.
        inputs: how many.
        seed: of the changes.
        attempt: reads the data set.
        done: called at the end.
    """
    import atheris

    results = Results()
    corpus = target.with_name(target.name + ".seeds")
    corpus.mkdir()
    shutil.copy(target, corpus)

    def once(data: bytes) -> None:
        """Read the data set with the file changed; goes on after a find."""
        if results.inputs == inputs:
            done(results)
            os._exit(0)
        target.write_bytes(data)
        results.add(attempt, lambda: f"{target.name}: {data!r}")

    # Time and memory have our own bounds, which leave the process alive.
    bounds = ["-timeout=0", "-rss_limit_mb=0", "-malloc_limit_mb=0"]
    options = [f"-seed={seed + 1}", f"-max_len={LONGEST}", "-verbosity=0", *bounds]
    atheris.Setup([sys.argv[0], *options, str(corpus)], once)
    atheris.Fuzz()
