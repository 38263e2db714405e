"""A trained model that predicts samples from anywhere, exactly as `evaluate` predicts those of its source."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.data.augment.geometry import resize
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.schema import Categories, Quarantine, annotations_table, samples_table
from cv_pipelines.errors import BadSampleError, InputError
from cv_pipelines.inference.samples import Pending
from cv_pipelines.tasks.base import Task
from cv_pipelines.training.checkpoints import Checkpoint
from cv_pipelines.training.predict import autocast, load_task, move

RESIZED = {"autoencoder", "classification", "landmarks"}
"""Tasks whose inputs are brought to the size of the training's images, where those had all one."""


@dataclass(frozen=True)
class Batch:
    """Samples that were read together.

    Attributes:
        names: of all, in order, the unusable ones too.
        samples: `sample_id`, `width`, `height` of the usable ones; 0 for signals.
        images: of the usable ones, as they were read; only if they are kept.
        groups: places in `samples`, and what the task takes, of samples of equal shape.
        defects: rows of the quarantine table.
    """

    names: list[str]
    samples: list[dict[str, Any]]
    images: list[Tensor]
    groups: list[tuple[list[int], Any]]
    defects: list[dict[str, str]]


class Trained:
    """A checkpoint ready to predict; the code that `evaluate` runs does the work.

    Args:
        checkpoint: weights and what they mean.
        device: where it computes: `auto`, `cpu` or `cuda`; as in training if None.

    Raises:
        InputError: its task predicts nothing of an input.
    """

    def __init__(self, checkpoint: Checkpoint, device: str | None = None) -> None:
        self.meta = checkpoint.meta
        self.config = config_of(checkpoint, device)
        if self.config.task == "gan":
            raise InputError(f"{self.meta.experiment}: a gan makes images; it predicts nothing of an input")
        self.task: Task = load_task(self.config, no_samples(self.meta.categories), checkpoint)
        self.size = self._size()

    @property
    def name(self) -> str:
        """The experiment that made it."""
        return self.meta.experiment

    @property
    def task_name(self) -> str:
        """What it does."""
        return self.config.task

    @property
    def kind(self) -> Literal["image", "signal"]:
        """What it reads."""
        return "signal" if self.config.task == "activity" else "image"

    @property
    def channels(self) -> int:
        """Channels of what it reads."""
        return self.meta.in_channels

    @property
    def window(self) -> tuple[int, int]:
        """Channels and time steps of the windows it reads.

        Raises:
            InputError: its checkpoint is of before these were noted.
        """
        if self.meta.shape is None:
            raise InputError(f"{self.name}: the checkpoint does not say how long a window is; train it again")
        return self.meta.shape[0], self.meta.shape[1]

    @property
    def batch_size(self) -> int:
        """Samples that `evaluate` predicts at a time."""
        return self.config.evaluate.batch_size or self.config.train.batch_size

    def _size(self) -> list[int] | None:
        native = self.meta.shape[1:] if self.meta.shape and self.config.task in RESIZED else None
        return self.meta.preprocessing.size or native

    def read(self, pending: Sequence[Pending], keep_images: bool = False) -> Batch:
        """Read samples and lay them out for the model; runs in any thread.

        Args:
            pending: what to read.
            keep_images: whether the images are needed later, to draw on.
        """
        batch = Batch([one.name for one in pending], [], [], [], [])
        items: dict[tuple[int, ...], list[dict[str, Any]]] = {}
        for one in pending:
            try:
                reading = one.read()
            except BadSampleError as error:
                batch.defects.extend(dropped(one.name, error.reason, error.detail))
                continue
            tensor = reading.tensor
            height, width = tensor.shape[1:] if self.kind == "image" else (0, 0)
            place = len(batch.samples)
            batch.samples.append({"sample_id": one.name, "width": width, "height": height})
            batch.defects.extend(reading.defects)
            if keep_images:
                batch.images.append(tensor)
            if self.size and self.kind == "image" and list(tensor.shape[1:]) != self.size:
                tensor = resize(tensor, self.size)
            items.setdefault(tuple(tensor.shape), []).append({self.kind: tensor, "index": place})
        for same in self._groups(items.values()):
            batch.groups.append(([item["index"] for item in same], self.task.collate_inputs(same)))
        return batch

    def _groups(self, by_shape: Iterable[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
        """Put samples of one shape together; detectors take any shapes at once."""
        groups = list(by_shape)
        if self.config.task == "detection" and groups:
            return [sorted((item for group in groups for item in group), key=lambda item: item["index"])]
        return groups

    def predict(self, batch: Batch) -> list[dict[str, Any]]:
        """Return the rows of the batch's predictions, in the order of its samples.

        What the model refuses (images smaller than its strides, for example) joins the batch's defects.
        """
        frame = pd.DataFrame(batch.samples, columns=["sample_id", "width", "height"])
        self.task.evaluate_on(SourceData(frame, self.task.context.data.annotations, self.meta.categories))
        order = {sample["sample_id"]: place for place, sample in enumerate(batch.samples)}
        rows: list[dict[str, Any]] = []
        for places, collated in batch.groups:
            try:
                rows += self._rows(collated)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # PyTorch's for shapes that do not go through a network
                for place in places:
                    name = batch.samples[place]["sample_id"]
                    batch.defects.extend(dropped(name, "refused by the model", str(error).splitlines()[0]))
        return sorted(rows, key=lambda row: order[row["sample_id"]])

    def _rows(self, collated: Any) -> list[dict[str, Any]]:
        with torch.inference_mode(), autocast(self.task):
            return self.task.predict_rows(move(collated, self.task.device))


def config_of(checkpoint: Checkpoint, device: str | None = None) -> ExperimentConfig:
    """Return the experiment as it was trained, without its loss: there is nothing to learn.

    Args:
        checkpoint: that knows it.
        device: takes the place of `train.device`.
    """
    config = ExperimentConfig.model_validate_json(json.dumps(checkpoint.meta.config))
    train = config.train.model_copy(update={"device": device} if device else {})
    return config.model_copy(update={"loss": {}, "train": train})


def no_samples(categories: Categories) -> SourceData:
    """Return a source of nothing but classes."""
    return SourceData(samples_table([]), annotations_table([]), categories)


def dropped(name: str, reason: str, detail: str) -> list[dict[str, str]]:
    """Return the quarantine row of something that was left out."""
    found = Quarantine()
    found.drop(name, reason, detail)
    return found.rows
