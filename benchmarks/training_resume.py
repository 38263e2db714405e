"""Kills trainings at random moments, starts them again, and compares with undisturbed ones to the last bit.

    python benchmarks/training_resume.py [--kills 60] [--seed 0]

Each training runs in a process of its own, which is sent SIGKILL, SIGTERM or SIGINT; what is compared is the
best and the last weights, the optimisers, the schedules, the progress counters, the best score, the history,
and what MLflow holds: one run, FINISHED, and every point of every curve once.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from multiprocessing.context import ForkProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.schema import Categories, annotations_table, categories_of, samples_table
from cv_pipelines.data.statistics import train_statistics
from cv_pipelines.io.tracking import Tracker, TrackingConfig
from cv_pipelines.training.fit import Job, fit_seed

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
COMPARED = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "epoch", "global_step")
IMAGE = {"name": "residual_cnn", "channels": [8, 16], "blocks": 1, "dropout": 0.3}
MIXED = [{"name": "small_image"}, {"name": "mixup"}]
FCOS = {
    **{"name": "fcos", "weights": "none", "min_size": 64, "max_size": 64},
    **{"first_stride": 16, "width": 32, "head_convs": 1},
}
SIGNAL = {
    "name": "inception_1d",
    "filters": 4,
    "kernels": [3, 5],
    "blocks": 2,
    "pool_after": [1],
    "dropout": 0.2,
}
CASES: dict[str, dict[str, Any]] = {
    "activity": {"model": SIGNAL, "augment": {"name": "signal"}, "train": {"epochs": 8, "batch_size": 16}},
    "classification": {
        "model": IMAGE,
        "augment": MIXED,
        "train": {"epochs": 4, "batch_size": 16, "workers": 2, "ema": 0.95, "early_stopping": 5},
    },
    "detection": {"model": FCOS, "augment": {"name": "boxes"}, "train": {"epochs": 2, "batch_size": 4}},
    "gan": {
        "model": {"name": "dcgan", "size": 16, "latent": 8, "width": 8},
        "inputs": {"normalize": "half"},
        "embedder": "none",
        "train": {"epochs": 8, "batch_size": 16, "select": "last"},
    },
}
fork = multiprocessing.get_context("fork")


def source(task: str, count: int = 320) -> SourceData:
    """Draw a source of a task: waves, squares left or right, rectangles."""
    rng = np.random.default_rng(0)
    labels = [i % 2 for i in range(count)]
    rows = [
        {"sample_id": f"s{i}", "row": i, "split": "val" if i % 5 == 0 else "train", "group": f"g{i}"}
        | {"labels": [] if task == "detection" else [labels[i]], "content_hash": f"{i:032x}"}
        | {"width": 64, "height": 64}
        for i in range(count)
    ]
    names, objects = categories_of(["one", "other"]), []
    if task == "activity":
        time_axis = np.linspace(0, 2 * np.pi, 64)
        waves = np.stack([np.sin(time_axis * (2 + 4 * label)) for label in labels])
        arrays = {"signals": (waves[:, None] + rng.standard_normal((count, 6, 64))).astype(np.float32)}
    elif task == "detection":
        images = np.full((count, 64, 64, 3), 30, np.uint8)
        for i, image in enumerate(images):
            x, y, w, h = 8 + i % 20, 12, 24, 20 + i % 15
            image[y : y + h, x : x + w] = 220 if i % 2 else (220, 30, 30)
            box = {"x": x, "y": y, "w": w, "h": h, "area": w * h}
            objects.append({"sample_id": f"s{i}", "category": i % 2, **box})
        arrays = {"images": images}
    else:
        arrays = {"images": rng.integers(0, 160, (count, 16, 16), dtype=np.uint8)}
        for image, label in zip(arrays["images"], labels, strict=True):
            image[:, 8 * label : 8 * label + 8] += 80
    categories = Categories(objects=names) if task == "detection" else Categories(labels=names)
    data = SourceData(samples_table(rows), annotations_table(objects), categories, arrays)
    return SourceData(data.samples, data.annotations, categories, arrays, None, train_statistics(data))


def job(task: str, folder: Path, **train: Any) -> Job:
    """Describe a case's training."""
    case = CASES[task]
    optimizer = {"name": "adam" if task == "gan" else "adamw", "lr": 0.003}
    fitted = {"optimizer": optimizer, "device": "cpu", "checkpoint_every": 2} | case["train"] | train
    config = {"task": task, "source": "drawn"} | case | {"train": fitted}
    data = source(task, 80 if task == "detection" else 320)
    return Job(task, ExperimentConfig.model_validate(config), data, folder)


def tracker(folder: Path) -> Tracker:
    """Open the MLflow database of a training, which lies in its folder."""
    return Tracker(TrackingConfig(tracking_uri="sqlite:///mlflow.db", experiment="kills"), folder, pause=0.1)


