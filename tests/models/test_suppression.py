"""Suppression: hand-worked cases, torchvision's batched_nms, and what holds for any boxes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torchvision.ops import batched_nms, box_iou

from cv_pipelines.config.suppression import Suppression
from cv_pipelines.models.suppression import suppress, suppressed

# of a row of 10×10 boxes, shifted by 0, 5 and 8 pixels, the overlaps are 1/3, 1/9 and 7/13
BOXES = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [8, 0, 18, 10]])
SCORES = torch.tensor([0.9, 0.8, 0.7])
ONE_CLASS = torch.zeros(3, dtype=torch.long)


def run(boxes=BOXES, scores=SCORES, labels=ONE_CLASS, **rule):
    kept, left = suppress(boxes, scores, labels, Suppression(**rule))
    return kept.tolist(), left.tolist()


def test_the_overlaps_that_the_cases_below_are_worked_from():
    overlap = box_iou(BOXES, BOXES)
    assert [overlap[0, 1], overlap[0, 2], overlap[1, 2]] == pytest.approx([1 / 3, 1 / 9, 7 / 13])


@pytest.mark.parametrize(
    ("overlap", "expected"), [(0.6, [0, 1, 2]), (0.5, [0, 1]), (0.2, [0, 2]), (0.1, [0])]
)
def test_nms_drops_what_overlaps_a_kept_box(overlap, expected):
    kept, scores = run(name="nms", overlap=overlap)
    assert kept == expected
    assert scores == SCORES[expected].tolist()


class TestSoft:
    """Soft-NMS (Bodla et al. 2017)."""

    def test_linear(self):
        # the second falls to 0.8 · 2/3 = 0.53, so the third is next; the first and third overlap too little
        kept, scores = run(name="soft_nms", kernel="linear", overlap=0.3)
        assert kept == [0, 2, 1]
        assert scores == pytest.approx([0.9, 0.7, 0.8 * (2 / 3) * (6 / 13)])

    def test_gaussian(self):
        kept, scores = run(name="soft_nms", sigma=0.5)
        second = 0.8 * math.exp(-((1 / 3) ** 2) / 0.5)
        third = 0.7 * math.exp(-((1 / 9) ** 2) / 0.5)
        # 0.64 and 0.68: the third comes second, and lowers what was the second
        assert kept == [0, 2, 1]
        assert scores == pytest.approx([0.9, third, second * math.exp(-((7 / 13) ** 2) / 0.5)])

    def test_scores_that_fall_too_low_are_dropped(self):
        assert run(name="soft_nms", kernel="linear", overlap=0.3, score_threshold=0.3)[0] == [0, 2]

    def test_a_copy_of_a_box_is_dropped(self):
        boxes = BOXES[[0, 0]]
        kept, scores = run(boxes, SCORES[:2], ONE_CLASS[:2], name="soft_nms", kernel="linear")
        assert (kept, scores) == ([0], SCORES[:1].tolist())


class TestMatrix:
    """Matrix NMS (Wang et al. 2020)."""

    def test_linear(self):
        # the second: 1 - 1/3. The third: by the first 8/9, by the second (6/13) / (2/3), which is less
        kept, scores = run(name="matrix_nms", kernel="linear")
        assert kept == [0, 1, 2]
        assert scores == pytest.approx([0.9, 0.8 * 2 / 3, 0.7 * (6 / 13) / (2 / 3)])

    def test_gaussian(self):
        def fall(o):
            return math.exp(-(o**2) / 0.5)

        _, scores = run(name="matrix_nms")
        third = min(fall(1 / 9), fall(7 / 13) / fall(1 / 3))
        assert scores == pytest.approx([0.9, 0.8 * fall(1 / 3), 0.7 * third])

    def test_a_suppressed_box_suppresses_none(self):
        # the second is a copy of the first, so what overlaps both is lowered by the first alone
        boxes = BOXES[[0, 0, 1]]
        kept, scores = run(boxes, SCORES, name="matrix_nms", kernel="linear")
        assert kept == [0, 2]
        assert scores == pytest.approx([0.9, 0.7 * 2 / 3])


@pytest.mark.parametrize("name", ["nms", "soft_nms", "matrix_nms"])
class TestAll:
    """What all ways have in common."""

    def test_classes_leave_each_other_alone(self, name):
        boxes, labels = BOXES[[0, 0, 0]], torch.tensor([0, 1, 2])
        assert run(boxes, SCORES, labels, name=name) == ([0, 1, 2], SCORES.tolist())
        assert run(boxes, SCORES, labels, name=name, by_class=False, score_threshold=0.2)[0] == [0]

    def test_no_box(self, name):
        kept, scores = run(BOXES[:0], SCORES[:0], ONE_CLASS[:0], name=name)
        assert kept == scores == []

    def test_limits(self, name):
        boxes = torch.tensor([[20.0 * i, 0, 20.0 * i + 10, 10] for i in range(6)])
        scores, labels = torch.tensor([0.1, 0.6, 0.3, 0.04, 0.5, 0.2]), torch.zeros(6, dtype=torch.long)
        assert run(boxes, scores, labels, name=name)[0] == [1, 4, 2, 5, 0]
        assert run(boxes, scores, labels, name=name, score_threshold=0.25)[0] == [1, 4, 2]
        assert run(boxes, scores, labels, name=name, max_detections=2)[0] == [1, 4]
        assert run(boxes, scores, labels, name=name, candidates=3)[0] == [1, 4, 2]

    def test_boxes_without_area(self, name):
        boxes = torch.tensor([[5.0, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 10]])
        kept, scores = run(boxes, SCORES, name=name)
        assert kept == [0, 1, 2]
        assert scores == SCORES.tolist()


corner = st.integers(0, 20).map(float)
side = st.integers(1, 12).map(float)
box = st.tuples(corner, corner, side, side, st.integers(1, 9), st.integers(0, 2))


def tensors(rows):
    x, y, w, h, tenths, labels = torch.tensor(rows).reshape(-1, 6).T
    return torch.stack([x, y, x + w, y + h], 1), tenths / 10, labels.long()


@settings(max_examples=60, deadline=None)
@given(st.lists(box, max_size=25), st.sampled_from([0.2, 0.5, 0.7]))
def test_nms_is_torchvisions(rows, overlap):
    # distinct scores: of equal ones torchvision does not say which is kept
    boxes, _, labels = tensors(rows)
    scores = torch.linspace(0.9, 0.1, len(boxes))
    kept, left = suppress(boxes, scores, labels, Suppression(name="nms", overlap=overlap))
    expected = batched_nms(boxes, scores, labels, overlap)
    assert kept.tolist() == expected.tolist()
    assert torch.equal(left, scores[expected])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(box, max_size=25),
    st.sampled_from(["soft_nms", "matrix_nms"]),
    st.sampled_from(["gaussian", "linear"]),
)
def test_soft_ways_only_lower_scores_and_never_the_surest(rows, name, kernel):
    boxes, scores, labels = tensors(rows)
    kept, left = suppress(boxes, scores, labels, Suppression(name=name, kernel=kernel, score_threshold=0.0))
    assert sorted(kept.tolist()) == list(range(len(boxes)))
    assert (left <= scores[kept] + 1e-6).all()
    assert (left[:-1] >= left[1:]).all()
    for label in set(labels.tolist()):
        assert left[labels[kept] == label].max() == scores[labels == label].max()


@settings(max_examples=60, deadline=None)
@given(st.lists(box, max_size=20))
def test_a_very_narrow_gaussian_leaves_what_nms_leaves_of_any_overlap(rows):
    boxes, scores, labels = tensors(rows)
    soft, _ = suppress(boxes, scores, labels, Suppression(name="soft_nms", sigma=1e-9))
    hard, _ = suppress(boxes, scores, labels, Suppression(name="nms", overlap=1e-6))
    assert soft.tolist() == hard.tolist()


def test_what_belongs_to_a_box_goes_with_it():
    found = {"boxes": BOXES, "scores": SCORES, "labels": ONE_CLASS, "masks": torch.arange(3.0)[:, None]}
    kept = suppressed(found, Suppression(name="soft_nms", kernel="linear"))
    assert kept["masks"].flatten().tolist() == [0.0, 2.0, 1.0]
    assert {name: len(values) for name, values in kept.items()} == dict.fromkeys(found, 3)


def test_none_keeps_all():
    assert run(BOXES[[0, 0, 0]], name="none") == ([0, 1, 2], SCORES.tolist())


def test_options_of_another_way_are_refused():
    with pytest.raises(ValidationError, match=r"no option of nms; allowed are .*overlap"):
        Suppression(name="nms", sigma=0.5)
