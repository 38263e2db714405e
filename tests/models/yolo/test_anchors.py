"""Anchors: k-means by IoU, what they reach, and what is said where they reach nothing."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from cv_pipelines.errors import AnchorError
from cv_pipelines.models import builder
from cv_pipelines.models.yolo.anchors import (
    best_recall,
    find_anchors,
    in_input,
    like_enough,
    mean_iou,
    overlaps_enough,
    shape_iou,
)

shapes = st.lists(st.tuples(st.floats(1, 400), st.floats(1, 400)), min_size=1, max_size=20)


@given(shapes, shapes)
def test_shape_iou_is_that_of_boxes_in_one_corner(sizes, anchors):
    a, b = (torch.tensor(part, dtype=torch.float64) for part in (sizes, anchors))
    expected = box_iou(*(torch.cat([torch.zeros_like(part), part], dim=1) for part in (a, b)))
    assert torch.allclose(shape_iou(a, b), expected)


def test_clusters_are_found():
    rng = np.random.default_rng(0)
    centres = np.array([[10.0, 12], [40, 20], [90, 110]])
    sizes = torch.from_numpy(np.concatenate([c * rng.uniform(0.95, 1.05, (50, 2)) for c in centres]))
    for seed in range(5):
        assert torch.allclose(find_anchors(sizes, 3, seed), torch.from_numpy(centres), rtol=0.03)


def test_the_best_division_of_few_boxes_is_found():
    sizes = torch.tensor([[10.0, 10], [12, 11], [50, 20], [55, 25], [100, 90]])
    found = find_anchors(sizes, 3)
    best = max(
        mean_iou(sizes, torch.stack([sizes[list(group)].mean(dim=0) for group in (o[:a], o[a:b], o[b:])]))
        for o in permutations(range(5))
        for a in range(1, 4)
        for b in range(a + 1, 5)
    )
    assert mean_iou(sizes, found) == pytest.approx(best)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=4, max_size=60, unique=True),
    st.integers(1, 4),
    st.integers(0, 5),
)
def test_each_anchor_is_the_mean_of_the_boxes_closest_to_it(boxes, count, seed):
    sizes = torch.tensor(boxes, dtype=torch.float64)
    anchors = find_anchors(sizes, count, seed)
    nearest = shape_iou(sizes, anchors).argmax(dim=1)
    assert sorted(set(nearest.tolist())) == list(range(count))
    for k in range(count):
        assert torch.allclose(sizes[nearest == k].mean(dim=0), anchors[k])
    assert (anchors.prod(dim=1).diff() >= 0).all()


def test_as_many_anchors_as_shapes_are_the_shapes():
    sizes = torch.tensor([[4.0, 4], [8, 4], [4, 4], [8, 9]])
    assert find_anchors(sizes, 3).tolist() == [[4, 4], [8, 4], [8, 9]]
    with pytest.raises(AnchorError, match="4 anchors: the boxes have only 3 different shapes"):
        find_anchors(sizes, 4)


def test_best_recall_counts_the_boxes_that_some_anchor_may_learn():
    sizes = torch.tensor([[10.0, 10], [10, 41], [40, 10], [100, 100]])
    anchors = torch.tensor([[10.0, 10], [20, 20]])
    assert best_recall(sizes, anchors, like_enough) == 0.75  # 41 : 20 and 10 : 20; 100 is five times 20
    assert best_recall(sizes, anchors, overlaps_enough) == 0.25


def test_boxes_scale_with_their_image_s_longer_side():
    sizes, images = np.array([[10.0, 20], [0, 5], [30, 30]]), np.array([[100.0, 200], [100, 100], [60, 30]])
    assert in_input(sizes, images, 50).tolist() == [[2.5, 5.0], [25.0, 25.0]]
    assert in_input(sizes, images, 50, "stretch").tolist() == [[5.0, 5.0], [25.0, 50.0]]


@pytest.mark.parametrize("name", ["yolo_v3_tiny", "yolo_v5"])
class TestRefusal:
    """Anchors that fit no box of the train split."""

    sizes = np.array([[4.0, 4], [5, 6], [6, 5]])
    images = np.full((3, 2), 64.0)

    def build(self, name, side, **options):
        return builder(name)(3, 2, size=64, width=0.1, anchors=[[side, side]] * 6, **options)

    def test_names_the_best_recall_and_what_to_do(self, name):
        with pytest.raises(AnchorError) as caught:
            self.build(name, 60.0).check_boxes(self.sizes, self.images)
        for part in (
            "model.anchors",
            "60.0",
            "best recall 0.000",
            "median box is 5.0 × 5.0",
            "kedro cv anchors",
        ):
            assert part in str(caught.value)

    def test_is_not_for_anchors_that_fit(self, name):
        self.build(name, 5.0).check_boxes(self.sizes, self.images)

    def test_goes_by_the_recall_that_is_asked_for(self, name):
        sizes = np.array([[4.0, 4], [40, 40], [41, 41]])
        self.build(name, 4.0, least_recall=0.3).check_boxes(sizes, self.images)
        with pytest.raises(AnchorError, match=r"best recall 0.333, expected at least 0.500"):
            self.build(name, 4.0, least_recall=0.5).check_boxes(sizes, self.images)

    def test_is_there_even_where_no_recall_is_asked_for(self, name):
        with pytest.raises(AnchorError, match=r"best recall 0.000"):
            self.build(name, 60.0, least_recall=0.0).check_boxes(self.sizes, self.images)

    def test_is_not_for_a_source_without_boxes(self, name):
        self.build(name, 60.0).check_boxes(np.zeros((0, 2)), np.zeros((0, 2)))
