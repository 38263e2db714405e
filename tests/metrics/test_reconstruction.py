"""Reconstruction errors: mean squared error, PSNR, SSIM."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from cv_pipelines.metrics.reconstruction import per_sample_mse, reconstruction_scores


def noisy(shape, seed=0, noise=20):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, shape).astype(np.uint8)
    other = np.clip(images + rng.normal(0, noise, shape), 0, 255).astype(np.uint8)
    return images, other


def test_hand_worked_mse_and_psnr():
    images = np.zeros((2, 8, 8), np.uint8)
    other = images.copy()
    other[1] = 51  # a fifth of the scale
    np.testing.assert_allclose(per_sample_mse(images, other), [0, 0.04])
    scores = reconstruction_scores(images, other)
    assert scores["mse"] == pytest.approx(0.02)
    assert scores["psnr"] == pytest.approx(10 * np.log10(50))


def test_hand_worked_ssim_of_flat_images():
    # no variance anywhere: only the luminance term is left
    a, b, c1 = 0.2, 0.8, 0.01**2
    images, other = np.full((1, 16, 16), 51, np.uint8), np.full((1, 16, 16), 204, np.uint8)
    expected = (2 * a * b + c1) / (a**2 + b**2 + c1)
    assert reconstruction_scores(images, other)["ssim"] == pytest.approx(expected)


def test_identical_images_have_infinite_psnr():
    images, _ = noisy((3, 12, 12))
    assert reconstruction_scores(images, images) == {
        "mse": 0.0,
        "psnr": float("inf"),
        "ssim": pytest.approx(1.0),
    }


@pytest.mark.parametrize("shape", [(5, 28, 28), (300, 16, 20), (4, 32, 24, 3)])
def test_equals_torchmetrics(shape):
    images, other = noisy(shape)
    x, y = (torch.from_numpy(v.astype(np.float64)) / 255 for v in (images, other))
    x, y = (v[:, None] if v.ndim == 3 else v.permute(0, 3, 1, 2) for v in (x, y))
    scores = reconstruction_scores(images, other)
    assert scores["psnr"] == pytest.approx(float(peak_signal_noise_ratio(y, x, data_range=1.0)), rel=1e-6)
    assert scores["ssim"] == pytest.approx(float(structural_similarity_index_measure(y, x, data_range=1.0)))
    assert scores["mse"] == pytest.approx(float(((x - y) ** 2).mean()))


@pytest.mark.parametrize("side", [3, 5, 8, 10])
def test_small_images_get_a_smaller_window(side):
    images, near = noisy((4, side, side), noise=10)
    _, far = noisy((4, side, side), noise=90)
    good, bad = reconstruction_scores(images, near)["ssim"], reconstruction_scores(images, far)["ssim"]
    assert 1 > good > bad


def test_no_images():
    empty = np.zeros((0, 8, 8), np.uint8)
    assert per_sample_mse(empty, empty).shape == (0,)
    assert np.isnan(list(reconstruction_scores(empty, empty).values())).all()


@pytest.mark.parametrize(
    ("images", "other", "message"),
    [
        (np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 9), np.uint8), "reconstructions"),
        (np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8), r"expected \(N, H, W\)"),
        (np.zeros((1, 8, 8)), np.zeros((1, 8, 8)), "uint8"),
        (np.zeros((1, 2, 8), np.uint8), np.zeros((1, 2, 8), np.uint8), "8×2 pixels"),
    ],
)
def test_bad_input_is_named(images, other, message):
    with pytest.raises(ValueError, match=message):
        reconstruction_scores(images, other)
