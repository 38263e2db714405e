"""Photographs on their way to the GPU: sizes from headers, decoding with augmentation, the packed cache.

The peers are Pillow and torchvision's reference pipeline for training (Pillow decodes, RandomResizedCrop of
224, mirror, normalise) in a DataLoader of the same workers and batches: one worker, and as many as there are
processors. The photographs are those below CV_PIPELINES_RAW (VOC, COCO, ImageNet), or else two that come with
scikit-learn.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from _harness import Row, report, seconds
from cv_pipelines.config import Cache, Named
from cv_pipelines.data.augment import Chain
from cv_pipelines.data.datasets import EpochSampler, SampleDataset, SourceData
from cv_pipelines.data.inspection import inspect_image
from cv_pipelines.data.jpeg import jpeg_size
from cv_pipelines.data.memory import keep_freed_memory
from cv_pipelines.data.packing import packed
from cv_pipelines.data.preprocessing import Normalize, Preprocessing
from cv_pipelines.data.schema import Categories
from cv_pipelines.data.transport import with_workers
from cv_pipelines.tasks.base import Task

COUNT, BATCH, SIDE, CACHED_SIDE = 1024, 32, 224, 256
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def photographs(folder: Path) -> list[Path]:
    """Return colour photographs as JPEG files."""
    raw = os.environ.get("CV_PIPELINES_RAW")
    found = [
        path
        for name in ("voc", "coco", "imagenet")
        for path in (sorted(Path(raw, name).rglob("*.[jJ][pP]*[gG]")) if raw else [])
        if Image.open(path).mode == "RGB"
    ]
    for number, pixels in enumerate([] if found else load_sample_images().images):
        found.append(folder / f"{number}.jpg")
        Image.fromarray(pixels).save(found[-1], quality=92)
    return found


class Reference(Dataset[Any]):
    """Torchvision's reference for training on ImageNet: Pillow images through `transforms`."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(SIDE),
                transforms.RandomHorizontalFlip(),
                transforms.PILToTensor(),
                transforms.ConvertImageDtype(torch.float),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with open(self.paths[index], "rb") as file:
            return self.transform(Image.open(file).convert("RGB")), 0


def source(paths: list[Path]) -> SourceData:
    """Return the photographs as a source."""
    sizes = [jpeg_size(path) or (0, 0) for path in paths]
    columns: dict[str, Any] = {
        "sample_id": [str(number) for number in range(len(paths))],
        "media": [str(path) for path in paths],
        "target": None,
        "split": "train",
        "width": [width for width, _ in sizes],
        "height": [height for _, height in sizes],
        "labels": [[0]] * len(paths),
        "content_hash": [str(number) for number in range(len(paths))],
        "row": -1,
    }
    return SourceData(
        pd.DataFrame(columns), pd.DataFrame({"sample_id": []}), Categories(labels=[]), root=Path("/")
    )


def peer_epoch(paths: list[Path], workers: int) -> Callable[[], None]:
    """Return a function that passes over the reference's loader once."""
    loader = DataLoader(
        Reference(paths), BATCH, shuffle=True, num_workers=workers, persistent_workers=True, drop_last=True
    )

    def epoch() -> None:
        """Take every batch."""
        for images, _ in loader:
            assert images.shape == (BATCH, 3, SIDE, SIDE)

    return epoch


def our_epoch(data: SourceData, workers: int) -> Callable[[], None]:
    """Return a function that passes over our loader once, as a training of ours does."""
    steps = [
        Named.model_validate({"name": "resized_crop", "size": [SIDE, SIDE], "scale": [0.08, 1.0]}),
        Named(name="mirror"),
    ]
    dataset = SampleDataset(data, "label", [SIDE, SIDE], Chain(steps))
    sampler = EpochSampler(len(dataset), 0)
    loader = DataLoader(
        dataset,
        BATCH,
        sampler=sampler,
        persistent_workers=True,
        drop_last=True,
        **with_workers(workers, Task.collate),
    )
    mean, std = ([255 * value for value in values] for values in (MEAN, STD))
    normalize = Normalize(Preprocessing(size=None, mean=mean, std=std))

    def epoch() -> None:
        """Take every batch and normalise it, which in a training is the device's work."""
        for batch in loader:
            assert normalize(batch["image"]).shape == (BATCH, 3, SIDE, SIDE)

    return epoch


def load(path: Path) -> None:
    """Decode a file with Pillow and throw it away."""
    with Image.open(path) as image:
        image.load()


def main() -> None:
    """Run all sides and print the ratios."""
    keep_freed_memory()  # as `fit` does, for both sides
    torch.set_num_threads(1)  # two cores: more threads would spin while the workers want to run
    with tempfile.TemporaryDirectory() as folder:
        photos = photographs(Path(folder))
        print(f"{len(photos)} photographs, {np.mean([p.stat().st_size for p in photos]) / 1000:.0f} kB each")
        paths = [photos[number % len(photos)] for number in range(COUNT)]
        pillow = lambda: [Image.open(path).size for path in photos]  # noqa: E731
        if [jpeg_size(path) for path in photos] != pillow():
            raise SystemExit("the sizes differ from Pillow's")
        headers = seconds([lambda: [jpeg_size(path) for path in photos], pillow])
        look = photos[:100]
        inspected = seconds(
            [
                lambda: [inspect_image(Path("/"), str(path)[1:]) for path in look],
                lambda: list(map(load, look)),
            ],
            5,
        )
        data = source(paths)
        cached = packed(data, ["train"], Cache(side=CACHED_SIDE), Path(folder), masks=False)
        epochs = {
            workers: seconds(
                [our_epoch(data, workers), our_epoch(cached, workers), peer_epoch(paths, workers)], 5
            )
            for workers in sorted({1, os.cpu_count() or 1})
        }
    each, name = 1000 / COUNT, "torchvision's reference (Pillow)"
    scan = [1e6 * value / len(photos) for value in headers]
    wholly = [1e3 * value / len(look) for value in inspected]
    rows = [
        Row("size of a JPEG from its header", "µs", scan[0], scan[1], "PIL.Image.open", 2.0),
        Row("inspect a file: read, hash, decode", "ms", wholly[0], wholly[1], "Pillow, no hash"),
    ]
    for workers, (decoded, kept, peer) in epochs.items():
        what = f"workers: {workers}, an image: decode, crop, mirror, normalise"
        rows.append(Row(what, "ms", decoded * each, peer * each, name, 1.8))
        rows.append(Row(f"{what}, packed cache", "ms", kept * each, peer * each, name, 8.0))
    report("data_images", rows)


if __name__ == "__main__":
    main()
