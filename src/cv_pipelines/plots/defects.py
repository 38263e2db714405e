"""The quarantine of a source as people read it: counts by reason, and files with what they look like."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from PIL import Image

from cv_pipelines.data.images import as_rgb
from cv_pipelines.data.schema import ACTIONS
from cv_pipelines.plots.document import Block, Thumbnail, paragraphs, table
from cv_pipelines.plots.rasters import data_uri

MEANINGS = {
    "dropped": "left out",
    "repaired": "kept after a correction",
    "noted": "kept as it is; worth knowing",
}

LISTED, OF_A_REASON = 60, 12
"""Files that the page lists at most, in all and of one reason; the table on disk has all."""

SIDES = (240, 160)
"""Width and height in pixels that a thumbnail fits in; shown at half of that."""

LARGEST = 1 << 28
"""Bytes of a file beyond which no thumbnail is tried."""


def quarantine_block(quarantine: pd.DataFrame, root: Path | None) -> Block:
    """Return the part of a page on what was left out, corrected or noted.

    Args:
        quarantine: see `schema.QUARANTINE`.
        root: folder that its files are relative to; None shows no pictures.
    """
    if quarantine.empty:
        clean = "Nothing was left out, corrected or noted: every file was usable as it is."
        return Block("Quarantine", paragraphs(clean))
    counts = quarantine.groupby(["reason", "action"], sort=False).size().reset_index(name="n")
    counts["rank"] = counts["action"].map(ACTIONS.index)
    counts = counts.sort_values(["rank", "n"], ascending=[True, False], kind="stable")
    summary = [[r.reason, r.action, MEANINGS[r.action], r.n] for r in counts.itertuples()]
    shown = _some_of_each(quarantine, counts)
    rows = [
        [Thumbnail(thumbnail(root, row.file) if root else ""), row.file, row.reason, row.action, row.detail]
        for row in shown.itertuples()
    ]
    lead = f"{len(quarantine):,} files or records."
    listed = (
        "" if len(shown) == len(quarantine) else f" (some of each reason; all {len(quarantine):,} on disk)"
    )
    body = (
        paragraphs(lead)
        + table(["reason", "action", "which means", "count"], summary)
        + f"<h3>Files{listed}</h3>"
        + table(["", "file", "reason", "action", "detail"], rows, limit=LISTED)
    )
    return Block("Quarantine", body)


def _some_of_each(quarantine: pd.DataFrame, counts: pd.DataFrame) -> pd.DataFrame:
    """Return up to `LISTED` rows, as many of each reason as there is room for, in the order of `counts`."""
    kinds = [(row.reason, row.action) for row in counts.itertuples()]
    order = {kind: place for place, kind in enumerate(kinds)}
    place = pd.Series(
        [order[kind] for kind in zip(quarantine["reason"], quarantine["action"], strict=True)],
        index=quarantine.index,
    )
    turn = place.groupby(place).cumcount()
    chosen = turn[turn < OF_A_REASON].sort_values(kind="stable").index[:LISTED]
    return quarantine.loc[place[chosen].sort_index().sort_values(kind="stable").index]


def thumbnail(root: Path, file: str) -> str:
    """Return a picture file, small, as a `data:` address; empty if it is none.

    Of a truncated file the upper part is shown, as far as it can be read.
    """
    try:
        path = root / file
        if not path.is_file() or path.stat().st_size > LARGEST:  # opening a pipe might wait for ever
            return ""
        with Image.open(path) as image:
            image.draft("RGB", SIDES)
            try:
                image.load()
            except (OSError, SyntaxError, ValueError):
                if not _has_pixels(image):
                    return ""
                image.tile = []  # what is not read yet stays black
            small = as_rgb(image)
        small.thumbnail(SIDES)
        return data_uri(small)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return ""


def _has_pixels(image: Image.Image) -> bool:
    try:
        return image.im is not None and image.im.getbbox() is not None  # image.getbbox() would load again
    except (OSError, SyntaxError, ValueError):
        return False
