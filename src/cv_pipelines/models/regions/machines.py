"""R-CNN's second stage (Girshick et al. 2014, §2.3 and appendices B, C): SVMs with hard negatives, ridge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_iou

CODER = BoxCoder((1.0, 1.0, 1.0, 1.0))
"""Appendix C: the centre's move in shares of the proposal's sides, the logarithm of how the sides grow."""

LENGTH = 20.0
"""Mean length that features are brought to, which `Fitting.svm_c` is meant for."""

HARD, EASY = -1.0, -1.2
"""Margins above which a new negative is kept, and below which a kept one is dropped."""


@dataclass(frozen=True)
class Fitting:
    """Settings of the second stage.

    Attributes:
        svm_c: how much an SVM minds violated margins.
        ridge: weight of the penalty on the moves' coefficients.
        negative_iou: proposals that overlap a class's objects by less are its negatives.
        moved_iou: moves are learned from proposals that overlap an object by this much.
        refit_every: new negatives of a class after which its SVM is fitted again.
    """

    svm_c: float
    ridge: float
    negative_iou: float
    moved_iou: float
    refit_every: int


class Machines:
    """Gathers regions image by image, in one pass, and keeps of the negatives only those that are hard.

    Positives of a class are its true boxes; proposals that overlap one by `negative_iou` or more are
    neither.

    Args:
        n_classes: object classes.
        fitting: settings.
    """

    def __init__(self, n_classes: int, fitting: Fitting) -> None:
        self.fitting = fitting
        self.machines = [Machine(fitting) for _ in range(n_classes)]
        self.movers = [Mover() for _ in range(n_classes)]
        self.size = 0.0

    def add(self, features: Tensor, boxes: Tensor, true: Tensor, labels: Tensor) -> None:
        """Add the regions of an image.

        Args:
            features: (P + T, D) of the proposals, then of the true boxes.
            boxes: (P, 4) proposals XYXY.
            true: (T, 4) true boxes XYXY.
            labels: (T,) int64 their classes.
        """
        if not self.size:  # the first image tells the scale of all
            self.size = max(float(features.norm(dim=1).mean()), 1e-6) / LENGTH
        rows = (features / self.size).cpu().double().numpy()
        proposed, objects = rows[: len(boxes)], rows[len(boxes) :]
        true, labels = true.to(boxes), labels.cpu()
        overlaps = box_iou(boxes, true).cpu()
        for k, machine in enumerate(self.machines):
            own = (labels == k).nonzero()[:, 0]
            best = overlaps[:, own].amax(dim=1) if len(own) else torch.zeros(len(boxes))
            machine.add(objects[own.numpy()], proposed[(best < self.fitting.negative_iou).numpy()])
        if len(true):
            best, which = overlaps.max(dim=1)
            near = (best >= self.fitting.moved_iou).nonzero()[:, 0]
            moves = CODER.encode_single(true[which[near]], boxes[near]).cpu().double().numpy()
            for k, mover in enumerate(self.movers):
                chosen = (labels[which[near]] == k).numpy()
                mover.add(proposed[near.numpy()][chosen], moves[chosen])

    def solved(self) -> dict[str, Tensor]:
        """Return `machines` (C, D + 1), `movers` (C, D + 1, 4), the last of D the constant, and `size` ()."""
        machines = np.stack([machine.solved() for machine in self.machines])
        movers = np.stack([mover.solved(self.fitting.ridge, machines.shape[1] - 1) for mover in self.movers])
        return {
            "machines": torch.from_numpy(machines).float(),
            "movers": torch.from_numpy(movers).float(),
            "size": torch.tensor(self.size),
        }


class Machine:
    """A linear SVM of one class and what it is fitted to."""

    def __init__(self, fitting: Fitting) -> None:
        self.fitting = fitting
        self.positives: list[np.ndarray] = []
        self.negatives: list[np.ndarray] = []
        self.weights: np.ndarray | None = None
        self.fresh = 0

    def add(self, positives: np.ndarray, negatives: np.ndarray) -> None:
        """Add regions (N, D) of an image; of the negatives, those that are not easy yet."""
        if self.weights is not None:
            negatives = negatives[self._margins(negatives) > HARD]
        self.positives.append(positives)
        self.negatives.append(negatives)
        self.fresh += len(negatives)
        if self.fresh >= self.fitting.refit_every:
            self._fit()

    def solved(self) -> np.ndarray:
        """Return (D + 1,) weights and the constant; a class without regions to learn from never scores."""
        self._fit()
        if self.weights is not None:
            return self.weights
        width = self.positives[0].shape[1]
        return np.append(np.zeros(width), -10.0)

    def _fit(self) -> None:
        from sklearn.svm import LinearSVC

        positives, negatives = np.concatenate(self.positives), np.concatenate(self.negatives)
        self.fresh = 0
        if not len(positives) or not len(negatives):
            return
        machine = LinearSVC(
            C=self.fitting.svm_c, loss="hinge", intercept_scaling=10.0, max_iter=20_000, random_state=0
        )
        wanted = np.repeat([1, 0], [len(positives), len(negatives)])
        machine.fit(np.concatenate([positives, negatives]), wanted)
        self.weights = np.append(machine.coef_[0], machine.intercept_)
        self.positives = [positives]
        self.negatives = [negatives[self._margins(negatives) > EASY]]

    def _margins(self, rows: np.ndarray) -> np.ndarray:
        assert self.weights is not None
        margins: np.ndarray = rows @ self.weights[:-1] + self.weights[-1]
        return margins


class Mover:
    """The sums that ridge regression of the moves needs: no features are kept."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: tuple[np.ndarray, ...] = ()

    def add(self, rows: np.ndarray, moves: np.ndarray) -> None:
        """Add features (N, D) and moves (N, 4)."""
        if not len(rows):
            return
        parts = (rows.T @ rows, rows.T @ moves, rows.sum(axis=0), moves.sum(axis=0))
        self.sums = tuple(a + b for a, b in zip(self.sums, parts, strict=True)) if self.sums else parts
        self.count += len(rows)

    def solved(self, ridge: float, width: int) -> np.ndarray:
        """Return (D + 1, 4) coefficients and the constant, which is not penalised; 0 if nothing was seen."""
        if not self.count:
            return np.zeros((width + 1, 4))
        squares, products, row, move = self.sums
        centred = squares - np.outer(row, row) / self.count
        slopes = np.linalg.solve(centred + ridge * np.eye(width), products - np.outer(row, move) / self.count)
        return np.vstack([slopes, (move - row @ slopes) / self.count])
