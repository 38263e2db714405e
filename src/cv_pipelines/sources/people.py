"""Small drawn people with known keypoints, in the order and under the names of COCO, for `write_sample`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from cv_pipelines.sources.scenes import SHAPES, DrawnObject, Scene, draw_scene

PERSON = SHAPES.index("cross")
"""The shape that stands for a person where people are not drawn."""

LIMBS = (
    *(("shoulder", "elbow"), ("elbow", "wrist")),
    *(("hip", "knee"), ("knee", "ankle")),
)
"""What is drawn as a line, on either side."""

SIDE_HUES = {"left": 18, "right": 150}
"""Of 255: limbs have the colour of their side, so that a picture tells left from right."""


@dataclass(frozen=True)
class Peopled:
    """A scene with people.

    Attributes:
        scene: image, instances and objects; people are of the shape `PERSON`.
        poses: index into the scene's objects to (17, 3) float64: x, y in pixels, and 2 where the point lies
            in the image; zeros where it does not.
    """

    scene: Scene
    poses: dict[int, np.ndarray]


def draw_people(
    rng: np.random.Generator, size: tuple[int, int], count: int, scale: tuple[float, float]
) -> Peopled:
    """Draw people over up to two smaller shapes; nothing covers anything else.

    People face the viewer, so their left is at the right. Parts may lie outside the image. Who finds no free
    place after a few tries is left out.

    Args:
        rng: the only source of randomness: same state, same picture.
        size: (width, height) in pixels.
        count: of people.
        scale: smallest and largest height of a person as a share of the shorter image side.
    """
    others = [k for k in range(len(SHAPES)) if k != PERSON]
    scene = draw_scene(rng, size, [int(k) for k in rng.choice(others, rng.integers(0, 3))], (0.1, 0.2))
    image, instances, objects = scene.image.copy(), scene.instances.copy(), list(scene.objects)
    poses: dict[int, np.ndarray] = {}
    for _ in range(count):
        for _ in range(20):
            pose, drawn = _person(rng, size, scale)
            mask = drawn[..., 3] > 0
            if mask.any() and not (mask & (instances > 0)).any():
                break
        else:
            continue
        poses[len(objects)] = pose
        rows, columns = np.nonzero(mask)
        x, y = int(columns.min()), int(rows.min())
        objects.append(DrawnObject(PERSON, x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1))
        instances[mask] = len(objects)
        image[mask] = np.clip(drawn[mask, :3] + rng.normal(0, 8, (int(mask.sum()), 3)), 0, 255)
    return Peopled(replace(scene, image=image, instances=instances, objects=objects), poses)


def _person(
    rng: np.random.Generator, size: tuple[int, int], scale: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Give a pose, (17, 3), and the picture of it alone, (H, W, 4) uint8 RGBA."""
    width, height = size
    tall = rng.uniform(*scale) * min(size)
    middle = np.array([rng.uniform(0.15, 0.85) * width, rng.uniform(0.35, 0.7) * height])
    points = {name: middle + tall * np.array(place) for name, place in _joints(rng).items()}
    canvas = Image.new("RGBA", size)
    _draw(ImageDraw.Draw(canvas), points, tall, int(rng.integers(-8, 9)))
    places = np.array([points[name] for name in points if name != "neck"]).round()
    inside = np.all((places >= 0) & (places < [width, height]), axis=1)
    pose = np.concatenate([places, np.full((len(places), 1), 2.0)], axis=1)
    return np.where(inside[:, None], pose, 0.0), np.asarray(canvas)


def _joints(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Bend a person of height 1 with the hips' middle at (0, 0); COCO's 17 points in order, then the neck."""

    def along(angle: float, length: float) -> np.ndarray:
        """Go some way; angle 0 points down, positive angles to the right of the picture."""
        return length * np.array([np.sin(angle), np.cos(angle)])

    tilt = rng.uniform(-0.25, 0.25)
    up, across = along(tilt + np.pi, 1.0), along(tilt + np.pi / 2, 1.0)
    neck = 0.33 * up
    head = neck + 0.13 * up + rng.uniform(-0.02, 0.02) * across
    found = {"nose": head - 0.015 * up}
    pairs = {"eye": head + 0.025 * up, "ear": head + 0.005 * up, "shoulder": neck - 0.02 * up, "hip": 0 * up}
    widths = {"eye": 0.035, "ear": 0.085, "shoulder": 0.12, "hip": 0.075}
    sides = {"left": 1, "right": -1}
    ends: dict[str, np.ndarray] = {}
    for side, sign in sides.items():
        for part, place in pairs.items():
            ends[f"{side}_{part}"] = place + sign * widths[part] * across
        arm, leg = sign * rng.uniform(0.1, 2.6), sign * rng.uniform(-0.05, 0.6)
        bent, knee = arm + sign * rng.uniform(-0.4, 1.2), leg - sign * rng.uniform(-0.1, 0.6)
        ends[f"{side}_elbow"] = ends[f"{side}_shoulder"] + along(arm, 0.17)
        ends[f"{side}_wrist"] = ends[f"{side}_elbow"] + along(bent, 0.16)
        ends[f"{side}_knee"] = ends[f"{side}_hip"] + along(leg, 0.24)
        ends[f"{side}_ankle"] = ends[f"{side}_knee"] + along(knee, 0.23)
    parts = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    found |= {f"{side}_{part}": ends[f"{side}_{part}"] for part in parts for side in sides}
    return found | {"neck": neck}


def _draw(pen: ImageDraw.ImageDraw, points: dict[str, np.ndarray], tall: float, shift: int) -> None:
    def at(name: str, radius: float, color: tuple[int, int, int]) -> None:
        """Draw a disc."""
        x, y = points[name]
        r = max(radius * tall, 1.0)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=color)

    corners = ("left_shoulder", "right_shoulder", "right_hip", "left_hip")
    pen.polygon([tuple(points[name]) for name in corners], fill=_color(90 + shift, 120, 150))
    thick = max(round(0.06 * tall), 2)
    for side, hue in SIDE_HUES.items():
        for start, end in LIMBS:
            color = _color(hue + shift, 220, 230 if end in ("elbow", "knee") else 180)
            ends = [tuple(points[f"{side}_{name}"]) for name in (start, end)]
            pen.line(ends, fill=color, width=thick)
        for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
            at(f"{side}_{joint}", 0.035, _color(hue + shift, 220, 205))
    middle = (points["left_ear"] + points["right_ear"]) / 2
    pen.line([tuple(points["neck"]), tuple(middle)], fill=_color(20, 90, 225), width=thick)
    for name in ("left_ear", "right_ear"):
        at(name, 0.02, _color(10, 120, 190))
    r = 0.085 * tall
    pen.ellipse((*(middle - r), *(middle + r)), fill=_color(20, 90, 235))
    for name in ("left_eye", "right_eye"):
        at(name, 0.015, (20, 20, 30))
    at("nose", 0.015, (200, 40, 60))


def _color(hue: int, saturation: int, value: int) -> tuple[int, int, int]:
    found = Image.new("HSV", (1, 1), (hue % 256, saturation, value)).convert("RGB").getpixel((0, 0))
    assert isinstance(found, tuple)
    return int(found[0]), int(found[1]), int(found[2])
