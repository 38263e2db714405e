"""The `evaluate.suppression` section of an experiment: how overlapping detections are told apart."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from cv_pipelines.config.sections import Choice, Positive, Share


class Suppression(Choice):
    """How overlapping boxes of a class are told apart.

    An option that is None has the method's usual value.

    Attributes:
        name: `nms` drops a box that overlaps a surer one of its class; `soft_nms` lowers its score by how
            much it overlaps each surer one (Bodla et al. 2017); `matrix_nms` does so for all boxes at once,
            and less where the surer one is itself doubtful (Wang et al. 2020, SOLOv2, §3.3); `none` keeps
            all.
        overlap: of nms, the IoU above which a box is dropped (0.5); of soft_nms with the linear kernel, the
            one from which scores are lowered (0.3).
        kernel: of soft_nms and matrix_nms, how scores fall with the IoU o: `gaussian` by exp(-o² / sigma),
            `linear` by 1 - o (gaussian).
        sigma: of the gaussian kernel: the smaller, the harder (0.5, as both papers).
        score_threshold: boxes with a lower score, before or after, are dropped; 0 to 1.
        candidates: the surest boxes of an image that are looked at; what matrix_nms holds grows with its
            square.
        max_detections: kept an image.
        by_class: whether boxes of different classes leave each other alone.
    """

    options: ClassVar[dict[str, tuple[str, ...]]] = {
        "matrix_nms": ("kernel", "sigma"),
        "nms": ("overlap",),
        "none": (),
        "soft_nms": ("kernel", "overlap", "sigma"),
    }

    name: Literal["matrix_nms", "nms", "none", "soft_nms"] = "nms"
    overlap: Share | None = None
    kernel: Literal["gaussian", "linear"] | None = None
    sigma: Annotated[float, Field(gt=0)] | None = None
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.05
    candidates: Positive = 1000
    max_detections: Positive = 100
    by_class: bool = True
