"""Distances between real and generated embeddings."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from cv_pipelines.metrics.generative import frechet_distance, kernel_distance, precision_recall


def gaussian(seed, n=300, d=6, mean=0.0, scale=1.0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (n, d)) @ rng.normal(0, scale, (d, d)) + mean


def with_moments(x, mean, covariance):
    """Move and stretch a sample so that its mean and unbiased covariance are exactly the given ones."""
    centred = x - x.mean(axis=0)
    white = centred @ np.linalg.inv(np.linalg.cholesky(np.cov(centred.T)).T)
    return white @ np.linalg.cholesky(covariance).T + mean


def test_frechet_of_known_gaussians():
    # diagonal covariances: |m1 - m2|² + sum (s1 - s2)²
    real = with_moments(gaussian(0, d=3), [0, 0, 0], np.diag([1.0, 4, 9]))
    fake = with_moments(gaussian(1, n=200, d=3), [1, 2, 2], np.diag([4.0, 4, 1]))
    assert frechet_distance(real, fake) == pytest.approx(9 + (1 + 0 + 4))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_frechet_equals_sqrtm_and_torchmetrics(seed):
    real, fake = gaussian(seed), gaussian(seed + 1, mean=0.5)
    c1, c2 = np.cov(real.T), np.cov(fake.T)
    gap = real.mean(axis=0) - fake.mean(axis=0)
    expected = gap @ gap + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-6)
    moments = [torch.from_numpy(m) for m in (real.mean(axis=0), c1, fake.mean(axis=0), c2)]
    assert frechet_distance(real, fake) == pytest.approx(float(_compute_fid(*moments)), rel=1e-6)


def test_frechet_with_rank_deficient_covariance():
    real, fake = gaussian(0, n=10, d=64), gaussian(1, n=12, d=64)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(real, real + 2) == pytest.approx(4 * 64)
    # a rotation moves no distance
    turn = np.linalg.qr(gaussian(3, n=64, d=64)).Q
    assert frechet_distance(real @ turn, fake @ turn) == pytest.approx(frechet_distance(real, fake))
    assert frechet_distance(real, fake) == pytest.approx(frechet_distance(fake, real))


def test_frechet_of_constant_sets():
    assert frechet_distance(np.zeros((5, 3)), np.full((4, 3), 2.0)) == 12


def test_kernel_distance_hand_worked():
    # one dimension, kernel (xy + 1)³
    real, fake = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    expected = 1 + 27 - 2 * (1 + 1 + 8 + 27) / 4
    assert kernel_distance(real, fake) == pytest.approx(expected)


def test_kernel_distance_equals_torchmetrics():
    real, fake = gaussian(0, d=16), gaussian(1, d=16, mean=1)
    x, y = torch.from_numpy(real), torch.from_numpy(fake)
    assert kernel_distance(real, fake) == pytest.approx(float(poly_mmd(x, y)))


def test_kernel_distance_is_unbiased_and_tells_sets_apart():
    same = [
        kernel_distance(
            np.random.default_rng(s).normal(size=(100, 4)),
            np.random.default_rng(-s + 99).normal(size=(80, 4)),
        )
        for s in range(40)
    ]
    assert min(same) < 0 < max(same)
    assert abs(np.mean(same)) < 0.1
    rng = np.random.default_rng(0)
    assert kernel_distance(rng.normal(size=(100, 4)), rng.normal(2, 1, size=(80, 4))) > 1


def test_large_sets_are_drawn_from_by_seed():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(2100, 4)), rng.normal(0.5, 1, size=(1500, 4))
    one = kernel_distance(real, fake, subsets=5, subset_size=300)
    assert one == kernel_distance(real, fake, subsets=5, subset_size=300)
    assert one != kernel_distance(real, fake, subsets=5, subset_size=300, seed=1)
    assert one == pytest.approx(kernel_distance(real[:2000], fake), rel=0.5)


def test_precision_and_recall_hand_worked():
    # radii for k=1: 1 around each real point; 0.1, 0.1 and 49.4 around the fake ones
    real = np.array([[0.0], [1.0], [10.0], [11.0]])
    fake = np.array([[0.5], [0.6], [50.0]])
    assert precision_recall(real, fake, k=1) == {
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(3 / 4),
    }


def test_precision_and_recall_tell_collapse_from_noise():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(200, 2))
    collapsed = precision_recall(real, rng.normal(0, 0.02, size=(200, 2)))
    assert collapsed["precision"] > 0.95
    assert collapsed["recall"] < 0.1
    wild = precision_recall(real, rng.normal(0, 30, size=(200, 2)))
    assert wild["precision"] < 0.1
    assert wild["recall"] > 0.5
    assert precision_recall(real, real) == {"precision": 1, "recall": 1}


def test_duplicates_cover_only_themselves():
    real, fake = np.zeros((5, 2)), np.full((5, 2), 1e-6)
    assert precision_recall(real, fake) == {"precision": 0, "recall": 0}


@pytest.mark.parametrize("score", [frechet_distance, kernel_distance, precision_recall])
@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (np.zeros((0, 3)), np.zeros((9, 3)), "of each at least"),
        (np.zeros((9, 3)), np.zeros((1, 3)), "of each at least"),
        (np.zeros((9, 3)), np.zeros((9, 4)), r"expected \(N, D\)"),
        (np.zeros(9), np.zeros(9), r"expected \(N, D\)"),
        (np.zeros((9, 3)), np.full((9, 3), np.nan), "finite"),
    ],
)
def test_bad_input_is_named(score, real, fake, message):
    with pytest.raises(ValueError, match=message):
        score(real, fake)


def test_neighbour_must_exist():
    with pytest.raises(ValueError, match="4 of each"):
        precision_recall(np.zeros((3, 2)), np.zeros((9, 2)), k=3)
    with pytest.raises(ValueError, match="k is 0"):
        precision_recall(np.zeros((3, 2)), np.zeros((9, 2)), k=0)
