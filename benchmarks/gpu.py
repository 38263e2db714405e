"""How fast trainings run on one GPU: ResNet-50 at 224², Faster R-CNN and RetinaNet at 800 pixels.

    python benchmarks/gpu.py [--steps 100] [--workers 12] [--tiny]

Needs the core alone, neither Kedro nor MLflow. ResNet-50 (bfloat16, channels last, compiled) is fed by our
loader from the packed cache and, as the peer, with one random batch that lies on the GPU already: what is
between them is what the data cost. The detectors train in our engine and, as the peer, in a loop like that
of torchvision's references (float32 or, with `--amp`, float16; a DataLoader of Pillow images), on the same
drawn photographs. `--tiny` runs a few small steps, on a CPU if need be, to see that all works.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import models
from torchvision.models import detection
from torchvision.transforms.v2 import functional as F

from _harness import Row, report
from cv_pipelines.config import Cache, Named
from cv_pipelines.data.augment import Chain
from cv_pipelines.data.datasets import EpochSampler, SampleDataset, SourceData
from cv_pipelines.data.memory import keep_freed_memory
from cv_pipelines.data.packing import packed
from cv_pipelines.data.preprocessing import Normalize, Preprocessing
from cv_pipelines.data.schema import Categories, annotations_table, categories_of, samples_table
from cv_pipelines.tasks.base import Task
from cv_pipelines.tasks.detection import Detection

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
CLASSES, LR = 20, 1e-3


@dataclass(frozen=True)
class Scale:
    """How much is done.

    Attributes:
        device: that it runs on.
        steps: that are timed, after a tenth as many that are not.
        workers: loader processes.
        batch: images a step of ResNet-50.
        side: of its images, in pixels.
        detector_batch: images a step of a detector.
        shorter: side of a detector's images, in pixels.
        images: that are drawn.
    """

    device: str
    steps: int
    workers: int
    batch: int = 512
    side: int = 224
    detector_batch: int = 8
    shorter: int = 800
    images: int = 2000


def draw(folder: Path, scale: Scale) -> SourceData:
    """Draw smooth pictures of 500×375 with three boxes each, as JPEG files, and their tables."""
    rng = np.random.default_rng(0)
    rows, objects = [], []
    for number in range(scale.images):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number}.jpg", quality=92)
        rows.append(
            {"sample_id": f"s{number}", "media": f"{number}.jpg", "split": "train", "group": f"g{number}"}
            | {"labels": [number % CLASSES], "content_hash": f"{number:032x}", "width": 500, "height": 375}
        )
        for category in rng.integers(0, CLASSES, 3).tolist():
            x, y, w, h = (*rng.integers(0, 200, 2).tolist(), *rng.integers(30, 170, 2).tolist())
            box = {"x": x, "y": y, "w": w, "h": h, "area": w * h}
            objects.append({"sample_id": f"s{number}", "category": category, **box})
    names = categories_of([str(number) for number in range(CLASSES)])
    categories = Categories(labels=names, objects=names)
    return SourceData(samples_table(rows), annotations_table(objects), categories, {}, folder)


def forever(loader: DataLoader[Any]) -> Iterator[Any]:
    """Yield batches without end."""
    epoch = 0
    while True:
        loader.sampler.set_epoch(epoch) if isinstance(loader.sampler, EpochSampler) else None
        yield from loader
        epoch += 1


def rate(step: Callable[[], int], scale: Scale) -> float:
    """Return images a second of a step that tells how many it took."""
    wait = torch.cuda.synchronize if scale.device == "cuda" else lambda: None
    for _ in range(max(scale.steps // 10, 2)):
        step()
    wait()
    started = time.perf_counter()
    count = sum(step() for _ in range(scale.steps))
    wait()
    return count / (time.perf_counter() - started)


def resnet_steps(data: SourceData, folder: Path, scale: Scale) -> list[Callable[[], int]]:
    """Return a step fed from the packed cache, and one fed with the same random batch each time."""
    model = models.resnet50(num_classes=1000).to(scale.device, memory_format=torch.channels_last)
    trained = torch.compile(model) if scale.device == "cuda" else model
    optimizer = torch.optim.SGD(model.parameters(), LR, momentum=0.9)
    normalize = Normalize(Preprocessing(size=None, mean=MEAN, std=STD)).to(scale.device)
    cached = packed(data, ["train"], Cache(side=256), folder, masks=False)
    cut = {"name": "resized_crop", "size": [scale.side] * 2, "scale": [0.08, 1.0]}
    chain = Chain([Named.model_validate(cut), Named(name="mirror")])
    dataset = SampleDataset(cached, "label", None, chain)
    loader = DataLoader(
        dataset,
        scale.batch,
        sampler=EpochSampler(len(dataset), 0),
        num_workers=scale.workers,
        persistent_workers=scale.workers > 0,
        pin_memory=scale.device == "cuda",
        drop_last=True,
        collate_fn=Task.collate,
    )
    batches = forever(loader)
    x = torch.randn(scale.batch, 3, scale.side, scale.side, device=scale.device)
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.randint(1000, (scale.batch,), device=scale.device)

    def learn(images: Tensor, labels: Tensor) -> int:
        """Take one step."""
        with torch.autocast(scale.device, torch.bfloat16):
            loss = cross_entropy(trained(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return len(labels)

    def fed() -> int:
        """Take one step on the next batch of the cache."""
        batch = next(batches)
        images = batch["image"].to(scale.device, non_blocking=True)
        labels = batch["label"].to(scale.device, non_blocking=True)
        return learn(normalize(images, torch.channels_last), labels)

    return [fed, partial(learn, x, y)]


class Photographs(Dataset[Any]):
    """Images and targets as torchvision's reference for detection reads them: Pillow, float, a mirror."""

    def __init__(self, data: SourceData) -> None:
        self.data = data
        boxes = data.annotations.groupby("sample_id", sort=False)
        self.objects = {key: rows[["x", "y", "w", "h", "category"]].to_numpy() for key, rows in boxes}

    def __len__(self) -> int:
        return len(self.data.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        sample = self.data.samples.iloc[index]
        image = F.to_dtype(
            F.pil_to_tensor(Image.open(Path(self.data.root or ".") / sample["media"])), scale=True
        )
        rows = torch.from_numpy(self.objects[sample["sample_id"]].astype(np.float32))
        boxes = torch.cat([rows[:, :2], rows[:, :2] + rows[:, 2:4]], 1)
        if torch.rand(()) < 0.5:
            image = image.flip(-1)
            boxes[:, [0, 2]] = image.shape[-1] - boxes[:, [2, 0]]
        return image, {"boxes": boxes, "labels": rows[:, 4].long() + 1}


def side_by_side(items: list[Any]) -> tuple[Any, ...]:
    """Return the images and the targets of a batch, as they are."""
    return tuple(zip(*items, strict=True))


def detector_steps(name: str, data: SourceData, scale: Scale, amp: bool) -> list[Callable[[], int]]:
    """Return a step as our engine takes it, and one as torchvision's reference does."""
    build = {"faster_rcnn": detection.fasterrcnn_resnet50_fpn, "retinanet": detection.retinanet_resnet50_fpn}
    options = {"weights": None, "weights_backbone": None, "num_classes": CLASSES + 1}
    sides = {"min_size": scale.shorter, "max_size": round(scale.shorter * 1.667)}
    ours, theirs = (build[name](**options, **sides).to(scale.device) for _ in range(2))
    ours = ours.to(memory_format=torch.channels_last)
    ours.transform.image_mean, ours.transform.image_std = [0.0] * 3, [1.0] * 3
    common: dict[str, Any] = {"num_workers": scale.workers, "persistent_workers": scale.workers > 0}
    dataset = SampleDataset(data, "boxes", None, Chain([Named(name="mirror")]))
    sampler = EpochSampler(len(dataset), 0)
    our_batches = forever(
        DataLoader(dataset, scale.detector_batch, sampler=sampler, collate_fn=Detection.collate, **common)
    )
    peer_batches = forever(
        DataLoader(
            Photographs(data),
            scale.detector_batch,
            shuffle=True,
            collate_fn=side_by_side,
            **common,
        )
    )
    normalize = Normalize(Preprocessing(size=None, mean=MEAN, std=STD)).to(scale.device)
    rules = [torch.optim.SGD(model.parameters(), LR, momentum=0.9) for model in (ours, theirs)]

    def learn(model: nn.Module, rule: Any, images: Any, targets: Any, dtype: torch.dtype | None) -> Tensor:
        """Take one step; returns the loss."""
        with torch.autocast(scale.device, dtype, enabled=dtype is not None):
            loss: Tensor = sum(model(images, targets).values())  # type: ignore[assignment]
        rule.zero_grad()
        loss.backward()
        rule.step()
        return loss

    def moved(targets: Any) -> list[dict[str, Tensor]]:
        """Bring targets to the device."""
        return [{k: v.to(scale.device, non_blocking=True) for k, v in target.items()} for target in targets]

    def our_step() -> int:
        """Bytes go to the device and are normalised there; bfloat16, channels last; nothing waits."""
        batch = next(our_batches)
        images = [normalize(image.to(scale.device, non_blocking=True)) for image in batch["image"]]
        shifted = [target | {"labels": target["labels"] + 1} for target in moved(batch["targets"])]
        learn(ours, rules[0], images, shifted, torch.bfloat16)
        return len(images)

    def peer_step() -> int:
        """Floats go to the device; each step waits for the loss, which the reference logs."""
        images, targets = next(peer_batches)
        there = [image.to(scale.device) for image in images]
        learn(theirs, rules[1], there, moved(targets), torch.float16 if amp else None).item()
        return len(images)

    return [our_step, peer_step]


def main() -> None:
    """Run all and print the ratios; ours and the peer take turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--amp", action="store_true", help="give the reference loop of detectors float16")
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not given.tiny:
        raise SystemExit("no GPU here; --tiny runs on a CPU")
    scale = Scale(device, given.steps, given.workers)
    if given.tiny:
        scale = Scale(device, 2, 1, batch=4, side=64, detector_batch=2, shorter=96, images=24)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    keep_freed_memory()
    rows = []
    with TemporaryDirectory() as place:
        folder = Path(place)
        data = draw(folder, scale)
        cases = {"ResNet-50, packed cache": (resnet_steps(data, folder, scale), "a random batch", 0.95)}
        for name in ("faster_rcnn", "retinanet"):
            cases[name] = (detector_steps(name, data, scale, given.amp), "torchvision's loop", 1.2)
        for what, (steps, peer_name, must) in cases.items():
            turns = [[rate(step, scale) for step in steps] for _ in range(given.rounds)]
            ours, peer = (median(column) for column in zip(*turns, strict=True))
            print(f"{what}: {ours:.0f} img/s, {peer_name} {peer:.0f} img/s", flush=True)
            rows.append(Row(f"{what}: an image", "ms", 1000 / ours, 1000 / peer, peer_name, must))
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    print(f"{name}, torch {torch.__version__}")
    report("gpu_tiny" if given.tiny else "gpu", rows)


if __name__ == "__main__":
    main()
