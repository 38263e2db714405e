"""One prediction of several: means by hand, and boxes fused as the paper's formulas say."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cv_pipelines.tasks.fusion import Detections, weighted_boxes, weighted_mean


def found(*rows):
    """Detections from rows (x1, y1, x2, y2, label, score)."""
    table = np.array(rows, dtype=float).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4].astype(int), table[:, 5])


def rows_of(boxes):
    rows = zip(boxes.corners.tolist(), boxes.labels.tolist(), boxes.scores.tolist(), strict=True)
    return ordered([*corners, label, score] for corners, label, score in rows)


def ordered(rows):
    """By class and place, of which the last digits are no matter."""
    return sorted(rows, key=lambda row: (row[4], [round(value, 6) for value in row[:4]], row[5]))


def same(one, two):
    assert len(one.scores) == len(two.scores)
    for a, b in zip(rows_of(one), rows_of(two), strict=True):
        assert a == pytest.approx(b, rel=1e-9, abs=1e-9)


class TestBoxes:
    """Weighted Boxes Fusion; numbers of equations are those of Solovyev et al. 2021."""

    def test_two_that_agree_are_one(self):
        # IoU 100 / 120. Eq. 1: (0.8 + 0.4) / 2; eq. 3: y2 = (0.8·10 + 0.4·12) / 1.2; eq. 4: · 2 / 2
        fused = weighted_boxes([found((0, 0, 10, 10, 1, 0.8)), found((0, 0, 10, 12, 1, 0.4))], [1, 1], 0.55)
        assert rows_of(fused) == [pytest.approx([0, 0, 10, 12.8 / 1.2, 1, 0.6])]

    def test_what_one_of_two_missed_has_half_the_score(self):
        fused = weighted_boxes([found((2, 3, 10, 11, 0, 0.8)), found()], [1, 1], 0.55)
        assert rows_of(fused) == [pytest.approx([2, 3, 10, 11, 0, 0.4])]

    def test_weights_count_in_corners_and_scores(self):
        # parts 0.8·3 and 0.4·1: y2 = (2.4·10 + 0.4·12) / 2.8; score (0.8·3 + 0.4·1) / 4
        pair = [found((0, 0, 10, 10, 0, 0.8)), found((0, 0, 10, 12, 0, 0.4))]
        assert rows_of(weighted_boxes(pair, [3, 1], 0.55)) == [
            pytest.approx([0, 0, 10, 28.8 / 2.8, 0, 2.8 / 4])
        ]
        # a detector that counts three times as much leaves three quarters when it is alone
        alone = weighted_boxes([pair[0], found()], [3, 1], 0.55)
        assert alone.scores.tolist() == pytest.approx([0.6])

    def test_classes_stay_apart(self):
        fused = weighted_boxes([found((0, 0, 9, 9, 0, 0.8)), found((0, 0, 9, 9, 1, 0.4))], [1, 1], 0.55)
        assert rows_of(fused) == [[0, 0, 9, 9, 0, 0.4], [0, 0, 9, 9, 1, 0.2]]

    @pytest.mark.parametrize(("overlap", "count"), [(0.66, 1), (0.67, 2)])
    def test_the_overlap_decides(self, overlap, count):
        # 8·10 shared of 120: IoU 2/3
        pair = [found((0, 0, 10, 10, 0, 0.9)), found((2, 0, 12, 10, 0, 0.8))]
        assert len(weighted_boxes(pair, [1, 1], overlap).scores) == count

    def test_a_box_is_compared_with_the_fused_one(self):
        # The third overlaps the first by 6/14 only, but by 0.53 the mean of the first two, 0.94 to 10.94.
        three = [found((x, 0, x + 10, 10, 0, score)) for x, score in ((0, 0.9), (2, 0.8), (4, 0.7))]
        x1 = (2 * 0.8 + 4 * 0.7) / 2.4
        assert rows_of(weighted_boxes(three, [1, 1, 1], 0.5)) == [pytest.approx([x1, 0, x1 + 10, 10, 0, 0.8])]

    def test_two_boxes_of_one_detector_are_no_agreement(self):
        pair = found((0, 0, 10, 10, 0, 0.8), (0, 0, 10, 9, 0, 0.6))
        fused = weighted_boxes([pair, found()], [1, 1], 0.55)
        assert rows_of(fused) == [pytest.approx([0, 0, 10, (8 + 5.4) / 1.4, 0, 0.7 / 2])]

    def test_the_best_comes_first_and_boxes_without_area_are_left_out(self):
        fused = weighted_boxes(
            [found((0, 0, 4, 4, 0, 0.2), (5, 5, 5, 9, 0, 0.9)), found((20, 20, 24, 24, 1, 0.6))], [1, 1], 0.5
        )
        assert fused.scores.tolist() == pytest.approx([0.3, 0.1])
        assert fused.labels.tolist() == [1, 0]

    def test_scores_of_zero_divide_nothing(self):
        twice = [found((0, 0, 4, 4, 0, 0.0))] * 2
        assert rows_of(weighted_boxes(twice, [1, 1], 0.5)) == [[0, 0, 4, 4, 0, 0]]

    def test_nothing_found_is_nothing(self):
        fused = weighted_boxes([found(), found()], [1, 1], 0.55)
        assert fused.corners.shape == (0, 4)
        assert fused.labels.shape == fused.scores.shape == (0,)

    def test_a_weight_a_detector(self):
        with pytest.raises(ValueError, match="1 weights for 2 detectors"):
            weighted_boxes([found(), found()], [1], 0.55)


def reference(lists, weights, overlap):
    """The algorithm in plain Python, cluster by cluster, from the description in the paper."""
    total, pool = sum(weights), []
    for owner, (boxes, weight) in enumerate(zip(lists, weights, strict=True)):
        pool += [(row[5] * weight, row, weight, owner) for row in boxes]
    pool.sort(key=lambda entry: -entry[0])
    clusters = []
    for entry in pool:
        candidates = [c for c in clusters if c[0][1][4] == entry[1][4]]
        best = max(candidates, key=lambda c: overlap_of(mean_box(c), entry[1]), default=None)
        if best is not None and overlap_of(mean_box(best), entry[1]) > overlap:
            best.append(entry)
        else:
            clusters.append([entry])
    result = []
    for cluster in clusters:
        mean = sum(part for part, *_ in cluster) / sum(weight for _, _, weight, _ in cluster)
        present = sum({owner: weight for _, _, weight, owner in cluster}.values())
        result.append([*mean_box(cluster), cluster[0][1][4], mean * present / total])
    return ordered(result)


def mean_box(cluster):
    whole = sum(part for part, *_ in cluster)
    return [sum(part * row[i] for part, row, *_ in cluster) / whole for i in range(4)]


def overlap_of(a, b):
    shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


PRIMES = [p for p in range(11, 400) if all(p % q for q in range(2, p))]


@st.composite
def ensembles(draw):
    """Detectors that crowd a small image; weighted scores differ, so that no order is left to chance."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = (rng.permutation(PRIMES) / 401).tolist()
    detectors = []
    for _ in range(rng.integers(2, 5)):
        # no whole pixels: an overlap that equals another one, or the limit, is decided by rounding
        x, y, w, h = rng.uniform([[0], [0], [4], [4]], 13, (4, rng.integers(0, 7))).tolist()
        label = rng.integers(0, 2, len(x)).tolist()
        places = zip(x, y, w, h, label, strict=True)
        detectors.append([(a, b, a + c, b + d, k, scores.pop()) for a, b, c, d, k in places])
    return detectors, rng.integers(1, 5, len(detectors)).tolist()


