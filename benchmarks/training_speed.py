"""What our engine costs beside a bare PyTorch loop, Lightning's Trainer as it comes, torchvision's loop.

    python benchmarks/training_speed.py [--rounds 5] [--only har|resnet18|states]

The same model, data in memory, batches and step rule on each side, no augmentation, float32, on the CPU. An
epoch is from the last step of one to the last step of the next, so that all between them counts, and building
the model and keeping it do not. Of each of its steps it is the median that counts, over all epochs and turns:
on a shared machine single steps take twice their time.

Then what it costs to keep the state at every hundredth of an epoch of Tiny ImageNet (100,000 images of 64×64,
3,125 steps): our engine with it and without, ResNet-18 and AdamW, a state of 134 MB.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

from _harness import Row, report
from cv_pipelines.config import ExperimentConfig
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.schema import Categories, annotations_table, categories_of, samples_table
from cv_pipelines.models import MODELS, builder
from cv_pipelines.training.fit import Job, fit_seed

EPOCHS, LR, HUNDREDTH, STATES = 3, 1e-3, 31, 4
MODELS["resnet18"] = "training_speed:build_resnet18"


def build_resnet18(in_channels: int, n_classes: int) -> nn.Module:
    """Return torchvision's ResNet-18; RGB only."""
    assert in_channels == 3
    return resnet18(num_classes=n_classes)


@dataclass(frozen=True)
class Case:
    """A model and what it is trained on.

    Attributes:
        name: of the rows.
        task: key of `TASKS`.
        model: as in a parameters file.
        data: 10 classes.
        batch: samples a step.
    """

    name: str
    task: str
    model: dict[str, Any]
    data: SourceData
    batch: int

    def module(self) -> nn.Module:
        """Build the model anew."""
        options = {key: value for key, value in self.model.items() if key != "name"}
        torch.manual_seed(0)
        return builder(self.model["name"])(self.data.channels, 10, **options)

    def loader(self) -> DataLoader[Any]:
        """Return the samples as a plain loop would have them: normalised tensors."""
        if self.data.kind == "signal":
            inputs = torch.from_numpy(self.data.arrays["signals"])
        else:
            pixels = torch.from_numpy(self.data.arrays["images"]).permute(0, 3, 1, 2).float()
            inputs = ((pixels - 128) / 64).contiguous()
        labels = torch.tensor([row[0] for row in self.data.samples["labels"]])
        return DataLoader(TensorDataset(inputs, labels), self.batch, shuffle=True, drop_last=True)


def source(array: str, values: np.ndarray) -> SourceData:
    """Return drawn samples as a source."""
    channels = values.shape[-1] if array == "images" else values.shape[1]
    rows = [
        {"sample_id": f"s{i}", "row": i, "split": "train", "group": f"g{i}", "labels": [i % 10]}
        | {"content_hash": f"{i:032x}", "width": 64, "height": 64}
        for i in range(len(values))
    ]
    statistics = {"mean": [128.0] * channels, "std": [64.0] * channels}
    if array == "signals":
        statistics = {"mean": [0.0] * channels, "std": [1.0] * channels}
    categories = Categories(labels=categories_of([str(i) for i in range(10)]))
    return SourceData(
        samples_table(rows), annotations_table([]), categories, {array: values}, None, statistics
    )


def pictures(count: int) -> Case:
    """Draw images of 64×64, as Tiny ImageNet has them."""
    images = np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    return Case("ResNet-18, 64×64", "classification", {"name": "resnet18"}, source("images", images), 32)


def cases() -> dict[str, Case]:
    """Draw 384 images and 960 windows of 6×128, as UCI HAR has them."""
    windows = np.random.default_rng(0).standard_normal((960, 6, 128)).astype(np.float32)
    inception = {"name": "inception_1d", "filters": 24, "kernels": [5, 11, 21], "blocks": 5}
    return {
        "resnet18": pictures(384),
        "har": Case("HAR CNN, 6×128", "activity", inception, source("signals", windows), 64),
    }


def ours(case: Case, epochs: int, folder: Path, **settings: Any) -> None:
    """Train with `fit_seed`, everything as it is by default but for some settings."""
    optimizer = {"name": "adamw", "lr": LR, "weight_decay": 0.0}
    train = {"epochs": epochs, "batch_size": case.batch, "optimizer": optimizer, "device": "cpu"}
    train |= {"schedule": {"name": "constant"}, "fit_on": "train_val", "select": "last"} | settings
    config = {"task": case.task, "source": "drawn", "model": case.model, "train": train}
    fit_seed(Job("speed", ExperimentConfig.model_validate(config), case.data, folder), 0)


def bare(case: Case, epochs: int, folder: Path) -> None:
    """Train with the loop that a tutorial would write."""
    del folder
    model, loader = case.module(), case.loader()
    optimizer = torch.optim.AdamW(model.parameters(), LR, weight_decay=0.0)
    for _ in range(epochs):
        for x, y in loader:
            loss = cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


