"""Where methods come from: the one place that pages and docs take their years and what was new from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """Where a method comes from.

    Attributes:
        year: of its first publication.
        novelty: what it brought, in a sentence.
    """

    year: int
    novelty: str


ORIGINS = {
    "fast_rcnn": Origin(
        2015,
        "The network passes over the image once, regions are pooled from its map; class and box learned "
        "together, without machines.",
    ),
    "faster_rcnn": Origin(
        2015,
        "Proposals by a network that shares its features with the classifier: the first detector learned in "
        "one piece.",
    ),
    "fcos": Origin(
        2019, "No anchors: each place says how far the sides of its object are, and how central it is."
    ),
    "keypoint_rcnn": Origin(
        2017, "The keypoints of each object beside its box: a map a point, trained to light up one cell."
    ),
    "localizer": Origin(2013, "One object an image: a classifier that also says where, by squared error."),
    "mask_rcnn": Origin(
        2017, "A mask of each object beside its box; regions pooled without rounding (RoIAlign)."
    ),
    "rcnn": Origin(
        2014,
        "Only some 2,000 regions an image are looked at, each by a network learned for another task and "
        "tuned; a support vector machine a class on its features, and boxes that are moved.",
    ),
    "retinanet": Origin(
        2017,
        "One pass as accurate as two: a loss that easy background hardly counts in (focal loss), on a "
        "feature pyramid.",
    ),
    "rt_detr": Origin(
        2023,
        "No choice among overlapping boxes: queries that attend to the image are each matched with one "
        "object or none, at the speed of a YOLO.",
    ),
    "sliding_window": Origin(
        2013,
        "A classifier at every place and scale; turned into a convolution, windows that overlap share their "
        "work.",
    ),
    "ssd": Origin(
        2016,
        "No proposals: boxes of fixed shapes at every place of several maps, classified in one pass; hard "
        "negatives.",
    ),
    "yolo_v1": Origin(
        2016, "No proposals and no second stage: one network that says in one pass what is where."
    ),
    "yolo_v3_tiny": Origin(
        2018, "Anchors found by k-means, predictions at two scales, each class by logistic regression."
    ),
    "yolo_v5": Origin(
        2020,
        "Cross-stage-partial backbone, a pyramid with a path back down, CIoU loss, mosaic, an average of the "
        "weights.",
    ),
}
"""By the name of the model, as `MODELS` has it; a model that stands for no method has none."""
