"""The colours of the kinds of error, the same in every picture, chart and page."""

from __future__ import annotations

from cv_pipelines.plots.theme import RGB, spread_color

FOUND_RGB: RGB = (40, 150, 240)

KIND_COLORS: dict[str, RGB] = {
    "found": FOUND_RGB,
    "class": (150, 90, 220),
    "location": (255, 140, 0),
    "both": (0, 150, 150),
    "duplicate": (95, 115, 145),
    "background": (225, 45, 45),
    "missed": (232, 40, 150),
    "border": (245, 185, 40),
    "missed segment": (232, 40, 150),
    "inside": (200, 30, 30),
    "sure": (225, 45, 45),
    "runner-up": (245, 185, 40),
    "far off": (255, 120, 30),
    "other side": (150, 90, 220),
    "near miss": (245, 185, 40),
    "false alarm": (225, 45, 45),
    "structure": (200, 30, 30),
    "contrast": (245, 185, 40),
    "brightness": (59, 111, 182),
    "unlike any": (225, 45, 45),
    "not covered": (232, 40, 150),
    "right": (23, 128, 79),
}


def kind_color(kind: str) -> RGB:
    """Return the colour of a kind; an unknown one has one that its letters give."""
    return KIND_COLORS.get(kind) or spread_color(sum(map(ord, kind)))
