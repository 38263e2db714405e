"""The programs that score by COCO's protocol: pycocotools (Lin et al. 2014), and two that are faster.

They take the same two lists and give the same figures, equal to pycocotools' but for rounding in the last bit
(the tests say on what). So what is reported comes from pycocotools, and what is only watched while a model
trains may come from a faster one.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Literal, get_args

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cv_pipelines.config import Backend

IouType = Literal["bbox", "segm", "keypoints"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)

_MODULES: dict[Backend, str] = {
    "pycocotools": "pycocotools",
    "faster-coco-eval": "faster_coco_eval",
    "hotcoco": "hotcoco",
}


CLASSES_AT_A_TIME = 10
"""What pycocotools evaluates at once: memory grows with it, and time hardly falls."""


@dataclass(frozen=True)
class Protocol:
    """What is asked of a back end.

    Attributes:
        iou_type: what overlaps: boxes, masks, or the points of poses (their similarity, OKS).
        max_detections: detections an image and class that count, surest first, ascending; None for COCO's
            own: 1, 10, 100, of poses 20.
        sigmas: of each keypoint, the share of an object's scale that people differ by; None for COCO's 17.
        classes: whether a detection has to be of its object's class; without, all classes are one.
    """

    iou_type: IouType = "bbox"
    max_detections: tuple[int, ...] | None = None
    sigmas: tuple[float, ...] | None = None
    classes: bool = True

    def set(self, parameters: Any) -> None:
        """Set the parameters of a `COCOeval` of any back end."""
        if self.max_detections is not None:
            parameters.maxDets = list(self.max_detections)
        if self.sigmas is not None:
            parameters.kpt_oks_sigmas = np.asarray(self.sigmas)
        if not self.classes:
            parameters.useCats = 0


@dataclass(frozen=True)
class Accumulated:
    """Precision and recall over a data set; -1 where a class has no object of a size.

    Attributes:
        precision: (T, R, K, A, M) float64 at IoU thresholds 0.50, 0.55, … 0.95, recalls 0, 0.01, … 1,
            classes, area ranges and numbers of detections an image.
        recall: (T, K, A, M) float64, the highest that is reached.
        classes: (K,) ids, ascending.
        areas: (A,) "all", "small", "medium", "large"; poses have no "small".
        max_detections: (M,) ascending.
    """

    precision: np.ndarray
    recall: np.ndarray
    classes: tuple[int, ...]
    areas: tuple[str, ...]
    max_detections: tuple[int, ...]


def installed(backend: Backend) -> bool:
    """Whether a back end's package is there."""
    return find_spec(_MODULES[backend]) is not None


def named(backend: Backend) -> str:
    """Return a back end's name and version, as contracts give it."""
    return f"{backend} {version(backend)}"


def accumulated(
    truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]], protocol: Protocol, backend: Backend
) -> Accumulated:
    """Score results against a truth.

    Args:
        truth: COCO annotations; not changed.
        found: COCO results, may be empty; not changed. Those of classes that the truth does not list count
            as nothing.
        protocol: what is asked.
        backend: which program answers.

    Raises:
        ModuleNotFoundError: its package is not installed.
    """
    classes = {c["id"] for c in truth["categories"]}
    known = [row for row in found if row["category_id"] in classes]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = _EVALUATIONS[backend](truth, known, protocol.iou_type)
        protocol.set(evaluation.params)
        if backend == "pycocotools" and protocol.classes:
            made = _class_by_class(evaluation)
        else:
            evaluation.evaluate()
            evaluation.accumulate()
            made = evaluation.eval
    parameters = evaluation.params
    return Accumulated(
        made["precision"],
        made["recall"],
        tuple(int(key) for key in parameters.catIds),
        tuple(parameters.areaRngLbl),
        tuple(parameters.maxDets),
    )


def matched(
    truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]], iou_type: IouType = "bbox"
) -> COCOeval:
    """Match results with true objects by pycocotools, image by image: the one step that looks at boxes.

    Args:
        truth: COCO annotations.
        found: COCO results; may be empty.
        iou_type: "bbox", "segm" or "keypoints".

    Returns:
        A `COCOeval` after `evaluate`: its `evalImgs` are independent of each other.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = _pycocotools(truth, found, iou_type)
        evaluation.evaluate()
    return evaluation


def _class_by_class(evaluation: COCOeval) -> dict[str, np.ndarray]:
    """Let pycocotools evaluate some classes at a time, which are independent of each other.

    What it keeps of each image, class and size would else add up to gigabytes.
    """
    classes = evaluation.params.catIds
    parts = []
    for start in range(0, len(classes), CLASSES_AT_A_TIME) or [0]:
        evaluation.params.catIds = classes[start : start + CLASSES_AT_A_TIME]
        evaluation.evaluate()
        evaluation.accumulate()
        parts.append(evaluation.eval)
    evaluation.params.catIds = classes
    return {
        name: np.concatenate([part[name] for part in parts], axis=axis)
        for name, axis in (("precision", 2), ("recall", 1))
    }


def _pycocotools(truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]], iou_type: IouType) -> COCOeval:
    # pycocotools writes into every object it is given, and makes a polygon of a box that has no mask
    filled = {"segmentation": None} if iou_type == "bbox" else {}
    reference = _index(truth, [dict(a) for a in truth["annotations"]])
    detections = reference.loadRes([{**filled, **r} for r in found]) if found else _index(truth, [])
    return COCOeval(reference, detections, iou_type)


def _index(truth: Mapping[str, Any], annotations: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {**truth, "annotations": annotations}
    coco.createIndex()
    return coco


def _faster(truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]], iou_type: IouType) -> Any:
    from faster_coco_eval import COCO, COCOeval_faster

    reference = COCO({**truth, "annotations": [dict(a) for a in truth["annotations"]]})
    rows = [dict(r) for r in found]
    detections = reference.loadRes(rows) if rows else COCO({**truth, "annotations": []})
    evaluation = COCOeval_faster(reference, detections, iou_type)
    # of poses it would leave out the classes without objects
    evaluation.params.catIds = sorted(reference.getCatIds())
    return evaluation


def _hotcoco(truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]], iou_type: IouType) -> Any:
    from hotcoco import COCO, COCOeval

    reference, rows = COCO(dict(truth)), list[Any](found)
    return COCOeval(reference, reference.load_res(rows), iou_type)


_EVALUATIONS: dict[Backend, Any] = {
    "pycocotools": _pycocotools,
    "faster-coco-eval": _faster,
    "hotcoco": _hotcoco,
}
