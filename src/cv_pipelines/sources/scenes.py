"""Small drawn scenes with known truth, coloured shapes on textured ground, for `write_sample`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

SHAPES = ("disc", "square", "triangle", "ring", "cross", "star")
"""The class names that `draw_scene` knows; what they are called in a data set is the reader's affair."""


@dataclass(frozen=True)
class DrawnObject:
    """One shape: index into `SHAPES` and the 0-based box (x, y, w, h) of its visible pixels."""

    shape: int
    x: int
    y: int
    w: int
    h: int


@dataclass(frozen=True)
class Scene:
    """A drawn image and its truth.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        instances: (H, W) uint8, 0 for ground, k for the k-th object (1-based).
        objects: the objects that are visible, in drawing order; `objects[k - 1]` is instance k.
    """

    image: np.ndarray
    instances: np.ndarray
    objects: list[DrawnObject]

    def classes(self) -> np.ndarray:
        """Return (H, W) uint8: 0 for ground, shape index + 1 elsewhere."""
        table = np.array([0, *(o.shape + 1 for o in self.objects)], dtype=np.uint8)
        return table[self.instances]


def texture(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Draw a soft two-tone ground, (H, W, 3) uint8."""
    noise = gaussian_filter(rng.standard_normal((height, width)), sigma=max(width / 20, 1))
    blend = (noise - noise.min()) / (np.ptp(noise) + 1e-9)
    dark, light = rng.uniform(60, 120, 3), rng.uniform(120, 180, 3)
    ground = dark + blend[..., None] * (light - dark) + rng.normal(0, 6, (height, width, 1))
    return np.clip(ground, 0, 255).astype(np.uint8)


def draw_scene(
    rng: np.random.Generator,
    size: tuple[int, int],
    shapes: list[int],
    scale: tuple[float, float] = (0.18, 0.42),
) -> Scene:
    """Draw one object for each entry of `shapes`; objects never cover each other.

    An object that finds no free place after a few tries is left out, so `objects` may be shorter.

    Args:
        rng: the only source of randomness: same state, same scene.
        size: (width, height) in pixels.
        shapes: indices into `SHAPES`.
        scale: smallest and largest object side as a share of the shorter image side.
    """
    width, height = size
    image = texture(rng, width, height)
    instances = np.zeros((height, width), dtype=np.uint8)
    objects: list[DrawnObject] = []
    for shape in shapes:
        stencil = _place(rng, size, shape, scale, instances)
        if stencil is None:
            continue
        instances[stencil] = len(objects) + 1
        image[stencil] = _paint(rng, shape, int(stencil.sum()))
        rows, columns = np.nonzero(stencil)
        x, y = int(columns.min()), int(rows.min())
        objects.append(DrawnObject(shape, x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1))
    return Scene(image, instances, objects)


def _place(
    rng: np.random.Generator,
    size: tuple[int, int],
    shape: int,
    scale: tuple[float, float],
    taken: np.ndarray,
) -> np.ndarray | None:
    width, height = size
    for _ in range(20):
        side = int(rng.uniform(*scale) * min(width, height))
        x, y = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        stencil = np.zeros((height, width), dtype=bool)
        stencil[y : y + side, x : x + side] = _stencil(SHAPES[shape], side, rng.uniform(-0.3, 0.3))
        if not (stencil & (taken > 0)).any() and stencil.any():
            return stencil
    return None


def _paint(rng: np.random.Generator, shape: int, pixels: int) -> np.ndarray:
    """Colour by class with some spread, so neither colour nor shape alone is the label."""
    hue = (shape / len(SHAPES) + rng.normal(0, 0.03)) % 1.0
    base = np.array(Image.new("HSV", (1, 1), (int(hue * 255), 200, 225)).convert("RGB"))[0, 0]
    return np.clip(base + rng.normal(0, 14, (pixels, 3)), 0, 255).astype(np.uint8)


def _stencil(name: str, side: int, turn: float) -> np.ndarray:
    canvas = Image.new("1", (side, side))
    pen, last, middle = ImageDraw.Draw(canvas), side - 1, (side - 1) / 2
    if name in {"disc", "ring"}:
        pen.ellipse((0, 0, last, last), fill=1)
        if name == "ring":
            hole = side * 0.25
            pen.ellipse((hole, hole, last - hole, last - hole), fill=0)
        return np.asarray(canvas)
    if name == "cross":
        third = side / 3
        pen.rectangle((third, 0, last - third, last), fill=1)
        pen.rectangle((0, third, last, last - third), fill=1)
        return np.asarray(canvas)
    corners = {"square": 4, "triangle": 3, "star": 10}[name]
    angles = turn - np.pi / 2 + 2 * np.pi * np.arange(corners) / corners
    radii = np.where(np.arange(corners) % 2, 0.45, 1.0) if name == "star" else np.ones(corners)
    points = [
        (middle + middle * r * np.cos(a), middle + middle * r * np.sin(a))
        for a, r in zip(angles, radii, strict=True)
    ]
    pen.polygon(points, fill=1)
    return np.asarray(canvas)
