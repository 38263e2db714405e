"""Models as they are exported: raw values in, what the task says of them out, in one graph of float32."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from cv_pipelines.data.datasets import keypoint_names
from cv_pipelines.data.encoding import encode_png
from cv_pipelines.errors import ExportError
from cv_pipelines.inference.box_graphs import box_graph
from cv_pipelines.inference.graph import Graph
from cv_pipelines.inference.model import Trained
from cv_pipelines.tasks.autoencoder import channels_last
from cv_pipelines.tasks.classification import Classification
from cv_pipelines.tasks.landmarks import Landmarks
from cv_pipelines.tasks.segmentation import Segmentation, at_size


class ClassGraph(Graph):
    """Images or windows to (B, classes) probabilities."""

    meaning = "batch, classes: 0..1"

    def forward(self, x: Tensor) -> Tensor:
        """Return probabilities."""
        task = cast(Classification, self.task)
        return task.probabilities({self.trained[0].kind: x})

    def contract(self) -> dict[str, Any]:
        """Say too whether a sample may have several labels."""
        return super().contract() | {"several_labels": self.trained[0].meta.categories.multi_label}

    def rows(self, samples: Sequence[dict[str, Any]], outputs: Tensor) -> Iterable[dict[str, Any]]:
        """Return a row a sample."""
        for sample, output in zip(samples, outputs, strict=True):
            yield from Classification.rows_of(sample["sample_id"], output)


class MaskGraph(Graph):
    """Images to (B, classes, H, W) probabilities."""

    meaning = "batch, classes, height, width: 0..1"
    class_list = "mask"
    multiple = 32

    def forward(self, x: Tensor) -> Tensor:
        """Return probabilities at the size of the input."""
        task = cast(Segmentation, self.task)
        return task.probabilities(task.inputs({"image": x}))

    def rows(self, samples: Sequence[dict[str, Any]], outputs: Tensor) -> Iterable[dict[str, Any]]:
        """Return a row a sample: its mask at its own size."""
        for sample, output in zip(samples, outputs, strict=True):
            height, width = int(sample["height"]), int(sample["width"])
            resized = self.trained[0].size is not None  # else sides may have been filled up to be divisible
            whole = at_size(output if resized else output[:, :height, :width], (height, width))
            yield from Segmentation.rows_of(sample["sample_id"], whole)


class PictureGraph(Graph):
    """Images to their reconstructions, (B, C, H, W)."""

    output = "reconstruction"
    meaning = "batch, channels, height, width: 0..1 for black to white, not clipped"
    class_list = None

    def forward(self, x: Tensor) -> Tensor:
        """Return reconstructions."""
        normalize = self.task.normalize
        rebuilt = self.task.model(self.task.inputs({"image": x}))
        return (rebuilt * normalize.std.view(-1, 1, 1) + normalize.mean.view(-1, 1, 1)) / 255

    def rows(self, samples: Sequence[dict[str, Any]], outputs: Tensor) -> Iterable[dict[str, Any]]:
        """Return a row a sample: its reconstruction in 8 bits."""
        for sample, output in zip(samples, outputs, strict=True):
            picture = (output * 255).round().clamp(0, 255).to(torch.uint8)
            yield {"sample_id": sample["sample_id"], "image": encode_png(channels_last(picture))}


class PointGraph(Graph):
    """Images to (B, 1 + 2P): whether an object is there, and its points."""

    output = "points"
    meaning = (
        "batch, 1 + 2 a point: probability that an object is there, 0..1; "
        "x, y of each point as shares of width and height"
    )
    class_list = None

    def forward(self, x: Tensor) -> Tensor:
        """Return presence and points."""
        told = self.task.model(self.task.inputs({"image": x})).float()
        return torch.cat([told[:, :1].sigmoid(), told[:, 1:]], dim=1)

    def contract(self) -> dict[str, Any]:
        """Say too what the points are called."""
        return super().contract() | {"points": keypoint_names(self.trained[0].meta.categories)}

    def rows(self, samples: Sequence[dict[str, Any]], outputs: Tensor) -> Iterable[dict[str, Any]]:
        """Return a row a sample: its points in its own pixels."""
        sizes = np.array([[sample["width"], sample["height"]] for sample in samples], dtype=np.float64)
        told = Landmarks.in_pixels(outputs.double().numpy(), sizes)
        for sample, row in zip(samples, told, strict=True):
            yield from Landmarks.rows_of(sample["sample_id"], row)


GRAPHS: dict[str, Callable[[Trained], Graph]] = {
    "activity": ClassGraph,
    "autoencoder": PictureGraph,
    "classification": ClassGraph,
    "detection": box_graph,
    "landmarks": PointGraph,
    "segmentation": MaskGraph,
}

REFUSED = {
    "gan": "it makes images of noise; there is no input whose outputs could be compared",
}


def check_exportable(name: str, task: str) -> None:
    """Check that models of a task can be exported.

    Raises:
        ExportError: they cannot; says why.
    """
    if task not in GRAPHS:
        raise ExportError(f"{name} ({task}) cannot be exported: {REFUSED.get(task, 'its task has no graph')}")


def graph_of(trained: Trained) -> Graph:
    """Return the graph of a model.

    Raises:
        ExportError: models of its task, or with its settings, cannot be exported; says why.
    """
    check_exportable(trained.name, trained.task_name)
    return GRAPHS[trained.task_name](trained).eval()
