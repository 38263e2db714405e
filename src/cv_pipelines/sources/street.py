"""Small drawn street scenes with a class for each pixel, for CamVid's `write_sample`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, gaussian_filter

Colour = tuple[int, int, int]
Point = tuple[float, float]


class Part(IntEnum):
    """The classes of a street scene, numbered in the order of SegNet's 11-class CamVid."""

    SKY = 0
    BUILDING = 1
    POLE = 2
    ROAD = 3
    PAVEMENT = 4
    TREE = 5
    SIGN_SYMBOL = 6
    FENCE = 7
    CAR = 8
    PEDESTRIAN = 9
    BICYCLIST = 10
    VOID = 11


GRAIN = {Part.TREE: 26.0, Part.BUILDING: 9.0, Part.ROAD: 7.0, Part.PAVEMENT: 10.0, Part.SKY: 3.0}
"""Standard deviation of the texture by class (other classes: 5), in grey levels."""


@dataclass(frozen=True)
class Street:
    """What the frames of one sequence share, positions as shares of the image size.

    Attributes:
        horizon: height of the vanishing point, from the top.
        vanish: its place, from the left.
        kerbs: where the road's left and right edge meet the lower border.
        walls: RGB of the buildings.
        heights: (2, 4) heights of the buildings on the left and right, near to far, above the horizon.
        light: brightness factor.
        fence_side: the side (-1 left, 1 right) that has a fence.
    """

    horizon: float
    vanish: float
    kerbs: tuple[float, float]
    walls: tuple[Colour, ...]
    heights: np.ndarray
    light: float
    fence_side: int


def make_street(rng: np.random.Generator) -> Street:
    """Choose the street of one sequence."""
    return Street(
        horizon=float(rng.uniform(0.4, 0.5)),
        vanish=float(rng.uniform(0.4, 0.6)),
        kerbs=(float(rng.uniform(-0.05, 0.12)), float(rng.uniform(0.88, 1.05))),
        walls=tuple(_shade(rng, base, 18) for base in [(150, 95, 75), (170, 150, 120), (125, 110, 115)] * 3),
        heights=rng.uniform(0.2, 0.42, (2, 4)),
        light=float(rng.uniform(0.8, 1.1)),
        fence_side=int(rng.choice([-1, 1])),
    )


