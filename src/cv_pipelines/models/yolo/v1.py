"""YOLO (Redmon et al. 2016, "You Only Look Once"): one grid, boxes from linear layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cv_pipelines.models.efficientnet import Weights
from cv_pipelines.models.yolo.detector import Truths, Yolo, largest_at_each, paired_iou
from cv_pipelines.models.yolo.layers import scaled
from cv_pipelines.models.yolo.letterbox import Resize
from cv_pipelines.models.yolo.selection import Selection
from cv_pipelines.models.yolo.v1_network import Backbone, features_of, head_of


@dataclass(frozen=True)
class CellCode:
    """How a cell of the grid says where a box is (§2): its centre in the cell, the roots of its sides.

    Attributes:
        grid: cells along a side.
        size: side of the image, in pixels.
    """

    grid: int
    size: int

    def encode(self, centres: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cell (…, 2), column and row, and the code (…, 4).

        A code is x and y in the cell, 0 to 1, and the roots of width and height as shares of the side.

        Args:
            centres: (…, 2) x, y in pixels.
            sizes: (…, 2) width, height in pixels.
        """
        place = centres / self.size * self.grid
        cell = place.long().clamp(0, self.grid - 1)
        return cell, torch.cat([place - cell, (sizes / self.size).sqrt()], dim=-1)

    def decode(self, cell: Tensor, code: Tensor) -> Tensor:
        """Return boxes (…, 4) XYXY in pixels from the cell and the code of each."""
        centre = (cell + code[..., :2]) * (self.size / self.grid)
        half = code[..., 2:].square() * (self.size / 2)
        return torch.cat([centre - half, centre + half], dim=-1)


@dataclass(frozen=True)
class Balance:
    """Weights of the parts of the loss (§2.2): of coordinates, and of confidence where there is no object."""

    coordinates: float
    background: float