@given(ensembles(), st.sampled_from([0.3, 0.55, 0.7]))
def test_it_does_what_plain_python_does(case, overlap):
    lists, weights = case
    fused = weighted_boxes([found(*rows) for rows in lists], weights, overlap)
    expected = reference(lists, weights, overlap)
    assert len(fused.scores) == len(expected)
    for ours, theirs in zip(rows_of(fused), expected, strict=True):
        assert ours == pytest.approx(theirs)
    assert (np.diff(fused.scores) <= 0).all()


@given(ensembles(), st.randoms(use_true_random=False))
def test_the_order_of_detectors_and_the_scale_of_weights_change_nothing(case, random):
    lists, weights = case
    order = random.sample(range(len(lists)), len(lists))
    fused = weighted_boxes([found(*rows) for rows in lists], weights, 0.55)
    shuffled = [found(*lists[i]) for i in order]
    same(fused, weighted_boxes(shuffled, [4 * weights[i] for i in order], 0.55))


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1), st.integers(1, 99)), unique_by=lambda r: r[0])
)
def test_one_alone_stays_as_it_is_and_so_does_one_many_times(places):
    one = found(*((20 * x, 0, 20 * x + 9, 9, label, score / 100) for x, label, score in places))
    assert weighted_boxes([one], [0.3], 0.55) is one
    same(weighted_boxes([one] * 3, [1, 2, 1], 0.55), one)


