"""Predicting a folder of photographs: files to Parquet, against the bare model on tensors in memory.

The peer gets its images decoded; both resize, normalise and go through the same EfficientNet-Lite0 in
batches of the same size. What is left for us to lose: reading, decoding, hashing, tables. Photographs are cut
from the two that come with scikit-learn. The machine should be idle: our readers need a core of their own.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from _harness import Row, in_turns, report
from cv_pipelines.config import ExperimentConfig
from cv_pipelines.data.augment.geometry import resize
from cv_pipelines.data.images import read_rgb
from cv_pipelines.data.preprocessing import Preprocessing
from cv_pipelines.data.schema import Categories, categories_of
from cv_pipelines.inference.inputs import open_input
from cv_pipelines.inference.model import Trained
from cv_pipelines.inference.run import Options, predict_input
from cv_pipelines.models import builder
from cv_pipelines.training.checkpoints import Checkpoint, Meta

COUNT, BATCH, SIDE, WORKERS = 256, 32, 160, 2
HEIGHT, WIDTH = 375, 500


def photographs(folder: Path, count: int) -> None:
    """Write pieces of photographs as JPEG files."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    pictures = load_sample_images().images
    for number in range(count):
        picture = pictures[number % 2]
        top, left = rng.integers(picture.shape[0] - HEIGHT), rng.integers(picture.shape[1] - WIDTH)
        piece = picture[top : top + HEIGHT, left : left + WIDTH]
        Image.fromarray(piece).save(folder / f"{number:05d}.jpg", quality=90)


def model() -> Trained:
    """Return a classifier of ten classes with ImageNet's encoder."""
    names = categories_of([f"class {number}" for number in range(10)])
    section = {"name": "efficientnet_lite0", "weights": "packaged"}
    train = {"epochs": 1, "batch_size": BATCH, "optimizer": {"name": "adamw", "lr": 0.001}, "device": "cpu"}
    config = ExperimentConfig.model_validate(
        {"task": "classification", "source": "photographs", "model": section, "train": train}
    )
    torch.manual_seed(0)
    state = builder("efficientnet_lite0")(3, 10, weights="packaged").state_dict()
    meta = Meta(
        experiment="benchmark",
        seed=0,
        model="efficientnet_lite0",
        options=config.model.options,
        in_channels=3,
        n_outputs=10,
        categories=Categories(labels=names),
        preprocessing=Preprocessing(size=[SIDE, SIDE], mean=[127.0] * 3, std=[128.0] * 3),
        config=config.model_dump(),
        selected="last",
        epoch=0,
        score=None,
        fingerprint="",
        seconds=0.0,
        device="cpu",
        versions={},
    )
    return Trained(Checkpoint(meta, {"last": state, "best": state}))


LOADED: dict[Path, tuple[Trained, list[torch.Tensor]]] = {}


def loaded(folder: Path) -> tuple[Trained, list[torch.Tensor]]:
    """Return the model and all images of a folder, decoded once in this process."""
    if folder not in LOADED:
        images = [torch.from_numpy(read_rgb(path)).permute(2, 0, 1) for path in sorted(folder.iterdir())]
        LOADED[folder] = (model(), images)
    return LOADED[folder]


def ours(folder: Path, warm: bool = False) -> int:
    """Predict the files of a folder."""
    trained, images = loaded(folder)
    with tempfile.TemporaryDirectory() as out:
        given = open_input(str(folder), trained)
        if warm:
            return len(images)
        return predict_input(trained, given, Path(out), Options(BATCH, WORKERS)).samples


def bare(folder: Path, warm: bool = False) -> int:
    """Predict the same images from memory."""
    trained, images = loaded(folder)
    if warm:
        images = images[:BATCH]
    count = 0
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            pixels = torch.stack([resize(image, [SIDE, SIDE]) for image in images[start : start + BATCH]])
            normal = trained.task.normalize(pixels)
            count += len(trained.task.model(normal).softmax(dim=1))
    return count


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        files = Path(made) / "files"
        photographs(files, COUNT)
        mine, peer = in_turns([ours, bare], files, warm=(files, True), rounds=5)
        report(
            "predict_files",
            [
                Row(
                    f"predict {COUNT} JPEGs of {WIDTH}×{HEIGHT} at {SIDE}×{SIDE}",
                    "ms an image",
                    1000 * mine.seconds / COUNT,
                    1000 * peer.seconds / COUNT,
                    "bare model on decoded tensors",
                    0.9,
                ),
                Row(
                    "memory beside it", "MB", mine.megabytes, peer.megabytes, "bare model on decoded tensors"
                ),
            ],
        )