class YoloV1(Yolo):
    """Encoder, four convolutions, two linear layers: S × S × (5B + C) numbers an image.

    The numbers of a cell are x, y, √w, √h and confidence of each box, then the classes' probabilities.

    Args:
        features: the encoder, and the channels of its map of stride 32.
        head: the layers from that map to the numbers of all cells.
        code: how cells say where a box is.
        boxes: B, boxes a cell.
        n_classes: C.
        balance: of the loss.
        resize: how images are brought to the input's size.
        selection: what makes detections of predictions.
    """

    def __init__(
        self,
        features: nn.Module,
        head: nn.Module,
        code: CellCode,
        boxes: int,
        n_classes: int,
        balance: Balance,
        resize: Resize,
        selection: Selection,
    ) -> None:
        super().__init__(code.size, resize, selection)
        self.encoder, self.head = features, head
        self.code, self.boxes, self.n_classes, self.balance = code, boxes, n_classes, balance
        rows, columns = torch.meshgrid(torch.arange(code.grid), torch.arange(code.grid), indexing="ij")
        self.cells: Tensor
        self.register_buffer("cells", torch.stack([columns, rows], dim=-1), persistent=False)

    def predictions(self, x: Tensor) -> Tensor:
        """Map (B, 3, size, size) to (B, S, S, 5B + C); rows of the image come first."""
        numbers: Tensor = self.head(self.encoder(x))
        cells = self.code.grid, self.code.grid, 5 * self.boxes + self.n_classes
        return numbers.view(-1, *cells)  # `len` of a batch that is exported is unknown

    def losses(self, predictions: Tensor, truths: Truths) -> dict[str, Tensor]:
        """Return equation 3, a sum of squares over an image, the mean over images.

        A cell has one object: the largest of those whose centres it has. Its box of the highest IoU with the
        object is responsible; where none overlaps it, the nearest.
        """
        n, grid = len(predictions), self.code.grid
        cell, code = self.code.encode(truths.centres, truths.sizes)
        place = (truths.image * grid + cell[:, 1]) * grid + cell[:, 0]
        kept = largest_at_each(place, truths.sizes)
        truths, cell, code, place = truths.where(kept), cell[kept], code[kept], place[kept]
        rows = predictions.reshape(n * grid * grid, -1)
        found, classes = self._split(rows[place])
        with torch.no_grad():
            overlap, responsible = self._responsible(found[..., :4], cell, code, truths.boxes)
        chosen = found[torch.arange(len(place), device=place.device), responsible]
        confidence = rows[:, : 5 * self.boxes].reshape(-1, self.boxes, 5)[..., 4]
        empty = torch.ones_like(confidence, dtype=torch.bool)
        empty[place, responsible] = False
        wanted = F.one_hot(truths.labels, self.n_classes).to(classes.dtype)
        parts = {
            "coordinates": self.balance.coordinates * (chosen[:, :4] - code).square().sum(),
            "confidence": (chosen[:, 4] - overlap).square().sum(),
            "background": self.balance.background * (confidence.square() * empty).sum(),
            "classes": (classes - wanted).square().sum(),
        }
        return {name: value / n for name, value in parts.items()}

    def decode(self, predictions: Tensor) -> tuple[Tensor, Tensor]:
        """Return B boxes a cell; a score is a class's probability times a box's confidence (equation 1)."""
        found, classes = self._split(predictions)
        boxes = self.code.decode(self.cells[:, :, None], found[..., :4])
        scores = found[..., 4:].clamp(0, 1) * classes[..., None, :].clamp(0, 1)
        return boxes.flatten(1, 3), scores.flatten(1, 3)

    def _split(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes (…, B, 5) and classes (…, C)."""
        boxes, classes = numbers.split([5 * self.boxes, self.n_classes], dim=-1)  # type: ignore[no-untyped-call]
        return boxes.unflatten(-1, (self.boxes, 5)), classes

    def _responsible(self, found: Tensor, cell: Tensor, code: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the IoU (N,) of each object with the box that is responsible for it, and which that is."""
        corners = self.code.decode(cell[:, None], found)
        overlaps = paired_iou(corners, boxes[:, None])
        nearness = -(found - code[:, None]).square().sum(dim=-1)
        none = (overlaps <= 0).all(dim=1, keepdim=True)
        responsible = torch.where(none, nearness, overlaps).argmax(dim=1)
        return overlaps.gather(1, responsible[:, None])[:, 0], responsible


def build(
    in_channels: int,
    n_classes: int,
    *,
    backbone: Backbone = "efficientnet_lite0",
    weights: Weights = "packaged",
    size: Annotated[int, Field(gt=0, multiple_of=32)] = 448,
    resize: Resize = "stretch",
    grid: Annotated[int, Field(gt=0)] = 7,
    boxes: Annotated[int, Field(gt=0)] = 2,
    width: Annotated[float, Field(gt=0)] = 1.0,
    head_stride: Annotated[int, Field(ge=1, le=2)] = 2,
    hidden: Annotated[int, Field(gt=0)] = 4096,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5,
    coordinate_weight: Annotated[float, Field(ge=0)] = 5.0,
    background_weight: Annotated[float, Field(ge=0)] = 0.5,
    score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.05,
    nms_threshold: Annotated[float, Field(ge=0, le=1)] = 0.5,
    candidates: Annotated[int, Field(gt=0)] = 1000,
    max_detections: Annotated[int, Field(gt=0)] = 100,
) -> YoloV1:
    """Build the detector.

    Args:
        in_channels: must be 3.
        n_classes: object classes.
        backbone: EfficientNet-Lite0, or the paper's own 20 convolutions.
        weights: of EfficientNet-Lite0: `packaged` for ImageNet's, on which the paper trains its own network
            first, too; `none` for a random start, the only one for the paper's.
        size: side of the network's input, in pixels.
        resize: `stretch` fills it, as in the paper; `letterbox` keeps the ratio of the image's sides.
        grid: S, cells along a side of the image.
        boxes: B, boxes a cell.
        width: factor on the channels of the paper's encoder and of the four convolutions after the encoder.
        head_stride: of the second of those; 1 leaves small images more than 2.
        hidden: outputs of the first linear layer.
        dropout: after it, 0 to 1.
        coordinate_weight: λ_coord, of the boxes' loss.
        background_weight: λ_noobj, of the loss of boxes that are responsible for no object.
        score_threshold: detections below are dropped, 0 to 1.
        nms_threshold: IoU above which the weaker of two boxes of a class is dropped, 0 to 1.
        candidates: so many of the best enter that suppression.
        max_detections: kept an image.

    Raises:
        ValueError: the images are not RGB.
    """
    if in_channels != 3:
        raise ValueError(f"yolo_v1 reads RGB images; the source gives {in_channels} channels")
    features, channels = features_of(backbone, weights, width)
    outputs = grid * grid * (5 * boxes + n_classes)
    head = head_of(channels, size // 32, scaled(1024, width), head_stride, hidden, outputs, dropout)
    balance = Balance(coordinate_weight, background_weight)
    selection = Selection(score_threshold, nms_threshold, candidates, max_detections)
    return YoloV1(features, head, CellCode(grid, size), boxes, n_classes, balance, resize, selection)
