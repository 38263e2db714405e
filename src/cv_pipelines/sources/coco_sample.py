"""A small drawn data set in COCO 2017's format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from scipy.ndimage import label

from cv_pipelines.data.schema import Truth
from cv_pipelines.sources.people import Peopled, draw_people
from cv_pipelines.sources.scenes import SHAPES, Scene, draw_scene

SAMPLE_CLASSES = ("sports ball", "tv", "kite", "donut", "person", "bird")
"""What the six drawn shapes are called, in the order of `scenes.SHAPES`."""

SAMPLE_IDS = {"person": 1, "bird": 16, "sports ball": 37, "kite": 38, "donut": 60, "tv": 72}
"""Their official ids, which have gaps."""

PERSON_KEYPOINTS = {
    "nose": (0.5, 0.1),
    "left_eye": (0.58, 0.05),
    "right_eye": (0.42, 0.05),
    "left_ear": (0.65, 0.08),
    "right_ear": (0.35, 0.08),
    "left_shoulder": (0.65, 0.35),
    "right_shoulder": (0.35, 0.35),
    "left_elbow": (0.8, 0.5),
    "right_elbow": (0.2, 0.5),
    "left_wrist": (0.98, 0.5),
    "right_wrist": (0.02, 0.5),
    "left_hip": (0.65, 0.65),
    "right_hip": (0.35, 0.65),
    "left_knee": (0.62, 0.82),
    "right_knee": (0.38, 0.82),
    "left_ankle": (0.62, 0.98),
    "right_ankle": (0.38, 0.98),
}
"""COCO's 17 keypoints and where the drawn person, a cross, has them: shares of the box's width and height."""

SKELETON = (
    *((16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9)),
    *((8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)),
)
"""The official limbs: 1-based pairs of keypoints."""

CROWD_EVERY = 5
"""In every so many images the last object is marked as a crowd, with RLE instead of polygons."""

NOBODY_EVERY = 5
"""In every so many images that are to show a person there is none."""

Figures = Literal["shapes", "person", "people"]


def write_sample(
    root: Path,
    *,
    n: int = 60,
    size: tuple[int, int] = (128, 128),
    seed: int = 0,
    figures: Figures = "shapes",
    objects: Sequence[int] = (1, 3),
) -> Truth:
    """Draw a small COCO 2017 of six of the 80 classes: instances, person keypoints and captions.

    Every fourth image is in val. `Truth` is that of the default option `annotations='instances'`.

    Args:
        root: folder to write `annotations/`, `train2017/` and `val2017/` under.
        n: number of images.
        size: (width, height) in pixels.
        seed: same seed, same bytes.
        figures: 'shapes' draws a cross where it says person, with points at fixed places of its box. 'person'
            and 'people' draw figures that move their limbs: one, or several, in four of five images, and
            nobody in the fifth; no crowds.
        objects: fewest and most shapes or people in an image; where it is one at most, none is marked as a
            crowd.
    """
    rng = np.random.default_rng(seed)
    truth = Truth(splits={})
    images: dict[str, list[dict[str, Any]]] = {"train": [], "val": []}
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "val": []}
    poses: dict[int, np.ndarray] = {}
    for index in range(n):
        name = "val" if index % 4 == 3 else "train"
        stem = f"{index + 1:012d}"
        drawn = _drawn(rng, size, figures, objects, index)
        scene = drawn.scene
        folder = root / f"{name}2017"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.image).save(folder / f"{stem}.jpg", quality=90)
        shape = {"width": size[0], "height": size[1]}
        images[name].append({"license": 1, "file_name": f"{stem}.jpg", **shape, "id": index + 1})
        rows[name] += _instances(scene, index, crowds=figures == "shapes" and objects[1] > 1)
        poses |= {_annotation_id(index, k + 1): pose for k, pose in drawn.poses.items()}
        named = [(SAMPLE_CLASSES[o.shape], o.x, o.y, o.w, o.h) for o in scene.objects]
        truth.boxes[f"{name}2017/{stem}"] = [
            (c, float(x), float(y), float(w), float(h)) for c, x, y, w, h in named
        ]
        truth.labels[f"{name}2017/{stem}"] = sorted({row[0] for row in named}, key=list(SAMPLE_IDS).index)
    for name, pictured in images.items():
        _write_files(root / "annotations", name, pictured, rows[name], poses)
    truth.splits = {"train": len(images["train"]), "test": len(images["val"])}
    return truth


def _drawn(
    rng: np.random.Generator, size: tuple[int, int], figures: Figures, objects: Sequence[int], index: int
) -> Peopled:
    if figures == "shapes":
        shapes = [int(k) for k in rng.integers(0, len(SHAPES), rng.integers(objects[0], objects[1] + 1))]
        return Peopled(draw_scene(rng, size, shapes), {})
    one = figures == "person"
    nobody = index % NOBODY_EVERY == 2
    count = 0 if nobody else 1 if one else int(rng.integers(objects[0], objects[1] + 1))
    return draw_people(rng, size, count, (0.55, 0.95) if one else (0.35, 0.55))


def _annotation_id(index: int, k: int) -> int:
    return (index + 1) * 100 + k


def _instances(scene: Scene, index: int, crowds: bool) -> list[dict[str, Any]]:
    rows = []
    for k, drawn in enumerate(scene.objects, start=1):
        mask = scene.instances == k
        crowd = crowds and index % CROWD_EVERY == 0 and k == len(scene.objects)
        rows.append(
            {
                "segmentation": run_lengths(mask) if crowd else polygons(mask),
                "area": float(mask.sum()),
                "iscrowd": int(crowd),
                "image_id": index + 1,
                "bbox": [float(v) for v in (drawn.x, drawn.y, drawn.w, drawn.h)],
                "category_id": SAMPLE_IDS[SAMPLE_CLASSES[drawn.shape]],
                "id": _annotation_id(index, k),
            }
        )
    return rows


def run_lengths(mask: np.ndarray) -> dict[str, list[int]]:
    """Return COCO's uncompressed RLE: lengths of runs of 0, 1, 0, … down the columns.

    Args:
        mask: (H, W) bool.
    """
    flat = np.concatenate([[False], mask.ravel(order="F")])
    edges = np.flatnonzero(np.diff(flat.astype(np.int8)))
    return {"counts": np.diff([0, *edges, mask.size]).tolist(), "size": list(mask.shape)}


def polygons(mask: np.ndarray) -> list[list[float]]:
    """Return polygons [x, y, x, y, …] that follow the pixel edges of a mask, which may have holes.

    Runs of pixels in successive rows that touch one to one are strung together, down their left ends and up
    their right ends; where the mask branches, new polygons begin.

    Args:
        mask: (H, W) bool.
    """
    strings: list[list[tuple[int, int, int]]] = []
    above: list[list[tuple[int, int, int]]] = []
    for y, row in enumerate(mask):
        runs, count = label(row)
        spans = [
            (y, int(x[0]), int(x[-1]) + 1) for x in (np.flatnonzero(runs == k + 1) for k in range(count))
        ]
        below = []
        for span in spans:
            fit = [s for s in above if _touch(s[-1], span)]
            if len(fit) == 1 and sum(_touch(fit[0][-1], other) for other in spans) == 1:
                string = fit[0]
            else:
                strings.append(string := [])
            below.append((string, span))
        for string, span in below:
            string.append(span)
        above = [string for string, _ in below]
    return [_outline(string) for string in strings]


def _touch(a: tuple[int, int, int], b: tuple[int, int, int]) -> bool:
    return a[1] < b[2] and b[1] < a[2]


def _outline(string: list[tuple[int, int, int]]) -> list[float]:
    down = [(left, edge) for y, left, _ in string for edge in (y, y + 1)]
    up = [(right, edge) for y, _, right in reversed(string) for edge in (y + 1, y)]
    return [float(v) for point in down + up for v in point]


def _write_files(
    folder: Path,
    name: str,
    images: list[dict[str, Any]],
    objects: list[dict[str, Any]],
    poses: dict[int, np.ndarray],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    info = {"description": "Drawn sample in COCO 2017's format", "version": "1.0", "year": 2017}
    licence = [{"id": 1, "name": "Apache License 2.0", "url": "http://www.apache.org/licenses/"}]
    head = {"info": info, "licenses": licence, "images": images}
    classes = [{"supercategory": "shape", "id": k, "name": c} for c, k in SAMPLE_IDS.items()]
    person = {**classes[0], "keypoints": list(PERSON_KEYPOINTS), "skeleton": SKELETON}
    persons = [row for row in objects if row["category_id"] == SAMPLE_IDS["person"]]
    people = [_with_keypoints(row, poses.get(row["id"])) for row in persons]
    files = {
        "instances": {**head, "annotations": objects, "categories": classes},
        "person_keypoints": {**head, "annotations": people, "categories": [person]},
        "captions": {**head, "annotations": _captions(images, objects)},
    }
    for kind, content in files.items():
        (folder / f"{kind}_{name}2017.json").write_text(json.dumps(content))


def _with_keypoints(row: dict[str, Any], pose: np.ndarray | None) -> dict[str, Any]:
    x, y, w, h = row["bbox"]
    points = [(round(x + w * a), round(y + h * b), 2) for a, b in PERSON_KEYPOINTS.values()]
    if pose is not None:
        points = [(int(a), int(b), int(v)) for a, b, v in pose]
    elif row["iscrowd"]:  # as in the source, crowds have no keypoints
        points = [(0, 0, 0)] * len(points)
    visible = sum(point[2] > 0 for point in points)
    return {**row, "num_keypoints": visible, "keypoints": [v for point in points for v in point]}


def _captions(images: list[dict[str, Any]], objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = {k: name for name, k in SAMPLE_IDS.items()}
    rows = []
    for image in images:
        seen = [f"a {names[row['category_id']]}" for row in objects if row["image_id"] == image["id"]]
        for k, opening in enumerate(("A picture of", "There is")):
            text = f"{opening} {' and '.join(seen) or 'nothing'}."
            rows.append({"image_id": image["id"], "id": image["id"] * 10 + k, "caption": text})
    return rows
