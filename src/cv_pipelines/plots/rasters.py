"""Pictures for figures: enlarging, overlays, tiles, and embedding as small base64 images."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cv_pipelines.plots.theme import PREDICTION_RGB, RGB, TRUTH_RGB

LABEL = 18
"""Pixels of the type on boxes, in pictures that are embedded half again as large as they are shown."""

SMALL_SIDE = 64
"""Images up to this side are pixel art: enlarged nearest-neighbour and stored without loss."""

IGNORED_RGB: RGB = (25, 25, 25)


@dataclass(frozen=True)
class Box:
    """One object: top left corner and size in its image's pixels, class, score if it is a prediction.

    `color` is what it is drawn in; that of truth or predictions if None.
    """

    x: float
    y: float
    w: float
    h: float
    name: str
    score: float | None = None
    color: RGB | None = None


def picture(image: np.ndarray | None) -> Image.Image:
    """Return an array as an RGB picture; a grey field where there is no image.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3) uint8, or None.

    Raises:
        ValueError: another shape.
    """
    if image is None or image.size == 0:
        return Image.new("RGB", (SMALL_SIDE, SMALL_SIDE), (225, 228, 233))
    pixels = np.asarray(image, dtype=np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim != 2 and (pixels.ndim != 3 or pixels.shape[2] != 3):
        raise ValueError(f"an image is (H, W) or (H, W, 3); got {pixels.shape}")
    return Image.fromarray(pixels).convert("RGB")


def display_scale(size: tuple[int, int], side: int) -> float:
    """Return the factor that brings a picture near `side`: whole when enlarging, so pixels stay square."""
    longest = max(*size, 1)
    return float(max(side // longest, 1)) if longest < side else side / longest


def resized(image: Image.Image, scale: float) -> Image.Image:
    """Scale a picture: nearest-neighbour when enlarging, smooth when reducing."""
    width, height = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    return image.resize((width, height), method)


def data_uri(image: Image.Image, lossless: bool = False) -> str:
    """Return a picture as a `data:` address: PNG if `lossless`, else JPEG."""
    buffer = BytesIO()
    if lossless:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=86, optimize=True)
    kind = "png" if lossless else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def draw_boxes(
    image: Image.Image, truth: Sequence[Box], predicted: Sequence[Box], scale: float
) -> Image.Image:
    """Return a copy with truth in solid green and predictions in dashed orange with class and score.

    Args:
        image: the picture, already scaled.
        truth: true boxes, in pixels before scaling.
        predicted: predicted boxes, in pixels before scaling.
        scale: what `image` was scaled by.
    """
    canvas = image.copy()
    pen = ImageDraw.Draw(canvas)
    frames = [(_corners(b, scale), b) for b in truth], [(_corners(b, scale), b) for b in predicted]
    for corners, box in frames[0]:
        pen.rectangle(_grown(corners, 1), outline=(0, 60, 25), width=1)
        pen.rectangle(corners, outline=box.color or TRUTH_RGB, width=4)
    for corners, box in frames[1]:
        _dashed(pen, corners, box.color or PREDICTION_RGB)
    # Labels last, so that no frame crosses a text: truth at the foot of its box, predictions at the head.
    for (left, _, _, bottom), box in frames[0]:
        _label(pen, (left, bottom), box.name, box.color or TRUTH_RGB, canvas.size, above=True)
    for (left, top, _, _), box in frames[1]:
        text = box.name if box.score is None else f"{box.name} {box.score:.2f}"
        _label(pen, (left, top), text, box.color or PREDICTION_RGB, canvas.size, above=False)
    return canvas


def _corners(box: Box, scale: float) -> tuple[float, float, float, float]:
    left, top = box.x * scale, box.y * scale
    return left, top, max((box.x + box.w) * scale - 1, left), max((box.y + box.h) * scale - 1, top)


def _grown(corners: tuple[float, float, float, float], by: float) -> tuple[float, float, float, float]:
    left, top, right, bottom = corners
    return left - by, top - by, right + by, bottom + by


def _dashed(pen: ImageDraw.ImageDraw, corners: tuple[float, float, float, float], color: RGB) -> None:
    left, top, right, bottom = corners
    for start, end in pairwise([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]):
        length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
        for begin in np.arange(0, length, 16):
            stop = min(begin + 10, length)
            ends = [
                (start[0] + (end[0] - start[0]) * t / length, start[1] + (end[1] - start[1]) * t / length)
                for t in (begin, stop)
            ]
            pen.line(ends, fill=(color[0] // 3, color[1] // 3, color[2] // 3), width=6)
            pen.line(ends, fill=color, width=4)


def _label(
    pen: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    text: str,
    color: RGB,
    size: tuple[int, int],
    above: bool,
) -> None:
    font = ImageFont.load_default(LABEL)
    width, height = pen.textlength(text, font=font) + 6, LABEL + 4
    left = min(max(corner[0], 0), max(size[0] - width, 0))
    top = min(max(corner[1] - (height if above else 0), 0), max(size[1] - height, 0))
    pen.rectangle((left, top, left + width, top + height - 1), fill=color)
    pen.text((left + 3, top + height / 2), text, fill=(15, 15, 15), font=font, anchor="lm")


def overlay(
    image: Image.Image, mask: np.ndarray, class_colors: Mapping[str, RGB], ignore_index: int = 255
) -> Image.Image:
    """Return the picture tinted by class, class borders darker, ignored pixels nearly black.

    Args:
        image: the picture; the mask is scaled to it, nearest-neighbour.
        mask: (H, W) class indices.
        class_colors: class name to RGB in index order; indices beyond it count as ignored.
        ignore_index: the index of void pixels.
    """
    labels = np.asarray(
        Image.fromarray(np.asarray(mask, dtype=np.uint8)).resize(image.size, Image.Resampling.NEAREST)
    )
    palette = np.full((256, 3), IGNORED_RGB, dtype=np.float32)
    colors = list(class_colors.values())[:256]
    if colors:
        palette[: len(colors)] = colors
    palette[ignore_index] = IGNORED_RGB
    mixed = 0.4 * np.asarray(image, dtype=np.float32) + 0.6 * palette[labels]
    border = np.zeros(labels.shape, dtype=bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    mixed[border] *= 0.35
    return Image.fromarray(mixed.round().astype(np.uint8))


def marked(image: Image.Image, kinds: np.ndarray, kind_colors: Mapping[str, RGB]) -> Image.Image:
    """Return a pale grey picture with some pixels in colour.

    Args:
        image: the picture; the map is scaled to it, nearest-neighbour.
        kinds: (H, W) uint8: 0 stays grey, k has the k-th colour.
        kind_colors: name to RGB.
    """
    numbers = np.asarray(
        Image.fromarray(np.asarray(kinds, dtype=np.uint8)).resize(image.size, Image.Resampling.NEAREST)
    )
    grey = 0.35 * np.asarray(image.convert("L").convert("RGB"), dtype=np.float32) + 0.65 * 255
    for number, color in enumerate(kind_colors.values(), start=1):
        grey[numbers == number] = color
    return Image.fromarray(grey.round().astype(np.uint8))


def heated(image: Image.Image, heat: np.ndarray) -> Image.Image:
    """Return a grey picture with a map laid over it: clear where it is 0, through red to yellow at 255.

    Args:
        image: the picture; the map is scaled to it, smoothly.
        heat: (h, w) uint8.
    """
    smooth = Image.fromarray(np.asarray(heat, dtype=np.uint8)).resize(image.size, Image.Resampling.BICUBIC)
    share = np.asarray(smooth, dtype=np.float32)[..., None] / 255
    glow = np.concatenate([np.full_like(share, 235), 40 + 190 * share**2, np.full_like(share, 30)], axis=2)
    grey = np.asarray(image.convert("L").convert("RGB"), dtype=np.float32)
    cover = 0.8 * np.sqrt(share)
    return Image.fromarray(((1 - cover) * grey + cover * glow).round().astype(np.uint8))


def tile(images: Sequence[Image.Image], columns: int, gap: int = 4) -> Image.Image:
    """Lay pictures out in rows on white, each centred in a cell of the largest one's size.

    Raises:
        ValueError: there are no pictures.
    """
    if not images:
        raise ValueError("a tile needs at least one picture")
    columns = max(min(columns, len(images)), 1)
    rows = -(-len(images) // columns)
    width, height = max(i.width for i in images), max(i.height for i in images)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for place, image in enumerate(images):
        left, top = place % columns * (width + gap), place // columns * (height + gap)
        sheet.paste(image, (left + (width - image.width) // 2, top + (height - image.height) // 2))
    return sheet
