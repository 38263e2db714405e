"""Models as they are exported: raw values in, what the task says of them out, in one graph of float32."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim
from torchvision.models.detection import FCOS

from cv_pipelines.data.encoding import encode_png
from cv_pipelines.errors import ExportError
from cv_pipelines.inference.model import Trained
from cv_pipelines.inference.traceable import make_traceable
from cv_pipelines.models.fcos import FCOSDetector
from cv_pipelines.tasks.autoencoder import channels_last
from cv_pipelines.tasks.classification import Classification
from cv_pipelines.tasks.segmentation import Segmentation, at_size

LARGEST_SIDE = 8192
DynamicShape = dict[int, Any]


class Graph(nn.Module):
    """One task's graph; what `evaluate` averages over (mirror image, sizes) is in it.

    Args:
        trained: the model, on the CPU; where sides have to be divided, it takes no others afterwards.

    Attributes:
        output: name of what comes out.
        meaning: what that is.
        class_list: which classes it is of.
        multiple: what the sides of an image must be divisible by, where any size will do.
    """

    output: ClassVar[str] = "probabilities"
    meaning: ClassVar[str]
    class_list: ClassVar[Literal["labels", "mask", "objects"] | None] = "labels"
    multiple: ClassVar[int] = 1

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.task = trained.task
        self.trained = [trained]  # in a list, so that it is no part of the graph
        make_traceable(self.task.model, divisible=self.multiple > 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) uint8 images or (B, C, T) float32 windows to what the task says."""
        raise NotImplementedError

    def fitted(self, sample: np.ndarray) -> np.ndarray:
        """Repeat the last row and column of an image until its sides can be divided as the graph needs it."""
        if self.multiple == 1 or self.trained[0].size:
            return sample
        height, width = sample.shape[1:]
        filled = ((0, 0), (0, -height % self.multiple), (0, -width % self.multiple))
        return np.pad(sample, filled, mode="edge")

    def rows(self, samples: Sequence[dict[str, Any]], outputs: Tensor) -> Iterable[dict[str, Any]]:
        """Return rows of the prediction table.

        Args:
            samples: `sample_id`, `height` and `width` of each.
            outputs: what came out for them.
        """
        raise NotImplementedError

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the output."""
        return self.trained[0].meta.categories.names(self.class_list) if self.class_list else []

    def dynamic_shapes(self) -> list[DynamicShape]:
        """Return which axes may vary, the widest wish first; the number of samples always does."""
        trained, batch = self.trained[0], {0: Dim("batch", max=4096)}
        if trained.kind == "signal" or trained.size:
            return [batch]
        sides = [Dim(name, min=1, max=LARGEST_SIDE // self.multiple) for name in ("height", "width")]
        free = {axis: self.multiple * side for axis, side in zip((2, 3), sides, strict=True)}
        return [batch | free, batch]

    def contract(self) -> dict[str, Any]:
        """State what goes in and what comes out."""
        trained = self.trained[0]
        preprocessing = trained.meta.preprocessing
        if trained.kind == "signal":
            given: dict[str, Any] = {
                "dtype": "float32",
                "layout": "batch, channels, time",
                "values": "as measured",
            }
            given |= {"shape": list(trained.window)}
        else:
            colors = "RGB" if trained.channels == 3 else "grey"
            given = {
                "dtype": "uint8",
                "layout": "batch, channels, height, width",
                "values": f"{colors}, 0..255",
            }
            given |= {"size": trained.size, "sides_divisible_by": self.multiple}
            given |= {"resize": "bilinear with antialiasing, as Pillow's; before the graph"}
        inside = {"mean": preprocessing.mean, "std": preprocessing.std}
        evaluate = trained.config.evaluate
        return {
            "experiment": trained.name,
            "task": trained.task_name,
            "fingerprint": trained.meta.fingerprint,
            "input": {"name": trained.kind, **given},
            "inside": {"normalisation": inside, "flip": evaluate.flip, "scales": evaluate.scales},
            "output": {"name": self.output, "dtype": "float32", "meaning": self.meaning},
            "classes": self.classes,
        }


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


class BoxGraph(Graph):
    """Resized images to what a detector finds everywhere, before it chooses among boxes that overlap.

    How many boxes are left depends on the image, which PyTorch cannot trace: the choice is left to who uses
    the graph; the contract's `boxes` say how.
    """

    output = "boxes"
    meaning = "batch, places, distances to the left, upper, right, lower side in strides; a score a class"
    class_list = "objects"
    multiple = 32

    @property
    def detector(self) -> FCOSDetector:
        """The model."""
        return cast(FCOSDetector, self.task.model)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) float32, 0 to 255, resized and filled up, to (B, places, 4 + classes)."""
        normalize = self.task.normalize
        return self.detector.dense((x - normalize.mean.view(-1, 1, 1)) / normalize.std.view(-1, 1, 1))

    def fitted(self, sample: np.ndarray) -> np.ndarray:
        """Resize an image as the detector does, and fill it up with the mean colour."""
        image, _ = cast(FCOS, self.detector.net).transform.resize(torch.from_numpy(sample).float())
        height, width = image.shape[1:]
        shape = (len(image), height + -height % self.multiple, width + -width % self.multiple)
        canvas = self.task.normalize.mean.view(-1, 1, 1).expand(shape).clone()
        canvas[:, :height, :width] = image
        return canvas.numpy()

    def contract(self) -> dict[str, Any]:
        """Say too how images are resized and how boxes are chosen."""
        said, rule = super().contract(), self.detector.rule()
        sides = {key: rule.pop(key) for key in ("shorter_side", "longer_side")}
        fill = self.trained[0].meta.preprocessing.mean
        said["input"] |= {"dtype": "float32", "fill": fill, **sides}
        said["input"]["resize"] = "bilinear without antialiasing, as PyTorch's; before the graph"
        return said | {"boxes": rule}


GRAPHS: dict[str, type[Graph]] = {
    "activity": ClassGraph,
    "autoencoder": PictureGraph,
    "classification": ClassGraph,
    "detection": BoxGraph,
    "segmentation": MaskGraph,
}

REFUSED = {
    "gan": "it makes images of noise; there is no input whose outputs could be compared",
    "landmarks": "served models have no answer for points yet; `kedro cv predict` gives them",
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
    if trained.task_name == "detection" and trained.config.evaluate.flip:
        raise ExportError(
            f"{trained.name}: evaluate.flip: boxes of an image and its mirror image are fused after the "
            "choice among boxes, which is not in the graph; `kedro cv predict` does it"
        )
    if trained.task_name == "detection" and trained.config.evaluate.suppression is not None:
        raise ExportError(
            f"{trained.name}: evaluate.suppression: that choice among boxes is made after the model, and is "
            "not in the graph; `kedro cv predict` does it"
        )
    if trained.task_name == "detection" and not isinstance(trained.task.model, FCOSDetector):
        raise ExportError(f"{trained.name}: only detectors of the kind `fcos` can be exported")
    return GRAPHS[trained.task_name](trained).eval()
