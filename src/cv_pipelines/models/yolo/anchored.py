"""What YOLOs with anchors share: their anchors are held against the boxes to be learnt before training."""

from __future__ import annotations

import logging

import numpy as np

from cv_pipelines.models.yolo.anchors import Matches, check_anchors, in_input
from cv_pipelines.models.yolo.detector import Yolo
from cv_pipelines.models.yolo.grid import AnchorGrid
from cv_pipelines.models.yolo.letterbox import Resize
from cv_pipelines.models.yolo.selection import Selection

logger = logging.getLogger(__name__)


class AnchoredYolo(Yolo):
    """A YOLO whose places start from anchors.

    Args:
        grid: the places.
        matches: the rule by which an anchor may learn a box.
        least_recall: share of the boxes to be learnt that some anchor must be allowed to learn, 0 to 1.
        size: side of the input, in pixels.
        resize: how images are brought to it.
        selection: what makes detections of predictions.
    """

    def __init__(
        self,
        grid: AnchorGrid,
        matches: Matches,
        least_recall: float,
        size: int,
        resize: Resize,
        selection: Selection,
    ) -> None:
        super().__init__(size, resize, selection)
        self.grid, self.matches, self.least_recall = grid, matches, least_recall

    def check_boxes(self, sizes: np.ndarray, images: np.ndarray) -> None:
        """Refuse anchors that fit the boxes to be learnt badly.

        Args:
            sizes: (N, 2) width and height of each box, in pixels of its image.
            images: (N, 2) width and height of that image.

        Raises:
            AnchorError: the best recall is below `least_recall`.
        """
        shapes = self.grid.shapes.flatten(0, 1).cpu()
        met = in_input(sizes, images, self.size, self.resize)
        logger.info("anchors: best recall %.3f", check_anchors(met, shapes, self.matches, self.least_recall))
