"""Predictions of a trained experiment as one table: all that scoring needs, with no device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.data.datasets import SampleDataset, SourceData
from cv_pipelines.data.encoding import encode_png
from cv_pipelines.data.preprocessing import Normalize
from cv_pipelines.data.transport import with_workers
from cv_pipelines.models import builder
from cv_pipelines.tasks import task_class
from cv_pipelines.tasks.autoencoder import channels_last
from cv_pipelines.tasks.base import Context, Task
from cv_pipelines.tasks.gan import Gan
from cv_pipelines.training.checkpoints import Checkpoint

LARGEST_GENERATED = 2000


def device_of(config: ExperimentConfig) -> torch.device:
    """Return the device that `train.device` names."""
    wanted = config.train.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def predict(
    config: ExperimentConfig,
    data: SourceData,
    checkpoints: dict[int, Checkpoint],
    embedder: Checkpoint | None = None,
) -> pd.DataFrame:
    """Predict the scored split with every seed.

    Args:
        config: the experiment.
        data: its prepared source, all splits.
        checkpoints: its weights, a seed each.
        embedder: for GANs, the classifier whose features are compared.

    Returns:
        `seed` and the columns of the task's `predict_rows`.
    """
    part = scored_part(config, data)
    tables = []
    for seed, checkpoint in checkpoints.items():
        task = load_task(config, data, checkpoint)
        if isinstance(task, Gan):
            rows = generated_rows(task, part, embedder, seed)
        else:
            rows = predicted_rows(task, part)
        tables.append(pd.DataFrame(rows).assign(seed=seed))
    return pd.concat(tables, ignore_index=True)


def scored_part(config: ExperimentConfig, data: SourceData) -> SourceData:
    """Return the samples of the scored split; where masks are predicted, those that have one."""
    part = data.only(config.evaluate.split)
    if config.task == "segmentation":
        part = part.where(part.samples["target"].notna().to_numpy())
    return part


def load_task(config: ExperimentConfig, data: SourceData, checkpoint: Checkpoint) -> Task:
    """Rebuild a task around a checkpoint's model, on the configured device."""
    context = Context(config, data, checkpoint.meta.preprocessing)
    model = checkpoint.build()
    if config.train.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return task_class(config.task)(model, context, **config.loss).to(device_of(config)).eval()


def predicted_rows(task: Task, part: SourceData) -> list[dict[str, Any]]:
    """Run a task over samples, batch by batch, in the order of the table."""
    config = task.context.config
    task.evaluate_on(part)
    dataset = SampleDataset(part, "none", task.context.preprocessing.size)
    size = config.evaluate.batch_size or config.train.batch_size
    loader = DataLoader(dataset, size, **with_workers(config.train.workers, task.collate_inputs))
    rows: list[dict[str, Any]] = []
    with torch.inference_mode(), autocast(task):
        for batch in loader:
            rows += task.predict_rows(move(batch, task.device))
    return rows


def autocast(task: Task) -> torch.autocast:
    """Return the context in which a task computes in its configured precision."""
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(task.context.config.train.precision)
    return torch.autocast(task.device.type, dtype, enabled=dtype is not None)


def move(value: Any, device: torch.device) -> Any:
    """Move the tensors of a nested batch to a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: move(item, device) for key, item in value.items()}
    return [move(item, device) for item in value] if isinstance(value, list) else value


def generated_rows(
    task: Gan, part: SourceData, embedder: Checkpoint | None, seed: int
) -> list[dict[str, Any]]:
    """Generate as many images as the split holds (at most 2,000) and embed them beside the real ones.

    The yardstick `untrained` is the same generator with fresh weights.

    Raises:
        ValueError: the experiment names no embedder.
    """
    if embedder is None:
        raise ValueError("a GAN is scored by an embedder; name one in the experiment's `embedder`")
    count = min(len(part.samples), LARGEST_GENERATED)
    dataset = SampleDataset(part, "none", task.context.preprocessing.size)
    real = torch.stack([torch.as_tensor(dataset[i]["image"]) for i in range(count)])
    with torch.inference_mode():
        sets = {
            "real": real,
            "generated": task.generate(count, seed),
            "untrained": _untrained(task, count, seed),
        }
        embed = _embedding(embedder)
        return [
            {
                "sample_id": f"{name}_{index:05d}",
                "set": name,
                "image": encode_png(channels_last(image)),
                "embedding": vector.numpy(),
                "embedder": embedder.meta.experiment,
            }
            for name, images in sets.items()
            for index, (image, vector) in enumerate(zip(images.cpu(), embed(images.cpu()), strict=True))
        ]


def _untrained(task: Gan, count: int, seed: int) -> torch.Tensor:
    meta_model = task.context.config.model
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fresh = builder(meta_model.name)(task.context.data.channels, 0, **meta_model.options).eval()
    return Gan(fresh, task.context).generate(count, seed)


def _embedding(checkpoint: Checkpoint) -> Callable[[torch.Tensor], torch.Tensor]:
    model = checkpoint.build()
    normalize = Normalize(checkpoint.meta.preprocessing)
    size = checkpoint.meta.preprocessing.size

    def embed(images: torch.Tensor) -> torch.Tensor:
        """Return the classifier's features of (B, C, H, W) uint8 images."""
        if size and list(images.shape[-2:]) != size:
            images = nn.functional.interpolate(images.float(), size, mode="bilinear").to(torch.uint8)
        vectors: torch.Tensor = model.embed(normalize(images))  # type: ignore[operator]
        return vectors

    return embed
