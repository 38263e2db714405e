"""Tiny sources and experiments that many tests share: made once, treated as read-only."""

import multiprocessing
import os
import socket
import traceback
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.ranks import joined
from cv_pipelines.data.schema import Categories, annotations_table, categories_of, samples_table
from cv_pipelines.data.statistics import train_statistics

MODELS = {
    "activity": {"name": "inception_1d", "filters": 2, "kernels": [3, 5], "blocks": 2, "pool_after": [1]},
    "autoencoder": {"name": "conv_autoencoder", "channels": [4, 8], "blocks": 1, "code": 2},
    "classification": {"name": "residual_cnn", "channels": [4, 8], "blocks": 1, "dropout": 0.3},
    "detection": {
        "name": "fcos",
        "weights": "none",
        "min_size": 64,
        "max_size": 64,
        "first_stride": 16,
        "width": 32,
        "head_convs": 1,
    },
    "gan": {"name": "dcgan", "size": 16, "latent": 4, "width": 4},
    "landmarks": {"name": "landmark_net", "weights": "none", "first_stride": 8, "width": 16, "convs": 1},
    "segmentation": {"name": "unet", "channels": [4, 8]},
}
SECTIONS = {
    "activity": {"augment": {"name": "signal"}},
    "autoencoder": {"loss": {"mask": 0.5, "noise": 0.1}},
    "classification": {"augment": {"name": "small_image"}},
    "detection": {"augment": {"name": "boxes"}, "inputs": {"normalize": "packaged"}},
    "gan": {"inputs": {"normalize": "half"}, "embedder": "classification_toy"},
    "landmarks": {"augment": {"name": "mirror"}, "inputs": {"normalize": "packaged"}},
    "segmentation": {"augment": {"name": "scene", "crop": [16, 16]}},
}


def _splits(count):
    """Three fifths train, one fifth val, one fifth test."""
    train, held = count * 3 // 5, count // 5
    return ["train"] * train + ["val"] * held + ["test"] * (count - train - held)


def _rows(count, **columns):
    rows = [
        {
            "sample_id": f"s{i:02d}",
            "row": i,
            "split": split,
            "group": f"g{i:02d}",
            "labels": [],
            "content_hash": f"{i:032x}",
        }
        for i, split in enumerate(_splits(count))
    ]
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return samples_table(rows)


def _source(samples, categories, arrays, annotations=(), root=None):
    data = SourceData(samples, annotations_table(list(annotations)), categories, arrays, root)
    return replace(data, statistics=train_statistics(data))


@pytest.fixture(scope="session")
def image_source():
    """40 grey 16×16 images of two classes: the bright half is left or right."""
    rng = np.random.default_rng(0)
    labels = [i % 2 for i in range(40)]
    images = rng.integers(0, 60, (40, 16, 16), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 8 * label : 8 * label + 8] += 150
    samples = _rows(40, labels=[[v] for v in labels], width=[16] * 40, height=[16] * 40)
    return _source(samples, Categories(labels=categories_of(["left", "right"])), {"images": images})


@pytest.fixture(scope="session")
def signal_source():
    """40 windows (6, 32) of four subjects and two activities: slow and fast waves."""
    rng = np.random.default_rng(1)
    labels = [i % 2 for i in range(40)]
    time = np.linspace(0, 2 * np.pi, 32)
    waves = np.stack([np.sin(time * (2 if label == 0 else 6)) for label in labels])
    signals = (waves[:, None] + 0.1 * rng.standard_normal((40, 6, 32))).astype(np.float32)
    samples = _rows(40, labels=[[v] for v in labels], group=[f"subject {i // 2 % 4}" for i in range(40)])
    return _source(samples, Categories(labels=categories_of(["slow", "fast"])), {"signals": signals})


@pytest.fixture(scope="session")
def box_source():
    """10 dark 64×64 RGB images, each with one bright rectangle of class 0 or 1."""
    images = np.full((10, 64, 64, 3), 30, np.uint8)
    objects = []
    for i, image in enumerate(images):
        x, y, w, h = 8 + i, 12, 24, 20 + i
        image[y : y + h, x : x + w] = 220 if i % 2 else (220, 30, 30)
        objects.append(
            {"sample_id": f"s{i:02d}", "category": i % 2, "x": x, "y": y, "w": w, "h": h, "area": w * h}
        )
    samples = _rows(10, width=[64] * 10, height=[64] * 10)
    categories = Categories(objects=categories_of(["red", "white"]))
    return _source(samples, categories, {"images": images}, objects)