class Module(L.LightningModule):
    """What Lightning's first example does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss, logged."""
        del batch_idx
        loss = cross_entropy(self.model(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the step rule."""
        return torch.optim.AdamW(self.parameters(), LR, weight_decay=0.0)


def lightning(case: Case, epochs: int, folder: Path) -> None:
    """Train with Lightning's Trainer as it comes: its own checkpoints, progress bar and logger."""
    trainer = L.Trainer(max_epochs=epochs, accelerator="cpu", devices=1, default_root_dir=folder)
    trainer.fit(Module(case.module()), case.loader())


def torchvision_loop(case: Case, epochs: int, folder: Path) -> None:
    """Train as the loop of torchvision's references does: loss and two accuracies are followed each step."""
    del folder
    model, loader = case.module(), case.loader()
    optimizer = torch.optim.AdamW(model.parameters(), LR, weight_decay=0.0)
    for _ in range(epochs):
        meters: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=20))
        for step, (x, y) in enumerate(loader):
            started = time.perf_counter()
            output = model(x)
            loss = cross_entropy(output, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.inference_mode():
                hits = output.topk(5, 1).indices == y[:, None]
                meters["acc1"].append(hits[:, :1].float().sum().item() * 100 / len(y))
                meters["acc5"].append(hits.float().sum().item() * 100 / len(y))
            meters["loss"].append(loss.item())
            meters["img/s"].append(len(y) / (time.perf_counter() - started))
            if step % 10 == 0:
                logging.debug("%s", {name: median(values) for name, values in meters.items()})


def step_seconds(side: Callable[[Case, int, Path], None], case: Case, epochs: int) -> np.ndarray:
    """Time the steps of a side but the first, each from the end of the step before it."""
    ends: list[float] = []
    hook = register_optimizer_step_post_hook(lambda *_: ends.append(time.perf_counter()))
    with TemporaryDirectory() as folder:
        side(case, epochs, Path(folder))
    hook.remove()
    assert len(ends) == epochs * (len(case.data.samples) // case.batch)
    return np.diff(ends)


def epochs_of(side: Callable[[Case, int, Path], None], case: Case) -> np.ndarray:
    """Time the steps of all epochs but the first, (epochs, steps)."""
    steps = len(case.data.samples) // case.batch
    return step_seconds(side, case, EPOCHS)[steps - 1 :].reshape(EPOCHS - 1, steps)


def hundredths_of(every: int | None, case: Case) -> np.ndarray:
    """Time the steps of hundredths of an epoch, (hundredths, steps), each begun by keeping the state."""

    def side(case: Case, epochs: int, folder: Path) -> None:
        """Train, the state kept or not."""
        ours(case, epochs, folder, checkpoint_every=every)

    return step_seconds(side, case, 1)[HUNDREDTH - 1 : -1].reshape(STATES - 1, HUNDREDTH)


def in_turns(sides: Mapping[str, Callable[[], np.ndarray]], title: str, rounds: int) -> dict[str, float]:
    """Time sides in turns; return the seconds of what each gives the steps of, the median of each step."""
    taken: dict[str, list[np.ndarray]] = {name: [] for name in sides}
    for turn in range(rounds):
        for name in list(sides) if turn % 2 else list(sides)[::-1]:
            taken[name].append(sides[name]())
        print(title, {name: round(typical(times[-1:]), 3) for name, times in taken.items()}, flush=True)
    return {name: typical(times) for name, times in taken.items()}


def typical(times: list[np.ndarray]) -> float:
    """Return the sum over steps of the median over all rows."""
    return float(np.median(np.concatenate(times), axis=0).sum())


def main() -> None:
    """Run all sides and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["har", "resnet18", "states"])
    options = parser.parse_args()
    rounds, only = options.rounds, options.only
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning").setLevel(logging.ERROR)
    rows = []
    for name, case in cases().items():
        if only not in (None, name):
            continue
        peers: dict[str, Any] = {"a bare loop": (bare, 0.97), "Lightning's Trainer": (lightning, 1.0)}
        peers |= {"torchvision's loop": (torchvision_loop, 1.0)} if case.data.kind == "image" else {}
        sides = {"ours": ours} | {peer: side for peer, (side, _) in peers.items()}
        timed = {side: partial(epochs_of, function, case) for side, function in sides.items()}
        epoch = in_turns(timed, case.name, rounds)
        for peer, (_, must) in peers.items():
            rows.append(Row(f"epoch of {case.name}", "s", epoch["ours"], epoch[peer], peer, must))
    if only in (None, "states"):
        rows.append(states(rounds))
    report("training_speed", rows)


def states(rounds: int) -> Row:
    """Time hundredths of an epoch, the state kept and not."""
    case = pictures(32 * (STATES * HUNDREDTH + 1))
    steps = {"kept": partial(hundredths_of, HUNDREDTH, case), "not kept": partial(hundredths_of, None, case)}
    taken = in_turns(steps, "states", rounds)
    what = f"{HUNDREDTH} steps, the state kept once"
    return Row(what, "s", taken["kept"], taken["not kept"], "not kept", 1 / 1.03)


if __name__ == "__main__":
    main()
