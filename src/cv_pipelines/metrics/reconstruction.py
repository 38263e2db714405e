"""How near reconstructed images (autoencoders, VAEs) come to the originals."""

from __future__ import annotations

import numpy as np
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

WINDOW_SIGMA = 1.5
WINDOW_RADIUS = 5
BATCH = 256


def reconstruction_scores(images: np.ndarray, reconstructions: np.ndarray) -> dict[str, float]:
    """Score reconstructions over a data set.

    `ssim` is the mean over images of Wang et al. 2004 with their 11×11 Gaussian window of sigma 1.5, borders
    reflected; where the shorter side is below 11 pixels the window is the largest odd one that fits, its
    sigma scaled with it.

    Args:
        images: (N, H, W) or (N, H, W, C) uint8.
        reconstructions: the same shape, uint8.

    Returns:
        `mse`, the mean squared error a pixel value on a 0..1 scale; `psnr`, -10 log10 of that data-set-level
        mse in dB (infinite if nothing differs); `ssim` in -1..1. All NaN for N = 0.

    Raises:
        ValueError: shapes differ or are not as stated, the type is not uint8, or a side is below 3 pixels.
    """
    errors = per_sample_mse(images, reconstructions)
    if not len(errors):
        return dict.fromkeys(["mse", "psnr", "ssim"], np.nan)
    mse = float(errors.mean())
    psnr = float(-10 * np.log10(mse)) if mse > 0 else float("inf")
    return {"mse": mse, "psnr": psnr, "ssim": float(per_sample_ssim(images, reconstructions).mean())}


def per_sample_mse(images: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Return (N,) float64, each sample's mean squared error a pixel value on a 0..1 scale.

    Args:
        images: (N, H, W) or (N, H, W, C) uint8.
        reconstructions: the same shape, uint8.

    Raises:
        ValueError: shapes differ or are not as stated, or the type is not uint8.
    """
    if images.shape != reconstructions.shape:
        raise ValueError(f"images have shape {images.shape}, reconstructions {reconstructions.shape}")
    if images.ndim not in {3, 4}:
        raise ValueError(f"images have shape {images.shape}; expected (N, H, W) or (N, H, W, C)")
    if images.dtype != np.uint8 or reconstructions.dtype != np.uint8:
        raise ValueError(
            f"images are {images.dtype}, reconstructions {reconstructions.dtype}; expected uint8"
        )
    pairs = zip(images, reconstructions, strict=True)
    return np.array([((a.astype(np.float64) - b) ** 2).mean() for a, b in pairs], dtype=np.float64) / 255**2


def mse_parts(images: np.ndarray, reconstructions: np.ndarray) -> dict[str, np.ndarray]:
    """Split each sample's mean squared error into what its brightness, its contrast and its structure cost.

    With means m, deviations s and correlation r of the pixel values of both: (m1 - m2)² + (s1 - s2)² +
    2 s1 s2 (1 - r), the parts that Wang et al. 2004 §III.B compare (this sum: Murphy 1988, eq. 9). They add
    up to the error exactly.

    Args:
        images: (N, H, W) or (N, H, W, C) uint8.
        reconstructions: the same shape, uint8.

    Returns:
        `brightness`, `contrast` and `structure`, (N,) float64 each, on a 0..1 scale of pixel values.

    Raises:
        ValueError: as `per_sample_mse`.
    """
    total = per_sample_mse(images, reconstructions)
    flat = [a.reshape(len(a), int(np.prod(a.shape[1:]))) / 255.0 for a in (images, reconstructions)]
    means, deviations = [a.mean(axis=1) for a in flat], [a.std(axis=1) for a in flat]
    brightness, contrast = (means[0] - means[1]) ** 2, (deviations[0] - deviations[1]) ** 2
    structure = np.maximum(total - brightness - contrast, 0.0)  # rounding may leave less than nothing
    return {"brightness": brightness, "contrast": contrast, "structure": structure}


def per_sample_ssim(images: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Return (N,) float64, each sample's structural similarity; see `reconstruction_scores`.

    Args:
        images: (N, H, W) or (N, H, W, C) uint8, N > 0.
        reconstructions: the same shape, uint8.

    Raises:
        ValueError: a side is below 3 pixels.
    """
    side = min(images.shape[1:3])
    if side < 3:
        raise ValueError(f"images are {images.shape[2]}×{images.shape[1]} pixels; SSIM needs 3 at least")
    radius = min(WINDOW_RADIUS, (side - 1) // 2)
    # torchmetrics derives the window from sigma: radius = int(3.5 sigma + 0.5)
    sigma = WINDOW_SIGMA if radius == WINDOW_RADIUS else radius / 3.5
    parts = [
        structural_similarity_index_measure(
            _tensor(reconstructions[i : i + BATCH]),
            _tensor(images[i : i + BATCH]),
            sigma=sigma,
            data_range=1.0,
            reduction="none",
        )
        for i in range(0, len(images), BATCH)
    ]
    return torch.cat([p if isinstance(p, torch.Tensor) else p[0] for p in parts]).numpy()


def _tensor(images: np.ndarray) -> torch.Tensor:
    array = images[..., None] if images.ndim == 3 else images
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 1))).double() / 255