@pytest.fixture(scope="session")
def point_source(box_source):
    """`box_source` with three points of each rectangle, the third unknown in one; nothing in two images."""
    rows = box_source.annotations.to_dict("records")
    for i, row in enumerate(rows):
        x, y, w, h = (row[key] for key in "xywh")
        foot = (0, 0, 0) if i == 9 else (x + w // 2, y + h - 1, 2)
        row["keypoints"] = [float(v) for point in ((x + w - 1, y, 2), (x, y, 1), foot) for v in point]
    kept = [row for i, row in enumerate(rows) if i not in (2, 8)]
    names = ["left_ear", "right_ear", "foot"]
    objects = [
        c.model_copy(update={"keypoints": names, "skeleton": [(0, 1), (1, 2)]})
        for c in box_source.categories.objects
    ]
    return replace(box_source, annotations=annotations_table(kept), categories=Categories(objects=objects))


@pytest.fixture(scope="session")
def mask_source(tmp_path_factory):
    """20 RGB 16×16 images with grey mask files: ground below, sky above, a void frame at the left."""
    root = tmp_path_factory.mktemp("masks")
    images = np.full((20, 16, 16, 3), 40, np.uint8)
    for i, image in enumerate(images):
        horizon = 4 + i % 8
        image[:horizon] = 200
        mask = np.where(np.arange(16)[:, None] < horizon, 2, 1).repeat(16, axis=1).astype(np.uint8)
        mask[:, 0] = 0
        Image.fromarray(mask).save(root / f"{i:02d}.png")
    targets = [f"{i:02d}.png" for i in range(20)]
    samples = _rows(20, target=targets, width=[16] * 20, height=[16] * 20)
    categories = Categories(mask=categories_of(["ground", "sky"]), mask_lookup={"0": 255, "1": 0, "2": 1})
    return _source(samples, categories, {"images": images}, root=root)


@pytest.fixture(scope="session")
def sources(image_source, signal_source, box_source, mask_source, point_source):
    """The toy source of every task."""
    return {
        "activity": signal_source,
        "autoencoder": image_source,
        "classification": image_source,
        "detection": box_source,
        "gan": image_source,
        "landmarks": point_source,
        "segmentation": mask_source,
    }


@pytest.fixture(scope="session")
def experiment():
    """Builds the toy experiment of a task: two epochs of a tiny model; keywords replace sections."""

    def build(task, train=None, **sections):
        fitted = {
            "epochs": 2,
            "batch_size": 8,
            "device": "cpu",
            "checkpoint_every": None,
            "optimizer": {"name": "adam" if task == "gan" else "adamw", "lr": 0.003},
            "select": "last" if task == "gan" else "best",
        }
        values = {"task": task, "source": "toy", "model": MODELS[task], **SECTIONS[task], **sections}
        return ExperimentConfig.model_validate({**values, "train": {**fitted, **(train or {})}})

    return build


@pytest.fixture
def in_ranks(tmp_path):
    """Calls a function in several ranks, joined by gloo; returns what each gave, or its traceback.

    They are forked, so that nothing is imported again.
    """

    def run(function, count=2):
        with socket.socket() as made:
            made.bind(("127.0.0.1", 0))
            port = made.getsockname()[1]
        context = multiprocessing.get_context("fork")
        paths = [tmp_path / f"rank_{rank}.pt" for rank in range(count)]
        processes = [
            context.Process(target=_rank, args=(function, path, rank, count, port))
            for rank, path in enumerate(paths)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(300)
            process.kill()
        return [torch.load(path, weights_only=False) for path in paths]

    return run


def _rank(function, path, rank, count, port):
    torch.set_num_threads(1)  # OpenMP's threads are not there after a fork
    names = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "GROUP_RANK": 0,
    }
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {name: str(value) for name, value in names.items()}
    try:
        with joined(None):
            result = function()
    except BaseException:
        result = traceback.format_exc()
    torch.save(result, path)
    os._exit(0)