def train(task: str, folder: Path) -> None:
    """Fit a case, tracked as in a `kedro run`, and leave what is to be compared; the body of a process."""
    logging.disable(logging.CRITICAL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what a process that is killed has to say
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tracked, status, case = tracker(folder), "KILLED", job(task, folder)
    try:
        tracked.begin(task, [task], {task: folder})
        tracked.start(task, case.config.model_dump())
        fit_tracked(tracked, case)
        status = "FINISHED"
    finally:
        tracked.end_all(status)


def fit_tracked(tracked: Tracker, case: Job) -> None:
    """Fit a case and enter its curves."""
    folder = case.folder
    checkpoint, rows = fit_seed(case, 0)
    tracked.log_history(case.experiment, pd.DataFrame(rows))
    kept = {"states": checkpoint.states, "rows": rows, "best": (checkpoint.meta.epoch, checkpoint.meta.score)}
    torch.save(kept, folder / "result.pt")


def started(task: str, folder: Path) -> ForkProcess:
    """Start a training in a process of its own; its database is a copy, for making one takes long."""
    if not folder.exists():
        folder.mkdir(parents=True)
        shutil.copy(folder.parent.parent / "mlflow.db", folder)
    process = fork.Process(target=train, args=(task, folder))
    process.start()
    return process


def curves(folder: Path) -> list[tuple[str, dict[str, list[tuple[int, float]]]]]:
    """Return the runs that MLflow holds of a training: status, and the points of each curve as they came."""
    tracked = tracker(folder)
    found = []
    for run in tracked.client.search_runs([tracked.experiment_id]):
        names = sorted(run.data.metrics)
        histories = {name: tracked.client.get_metric_history(run.info.run_id, name) for name in names}
        points = {name: sorted((m.step, m.value) for m in history) for name, history in histories.items()}
        found.append((run.info.status, points))
    return found


def outcome(folder: Path) -> dict[str, Any]:
    """Read what a finished training left."""
    state = torch.load(folder / "seed_0" / "last.ckpt", weights_only=False)
    # Of the best, the score is compared; the rest of its keeper is paths and the last figure seen.
    state["callbacks"] = {k: v for k, v in state["callbacks"].items() if "ModelCheckpoint" not in k}
    left = torch.load(folder / "result.pt", weights_only=False) | {key: state[key] for key in COMPARED}
    return left | {"mlflow": curves(folder)}


def differences(one: Any, two: Any, where: str = "") -> list[str]:
    """List where two nested containers differ, tensors by a single bit."""
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return [] if torch.equal(one, two) else [where]
    if isinstance(one, dict) and one.keys() == two.keys():
        return [d for k in one for d in differences(one[k], two[k], f"{where}/{k}")]
    if isinstance(one, list | tuple) and len(one) == len(two):
        pairs = enumerate(zip(one, two, strict=True))
        return [d for i, pair in pairs for d in differences(*pair, f"{where}/{i}")]
    return [] if repr(one) == repr(two) else [where]


def kill_case(task: str, kills: int, rng: random.Random, folder: Path) -> tuple[int, int, list[str], str]:
    """Kill a case's trainings so often; return kills, trainings, differences and how many of each signal."""
    began = time.monotonic()
    started(task, folder / "whole").join()
    length = time.monotonic() - began
    whole = outcome(folder / "whole")
    statuses = [status for status, points in whole["mlflow"] if points]
    assert statuses == ["FINISHED"], f"the undisturbed training is tracked as {statuses}"
    done, trainings, found, sent = 0, 0, [], dict.fromkeys(SIGNALS, 0)
    while done < kills:
        work = folder / f"cut_{trainings}"
        for _ in range(min(5, kills - done)):
            process = started(task, work)
            process.join(rng.uniform(0.05, 0.6) * length)
            if not process.is_alive():
                break
            number = SIGNALS[done % len(SIGNALS)]
            assert process.pid is not None
            signal_process(process, number)
            done, sent[number] = done + 1, sent[number] + 1
        if not (work / "result.pt").exists():
            started(task, work).join()
        trainings += 1
        found += differences(whole, outcome(work))
    return done, trainings, found, ", ".join(f"{n.name} {c}" for n, c in sent.items())


def signal_process(process: ForkProcess, number: signal.Signals) -> None:
    """Send a signal and wait for the end; one that is not heeded would be a defect of its own."""
    os.kill(process.pid or 0, number)
    process.join(60)
    assert not process.is_alive(), f"{number.name} did not end the training"


def main() -> None:
    """Print a row a task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rng = random.Random(given.seed)
    print(f"{'task':16}{'kills':>6}{'trainings':>11}  differences  signals")
    differing = 0
    with TemporaryDirectory() as place:
        _ = tracker(Path(place)).experiment_id  # makes the database
        for task in CASES:
            done, trainings, found, sent = kill_case(task, given.kills // len(CASES), rng, Path(place) / task)
            differing += len(found)
            print(f"{task:16}{done:6}{trainings:11}  {len(found):11}  {sent} {found[:3] or ''}", flush=True)
    raise SystemExit(differing > 0)


if __name__ == "__main__":
    main()
