"""Distances between real and generated sets of embeddings; the embedder is named in the metric's name."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import pairwise_distances_chunked

FULL_SET = 2000


def frechet_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the Fréchet distance of two Gaussians fitted to the embeddings (Heusel et al. 2017, eq. 6).

    |m1 - m2|² + Tr(C1 + C2 - 2 (C1 C2)^½) with unbiased covariances. Tr (C1 C2)^½ is taken as the sum of the
    singular values of R1 R2ᵀ where C = RᵀR: real and stable also where N <= D makes C rank-deficient.

    Args:
        real: (N, D) float, N >= 2.
        fake: (M, D) float, M >= 2.

    Returns:
        A distance >= 0 (squared units of the embedding).

    Raises:
        ValueError: shapes do not fit, a number is not finite, or a set is smaller than 2.
    """
    real, fake = _checked(real, fake, least=2)
    mean_gap = ((real.mean(axis=0) - fake.mean(axis=0)) ** 2).sum()
    root_real, root_fake = _covariance_root(real), _covariance_root(fake)
    cross = np.linalg.svd(root_real @ root_fake.T, compute_uv=False).sum()
    distance = mean_gap + (root_real**2).sum() + (root_fake**2).sum() - 2 * cross
    return float(max(distance, 0.0))


def kernel_distance(
    real: np.ndarray, fake: np.ndarray, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> float:
    """Return the kernel distance (KID): the unbiased squared MMD of Bińkowski et al. 2018, §4.

    The kernel is (x·y / D + 1)³. Sets of 2000 at most are compared whole, larger ones as the mean over
    seeded random subsets, so the same input always gives the same number.

    Args:
        real: (N, D) float, N >= 2.
        fake: (M, D) float, M >= 2.
        subsets: how many subsets are drawn if N or M exceeds 2000.
        subset_size: rows of a subset (fewer where a set has fewer), drawn without replacement.
        seed: of the drawing.

    Returns:
        An unbiased estimate of a squared distance: near 0, and possibly negative, for equal distributions.

    Raises:
        ValueError: shapes do not fit, a number is not finite, or a set is smaller than 2.
    """
    real, fake = _checked(real, fake, least=2)
    if max(len(real), len(fake)) <= FULL_SET:
        return _squared_mmd(real, fake)
    rng = np.random.default_rng(seed)
    size = min(subset_size, len(real), len(fake))
    draws = [
        _squared_mmd(
            real[rng.choice(len(real), size, replace=False)], fake[rng.choice(len(fake), size, replace=False)]
        )
        for _ in range(subsets)
    ]
    return float(np.mean(draws))


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> dict[str, float]:
    """Return how real and how varied generated samples are (Kynkäänniemi et al. 2019, §2).

    A set's manifold is the union of balls around its samples that reach to their k-th nearest neighbour.

    Args:
        real: (N, D) float, N > k.
        fake: (M, D) float, M > k.
        k: which neighbour gives the radius.

    Returns:
        `precision`, the share of fake samples on the real manifold, and `recall`, the share of real samples
        on the fake one; in 0..1.

    Raises:
        ValueError: shapes do not fit, a number is not finite, k < 1, or a set is not larger than k.
    """
    if k < 1:
        raise ValueError(f"k is {k}; expected 1 at least")
    real, fake = _checked(real, fake, least=k + 1)
    return {
        "precision": float(on_manifold(real, fake, k).mean()),
        "recall": float(on_manifold(fake, real, k).mean()),
    }


def _covariance_root(x: np.ndarray) -> np.ndarray:
    return np.linalg.qr((x - x.mean(axis=0)) / np.sqrt(len(x) - 1)).R


def _squared_mmd(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the cubic polynomial kernel of rows, (N, M)."""
        return (a @ b.T / a.shape[1] + 1) ** 3

    def mean_of_others(a: np.ndarray) -> float:
        """Return the mean kernel between different rows of one sample."""
        values = kernel(a, a)
        return (values.sum() - np.trace(values)) / (len(a) * (len(a) - 1))

    return float(mean_of_others(x) + mean_of_others(y) - 2 * kernel(x, y).mean())


def on_manifold(manifold: np.ndarray, points: np.ndarray, k: int = 3) -> np.ndarray:
    """Tell which points lie on the manifold of a set; see `precision_recall`.

    Args:
        manifold: (N, D) float, N > k.
        points: (M, D) float.
        k: which neighbour gives the radius.

    Returns:
        (M,) bool.
    """

    # exact scipy distances: the faster dot-product form cannot tell duplicates from near neighbours
    def radius(distances: np.ndarray, _: int) -> np.ndarray:
        """Return each row's distance to its k-th neighbour; the first is itself."""
        return np.partition(distances, k, axis=1)[:, k]

    radii = np.concatenate(
        list(pairwise_distances_chunked(manifold, reduce_func=radius, metric="sqeuclidean"))
    )

    def inside(distances: np.ndarray, _: int) -> np.ndarray:
        """Tell whether each row lies in the ball of any reference row."""
        return np.asarray((distances <= radii).any(axis=1))

    chunks = pairwise_distances_chunked(points, manifold, reduce_func=inside, metric="sqeuclidean")
    found: np.ndarray = np.concatenate(list(chunks))
    return found


def _checked(real: np.ndarray, fake: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    real, fake = np.asarray(real, dtype=np.float64), np.asarray(fake, dtype=np.float64)
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1] or real.shape[1] == 0:
        raise ValueError(f"embeddings have shapes {real.shape} and {fake.shape}; expected (N, D) and (M, D)")
    if min(len(real), len(fake)) < least:
        raise ValueError(f"{len(real)} real and {len(fake)} fake samples; expected {least} of each at least")
    if not (np.isfinite(real).all() and np.isfinite(fake).all()):
        raise ValueError("embeddings are not finite")
    return real, fake