def test_mirrored_boxes():
    boxes = found((2, 3, 8, 9, 0, 0.5), (0, 0, 20, 4, 1, 0.25))
    assert rows_of(boxes.mirrored(20)) == [[12, 3, 18, 9, 0, 0.5], [0, 0, 20, 4, 1, 0.25]]
    same(boxes.mirrored(20).mirrored(20), boxes)
    assert found().mirrored(20).corners.shape == (0, 4)


# training with flushed denormals in the same process keeps hypothesis from drawing floats
CHANCES = st.integers(1, 99).map(lambda percent: percent / 100)


class TestMean:
    """Weighted means of probabilities."""

    def test_by_hand(self):
        mean = weighted_mean([torch.tensor([0.2, 0.8]), torch.tensor([0.6, 0.4])], [3, 1])
        assert mean.tolist() == pytest.approx([0.3, 0.7])

    def test_one_alone_stays_as_it_is_to_the_last_bit(self):
        one = torch.rand(5, generator=torch.Generator().manual_seed(0))
        for weight in (1, 3, 0.1):
            assert torch.equal(weighted_mean([one], [weight]), one)

    @given(st.lists(st.tuples(CHANCES, st.integers(1, 5)), min_size=1, max_size=6), st.randoms())
    def test_order_and_repetition_change_nothing(self, pairs, random):
        def mean(pairs):
            tensors = (torch.tensor([p, 1 - p], dtype=torch.float64) for p, _ in pairs)
            return weighted_mean(tensors, [w for _, w in pairs]).tolist()

        expected = mean(pairs)
        assert sum(expected) == pytest.approx(1)
        assert mean(random.sample(pairs, len(pairs))) == pytest.approx(expected)
        assert mean(pairs + pairs) == pytest.approx(expected)

    @given(st.lists(CHANCES, min_size=1, max_size=6))
    def test_the_log_loss_is_never_above_the_mean_of_the_losses(self, chances):
        mean = weighted_mean([torch.tensor(p, dtype=torch.float64) for p in chances], [1] * len(chances))
        losses = [-math.log(p) for p in chances]
        assert -math.log(float(mean)) <= sum(losses) / len(losses) + 1e-9

    def test_a_weight_each_and_something_to_average(self):
        with pytest.raises(ValueError, match=r"shorter|longer"):
            weighted_mean([torch.ones(1)], [1, 1])
        with pytest.raises(ValueError, match="nothing to average"):
            weighted_mean([], [])

    def test_one_output_is_held_at_a_time(self):
        alive = []

        def outputs():
            for _ in range(4):
                alive.append("made")
                yield torch.ones(2)
                alive.append("used")

        weighted_mean(outputs(), [1] * 4)
        assert alive == ["made", "used"] * 4