def draw_street(
    rng: np.random.Generator, street: Street, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one frame.

    Args:
        rng: the only source of randomness: same state and street, same frame.
        street: what the frames of the sequence share.
        size: (width, height) in pixels.

    Returns:
        (H, W, 3) uint8 RGB and (H, W) uint8 values of `Part`. Rims of what moves and the bonnet at the lower
        border are `Part.VOID`, as in hand-made labels.
    """
    brush = _Brush(rng, street, size)
    brush.buildings()
    brush.ground()
    brush.fence()
    for depth in sorted(rng.uniform(0.25, 0.75, 2)):
        brush.tree(depth)
    for depth in sorted(rng.uniform(0.2, 0.85, 2)):
        brush.pole(depth)
    things = [brush.car, brush.car, brush.pedestrian, brush.pedestrian, brush.bicyclist]
    for depth, k in sorted(
        zip(rng.uniform(0.3, 0.8, len(things)), rng.permutation(len(things)), strict=True)
    ):
        things[k](depth)
    return brush.finish()


def _shade(rng: np.random.Generator, base: Colour, spread: float) -> Colour:
    r, g, b = np.clip(np.array(base) + rng.normal(0, spread, 3), 0, 255).astype(int)
    return int(r), int(g), int(b)


class _Brush:
    """Draws shapes on the image and the class map at once. `depth` runs from 0 (horizon) to 1 (near)."""

    def __init__(self, rng: np.random.Generator, street: Street, size: tuple[int, int]) -> None:
        self.rng, self.street = rng, street
        self.width, self.height = size
        self.image, self.parts = Image.new("RGB", size, (150, 185, 225)), Image.new("L", size, Part.SKY)
        self.colours, self.labels = ImageDraw.Draw(self.image), ImageDraw.Draw(self.parts)

    def polygon(self, part: Part, colour: Colour, points: list[Point]) -> None:
        """Fill a polygon whose points are shares of the image size."""
        pixels = [(x * self.width, y * self.height) for x, y in points]
        self.colours.polygon(pixels, fill=colour)
        self.labels.polygon(pixels, fill=int(part))

    def box(self, part: Part, colour: Colour, left: float, top: float, right: float, bottom: float) -> None:
        """Draw a filled rectangle into picture and mask."""
        self.polygon(part, colour, [(left, top), (right, top), (right, bottom), (left, bottom)])

    def oval(self, part: Part, colour: Colour, x: float, y: float, rx: float, ry: float) -> None:
        """Draw a filled oval into picture and mask."""
        bounds = (
            (x - rx) * self.width,
            (y - ry) * self.height,
            (x + rx) * self.width,
            (y + ry) * self.height,
        )
        self.colours.ellipse(bounds, fill=colour)
        self.labels.ellipse(bounds, fill=int(part))

    def floor(self, depth: float) -> float:
        """Return the height on the image of a point of the ground."""
        return self.street.horizon + depth * (1 - self.street.horizon)

    def kerb(self, side: int, depth: float, out: float = 0.0) -> float:
        """Return the road's edge on a side; `out` moves it outwards, in widths of the near image."""
        near = self.street.kerbs[0 if side < 0 else 1]
        return self.street.vanish + (near + side * out - self.street.vanish) * depth

    def buildings(self) -> None:
        """Line both sides of the road with houses, far to near."""
        edges = (2.2, 1.0, 0.55, 0.3, 0.12)
        for side in (-1, 1):
            for k in range(3, -1, -1):
                tall = self.street.heights[int(side > 0), k] * 1.6
                near, far = edges[k], edges[k + 1]
                wall = self.street.walls[k + 4 * (side > 0)]
                xs = self.kerb(side, near, 0.28), self.kerb(side, far, 0.28)
                tops = [self.street.horizon - tall * depth for depth in (near, far)]
                feet = [self.floor(depth) for depth in (near, far)]
                corners = [(xs[0], tops[0]), (xs[1], tops[1]), (xs[1], feet[1]), (xs[0], feet[0])]
                self.polygon(Part.BUILDING, wall, corners)
                self._windows(wall, xs, tops, feet)

    def _windows(self, wall: Colour, xs: tuple[float, float], tops: list[float], feet: list[float]) -> None:
        dark = (wall[0] // 2, wall[1] // 2, wall[2] // 2 + 15)
        for across in (0.2, 0.6):
            for down in (0.12, 0.38):
                spots = [
                    (across, down),
                    (across + 0.2, down),
                    (across + 0.2, down + 0.14),
                    (across, down + 0.14),
                ]
                points = [
                    (
                        xs[0] + (xs[1] - xs[0]) * u,
                        (tops[0] + (tops[1] - tops[0]) * u) * (1 - v)
                        + (feet[0] + (feet[1] - feet[0]) * u) * v,
                    )
                    for u, v in spots
                ]
                self.polygon(Part.BUILDING, dark, points)

    def ground(self) -> None:
        """Lay pavement, road and lane marks."""
        far, near = 0.1, 1.0
        for part, grey, out in ((Part.PAVEMENT, (168, 158, 150), 0.28), (Part.ROAD, (92, 92, 98), 0.0)):
            points = [
                (self.kerb(-1, far, out), self.floor(far)),
                (self.kerb(1, far, out), self.floor(far)),
                (self.kerb(1, near, out), self.floor(near)),
                (self.kerb(-1, near, out), self.floor(near)),
            ]
            self.polygon(part, _shade(self.rng, grey, 4), points)
        middle = (self.street.kerbs[0] + self.street.kerbs[1]) / 2
        start = self.rng.uniform(0, 0.1)
        for depth in np.arange(0.12 + start, 0.95, 0.2):
            x = [self.street.vanish + (middle - self.street.vanish) * d for d in (depth, depth + 0.09)]
            y = [self.floor(d) for d in (depth, depth + 0.09)]
            half = 0.012 * depth
            stripe = [(x[0] - half, y[0]), (x[0] + half, y[0]), (x[1] + half, y[1]), (x[1] - half, y[1])]
            self.polygon(Part.ROAD, (205, 205, 200), stripe)

    def fence(self) -> None:
        """Put a fence along one side."""
        side, colour = self.street.fence_side, _shade(self.rng, (75, 80, 120), 8)
        near, far = self.rng.uniform(0.75, 0.95), self.rng.uniform(0.3, 0.4)
        xs = [self.kerb(side, depth, 0.26) for depth in (near, far)]
        feet = [self.floor(depth) for depth in (near, far)]
        tops = [self.floor(depth) - 0.17 * depth for depth in (near, far)]
        self.polygon(
            Part.FENCE, colour, [(xs[0], tops[0]), (xs[1], tops[1]), (xs[1], feet[1]), (xs[0], feet[0])]
        )
        slat = (colour[0] + 50, colour[1] + 50, colour[2] + 45)
        for share in np.linspace(0.05, 0.95, 9):
            x, top, foot = (v[0] + (v[1] - v[0]) * share for v in (xs, tops, feet))
            self.box(Part.FENCE, slat, x, top, x + 0.006, foot)

    def tree(self, depth: float) -> None:
        """Put a tree behind a kerb; depth from 0, far, to 1, near, as in all that follow."""
        side = int(self.rng.choice([-1, 1]))
        x, foot, leaf = self.kerb(side, depth, 0.2), self.floor(depth), _shade(self.rng, (70, 105, 45), 8)
        trunk, crown = 0.02 * depth, 0.16 * depth + 0.03
        self.box(Part.TREE, (85, 65, 45), x - trunk, foot - 0.5 * depth, x + trunk, foot)
        for dx, dy in self.rng.normal(0, 0.45, (7, 2)):
            self.oval(
                Part.TREE, leaf, x + dx * crown, foot - 0.62 * depth + dy * crown, crown * 0.7, crown * 0.7
            )

    def pole(self, depth: float) -> None:
        """Put a column pole, with a sign if the dice say so, at a kerb."""
        side = int(self.rng.choice([-1, 1]))
        x, foot = self.kerb(side, depth, 0.05), self.floor(depth)
        half, top = max(0.011 * depth, 1.0 / self.width), foot - (0.95 * depth + 0.05)
        self.box(Part.POLE, (120, 122, 118), x - half, top, x + half, foot)
        if self.rng.uniform() < 0.75:
            y, colour = top + 0.12 * depth, _shade(self.rng, (215, 50, 45), 12)
            r = 0.055 * depth + 0.012
            self.oval(Part.SIGN_SYMBOL, colour, x, y, r, r)
            self.oval(Part.SIGN_SYMBOL, (240, 238, 235), x, y, r * 0.55, r * 0.55)

    def car(self, depth: float) -> None:
        """Put a car on a lane."""
        lane, colour = int(self.rng.choice([-1, 1])), _shade(self.rng, (120, 60, 130), 55)
        x, foot = self.kerb(lane, depth, -0.2), self.floor(depth)
        half, tall = 0.17 * depth, 0.2 * depth
        self.box(Part.CAR, (25, 25, 28), x - half * 0.85, foot - tall * 0.2, x - half * 0.5, foot)
        self.box(Part.CAR, (25, 25, 28), x + half * 0.5, foot - tall * 0.2, x + half * 0.85, foot)
        self.box(Part.CAR, colour, x - half, foot - tall * 0.58, x + half, foot - tall * 0.12)
        roof = [(x - half * 0.62, foot - tall), (x + half * 0.62, foot - tall)]
        self.polygon(
            Part.CAR,
            colour,
            [*roof, (x + half * 0.9, foot - tall * 0.55), (x - half * 0.9, foot - tall * 0.55)],
        )
        glass = [(x - half * 0.52, foot - tall * 0.92), (x + half * 0.52, foot - tall * 0.92)]
        low = foot - tall * 0.6
        self.polygon(Part.CAR, (60, 75, 90), [*glass, (x + half * 0.72, low), (x - half * 0.72, low)])
        for dx in (-0.75, 0.75):
            self.oval(Part.CAR, (235, 80, 60), x + dx * half, foot - tall * 0.4, half * 0.13, tall * 0.09)

    def pedestrian(self, depth: float) -> None:
        """Put a pedestrian on a pavement."""
        side = int(self.rng.choice([-1, 1]))
        x = self.kerb(side, depth, float(self.rng.uniform(0.06, 0.2)))
        self._person(
            Part.PEDESTRIAN, x, self.floor(depth), 0.34 * depth, _shade(self.rng, (190, 140, 40), 20)
        )

    def _person(self, part: Part, x: float, foot: float, tall: float, coat: Colour) -> None:
        wide = tall * 0.15
        legs = [(x - wide, foot), (x - wide * 0.7, foot - tall * 0.45), (x + wide * 0.7, foot - tall * 0.45)]
        self.polygon(part, (45, 45, 70), [*legs, (x + wide, foot)])
        self.box(part, coat, x - wide, foot - tall * 0.82, x + wide, foot - tall * 0.42)
        self.oval(part, (215, 170, 145), x, foot - tall * 0.9, wide * 0.6, tall * 0.1)

    def bicyclist(self, depth: float) -> None:
        """Put a bicyclist beside a lane."""
        lane = int(self.rng.choice([-1, 1]))
        x, foot, r = self.kerb(lane, depth, -0.45), self.floor(depth), 0.075 * depth
        for dx in (-1.0, 1.0):
            self.oval(Part.BICYCLIST, (30, 30, 32), x + dx * r, foot - r, r * 0.9, r * 0.9)
            self.oval(Part.BICYCLIST, (110, 110, 112), x + dx * r, foot - r, r * 0.55, r * 0.55)
        self._person(Part.BICYCLIST, x, foot - r, 0.32 * depth, _shade(self.rng, (40, 150, 190), 16))

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Add light, texture and void."""
        parts = np.asarray(self.parts).copy()
        pixels = gaussian_filter(np.asarray(self.image, dtype=np.float64), (0.5, 0.5, 0))
        above = np.linspace(25, -20, self.height)[:, None, None] * (parts == Part.SKY)[..., None]
        grain = np.array([GRAIN.get(part, 5.0) for part in Part])[parts]
        noise = gaussian_filter(self.rng.standard_normal(parts.shape), 0.6) * 1.6 * grain
        pixels = (pixels - above + noise[..., None]) * self.street.light + self.rng.normal(0, 3, pixels.shape)
        moving = np.isin(parts, [Part.CAR, Part.PEDESTRIAN, Part.BICYCLIST])
        parts[binary_dilation(moving) & ~moving] = Part.VOID
        bonnet = max(self.height // 40, 1)
        parts[-bonnet:], pixels[-bonnet:] = Part.VOID, pixels[-bonnet:] * 0.3
        return np.clip(pixels, 0, 255).astype(np.uint8), parts
