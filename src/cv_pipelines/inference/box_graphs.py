"""Detectors as they are exported: what they find everywhere, before they choose among boxes that overlap.

How many boxes are left depends on the image, which PyTorch cannot trace: the choice is left to who uses the
graph; the contract's `boxes` say how. So only detectors that find everything in one pass have a graph.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim

from cv_pipelines.errors import ExportError
from cv_pipelines.inference.graph import DynamicShape, Graph
from cv_pipelines.inference.model import Trained
from cv_pipelines.models.detector import PyramidDetector
from cv_pipelines.models.localizer import Localizer
from cv_pipelines.models.rt_detr import RtDetr
from cv_pipelines.models.yolo.detector import Yolo
from cv_pipelines.models.yolo.letterbox import Resize, in_squares


class DenseDetector(Protocol):
    """A detector that can say what it finds everywhere, and how boxes are chosen from that."""

    def dense(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W), normalised, to (B, places, 4 + classes)."""

    def rule(self) -> dict[str, Any]:
        """Return `score_threshold`, `candidates`, `overlap`, `most`, and what else the choice needs."""


class SquareDetector(DenseDetector, Protocol):
    """One that brings images to a square.

    Attributes:
        size: its side, in pixels.
        resize: how.
    """

    size: int
    resize: Resize


class BoxGraph(Graph):
    """Images, resized and filled up, to (B, places, 4 + classes): a box and the score of each class."""

    output = "boxes"
    class_list = "objects"
    multiple = 32

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) float32, 0 to 255, to what is found at each place."""
        normalize = self.task.normalize
        x = (x - normalize.mean.view(-1, 1, 1)) / normalize.std.view(-1, 1, 1)
        return cast(DenseDetector, self.task.model).dense(x)

    def contract(self) -> dict[str, Any]:
        """Say too how images are resized and how boxes are chosen."""
        said = super().contract()
        said["input"] |= {"dtype": "float32", "fill": self.trained[0].meta.preprocessing.mean}
        return said


class PyramidGraph(BoxGraph):
    """FCOS and RetinaNet: images of any size, and boxes by how far their sides are from each place."""

    meaning = "batch, places, distances to the left, upper, right, lower side in strides; a score a class"

    @property
    def detector(self) -> PyramidDetector:
        """The model."""
        return cast(PyramidDetector, self.task.model)

    def fitted(self, sample: np.ndarray) -> np.ndarray:
        """Resize an image as the detector does, and fill it up with the mean colour."""
        net: Any = self.detector.net
        image, _ = net.transform.resize(torch.from_numpy(sample).float())
        height, width = image.shape[1:]
        shape = (len(image), height + -height % self.multiple, width + -width % self.multiple)
        canvas = self.task.normalize.mean.view(-1, 1, 1).expand(shape).clone()
        canvas[:, :height, :width] = image
        return canvas.numpy()

    def contract(self) -> dict[str, Any]:
        """Say too which sides images get."""
        said, rule = super().contract(), self.detector.rule()
        said["input"] |= {key: rule.pop(key) for key in ("shorter_side", "longer_side")}
        said["input"]["resize"] = "bilinear without antialiasing, as PyTorch's; before the graph"
        return said | {"boxes": rule}


class SquareGraph(BoxGraph):
    """The YOLOs and the localizer: squares of one size, and boxes as shares of their side."""

    meaning = "batch, places, left, upper, right, lower side as shares of the square's; a score a class"

    @property
    def detector(self) -> SquareDetector:
        """The model."""
        return cast(SquareDetector, self.task.model)

    def fitted(self, sample: np.ndarray) -> np.ndarray:
        """Bring an image into the square, and fill that up with the mean colour."""
        mean = self.task.normalize.mean.view(-1, 1, 1)  # 0 to what fills the square
        image = torch.from_numpy(sample).float() - mean
        squares, _ = in_squares([image], self.detector.size, self.detector.resize)
        return (squares[0] + mean).numpy()

    def dynamic_shapes(self) -> list[DynamicShape]:
        """Return that the number of images may vary, and nothing else."""
        return [{0: Dim("batch", max=4096)}]

    def contract(self) -> dict[str, Any]:
        """Say too how images are brought into the square."""
        said = super().contract()
        said["input"] |= {"square": self.detector.size, "placed": self.detector.resize}
        said["input"]["resize"] = "bilinear of float32 with antialiasing, as Pillow's; before the graph"
        return said | {"boxes": self.detector.rule()}


class QueryGraph(SquareGraph):
    """RT-DETR, whose library asks for the `len` of a batch."""

    strict = True


KINDS: dict[type[Any], type[BoxGraph]] = {
    PyramidDetector: PyramidGraph,
    Yolo: SquareGraph,
    Localizer: SquareGraph,
    RtDetr: QueryGraph,
}


def box_graph(trained: Trained) -> BoxGraph:
    """Return the graph of a detector.

    Raises:
        ExportError: it has none, or not with its settings; says why.
    """
    evaluate, name = trained.config.evaluate, trained.name
    if evaluate.flip:
        raise ExportError(
            f"{name}: evaluate.flip: boxes of an image and its mirror image are fused after the choice "
            "among boxes, which is not in the graph; `kedro cv predict` does it"
        )
    if evaluate.suppression is not None:
        raise ExportError(
            f"{name}: evaluate.suppression: that choice among boxes is made after the model, and is not in "
            "the graph; `kedro cv predict` does it"
        )
    for model, graph in KINDS.items():
        if isinstance(trained.task.model, model):
            return graph(trained)
    raise ExportError(
        f"{name}: model {trained.meta.model}: only `fcos`, `retinanet`, `rt_detr`, `localizer` and the "
        "YOLOs can be exported; `kedro cv predict` uses any detector"
    )
