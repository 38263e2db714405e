"""What a model says, drawn on the picture that it was asked about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cv_pipelines.data.encoding import decode_png
from cv_pipelines.data.schema import Categories
from cv_pipelines.plots.poses import draw_poses
from cv_pipelines.plots.rasters import Box, display_scale, draw_boxes, overlay, picture, resized, tile
from cv_pipelines.plots.theme import PREDICTION_RGB, class_colors
from cv_pipelines.tasks.autoencoder import channels_last

SURE = 0.3
"""Detections below this score are not drawn, as in the project's galleries."""

SURE_PRESENT = 0.5
"""Points of what is there with less probability are not drawn."""

SIDE = 512
"""Longest side to which small pictures are enlarged, so that what is written on them can be read."""


def annotated(
    task: str, image: Tensor, rows: Sequence[dict[str, Any]], categories: Categories
) -> Image.Image:
    """Draw the prediction of one sample.

    Args:
        task: what the model does.
        image: (C, H, W) uint8, as it was read.
        rows: the sample's predictions, with names.
        categories: for the colours of masks.

    Returns:
        Detections as boxes; points joined to limbs; the mask laid over the image; image and reconstruction
        side by side; or the image with its class and probability written on it.
    """
    whole = picture(channels_last(image.cpu()))
    scale = max(display_scale(whole.size, SIDE), 1.0)
    canvas = resized(whole, scale) if scale > 1 else whole
    if task == "detection":
        boxes = [Box(r["x"], r["y"], r["w"], r["h"], r["label"], r["score"]) for r in rows]
        return draw_boxes(canvas, [], [box for box in boxes if (box.score or 0.0) >= SURE], scale)
    if task == "landmarks":
        points = [np.reshape(r["keypoints"], (-1, 3)) for r in rows if r["score"] >= SURE_PRESENT]
        limbs = next((c.skeleton for c in categories.objects if c.skeleton), [])
        return draw_poses(canvas, [], points, limbs, scale)
    if task == "segmentation":
        classes = categories.mask
        colors = class_colors([c.name for c in classes], [c.color for c in classes])
        return overlay(canvas, decode_png(rows[0]["mask"]), colors)
    if task == "autoencoder":
        rebuilt = picture(decode_png(rows[0]["image"])).resize(canvas.size, Image.Resampling.NEAREST)
        return tile([canvas, rebuilt], 2)
    label = rows[0]["label"]
    text = f"{label} {rows[0]['confidence']:.2f}" if isinstance(label, str) else ", ".join(label) or "none"
    return labelled(canvas, text)


def labelled(canvas: Image.Image, text: str) -> Image.Image:
    """Write a line above a picture."""
    font = ImageFont.load_default(18)
    width = int(ImageDraw.Draw(canvas).textlength(text, font=font)) + 8
    sheet = Image.new("RGB", (max(canvas.width, width), canvas.height + 24), PREDICTION_RGB)
    sheet.paste(canvas, (0, 24))
    ImageDraw.Draw(sheet).text((4, 12), text, fill=(15, 15, 15), font=font, anchor="lm")
    return sheet


def picture_path(folder: Path, name: str) -> Path:
    """Return where the picture of a sample is saved: below the folder, whatever it is called."""
    if "://" in name:
        address = urlsplit(name)
        name = f"{address.netloc}{address.path}"
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return folder.joinpath(*parts[:-1], parts[-1].replace("#", "_") + ".jpg")


def save_picture(image: Image.Image, path: Path) -> None:
    """Save a JPEG; a kill while writing leaves none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".writing")
    image.save(fresh, "JPEG", quality=90)
    fresh.replace(path)
