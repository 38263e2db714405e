"""A page to browse the worst samples of a model, kind by kind of error."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.plots.document import Block, document, paragraphs
from cv_pipelines.plots.error_report import kinds_table
from cv_pipelines.plots.gallery import picture_cells
from cv_pipelines.plots.grid import Cell
from cv_pipelines.plots.kinds import kind_color
from cv_pipelines.plots.predicted import READING, kind_colors_of, worst_items
from cv_pipelines.plots.rasters import data_uri
from cv_pipelines.plots.samples import mask_colors
from cv_pipelines.plots.theme import css

SIDE = 640
"""Pixels of the longer side of a picture."""

_FILTER = """
<script>
document.querySelectorAll('.kinds input').forEach(button => button.addEventListener('change', () => {
  document.querySelectorAll('.browse figure').forEach(figure => {
    figure.hidden = button.value !== '' && !figure.dataset.kinds.split('|').includes(button.value);
  });
}));
</script>
"""


def browse_page(data: SourceData, predictions: pd.DataFrame, errors: Mapping[str, Any]) -> str:
    """Return a page of all samples in the list of the worst, to be filtered by kind of error.

    Args:
        data: the scored split.
        predictions: of the first seed.
        errors: `errors.json`.
    """
    items = worst_items(data, predictions, errors, len(errors["worst"]))
    cells = picture_cells(items, mask_colors(data), SIDE, kind_colors_of(errors))
    wide = {"detection": " wide", "segmentation": " full"}.get(errors["task"], "")
    figures = "".join(
        _figure(cell, entry, place)
        for place, (cell, entry) in enumerate(zip(cells, errors["worst"], strict=True), start=1)
    )
    listed = (
        f'<div class="pictures browse{wide}">{figures}</div>' if figures else paragraphs("There is none.")
    )
    lead = f"{len(cells)} of {errors['n']:,} samples, worst first, by {errors['worst_by']}."
    blocks = [
        Block("Kinds of error", kinds_table(errors)),
        Block(
            "Worst samples", paragraphs(lead) + _legend(errors) + _buttons(errors["worst"]) + listed + _FILTER
        ),
    ]
    title = f"{errors['experiment']}: errors"
    return document(title, f"{errors['task']} · what the model gets wrong", blocks, charts=False)


def _figure(cell: Cell, entry: Mapping[str, Any], place: int) -> str:
    chips = "".join(_chip(kind) for kind in entry["kinds"])
    caption = f"{place}. {html.escape(entry['sample_id'])}<br>{html.escape(entry['reason'])}"
    kinds = html.escape("|".join(entry["kinds"]))
    picture = data_uri(cell.image, cell.lossless)
    return (
        f'<figure data-kinds="{kinds}"><figcaption>{chips}{caption}</figcaption>'
        f'<img src="{picture}" alt="{html.escape(entry["sample_id"])}"></figure>'
    )


def _chip(kind: str) -> str:
    return f'<span class="chip" style="background:{css(kind_color(kind))}">{html.escape(kind)}</span>'


def _legend(errors: Mapping[str, Any]) -> str:
    """Say what the pictures of a task show."""
    chips = "".join(_chip(kind["kind"]) for kind in errors["kinds"])
    return paragraphs(READING.get(errors["task"], "")) + f"<p>{chips}</p>"


def _buttons(worst: Sequence[Mapping[str, Any]]) -> str:
    """Return a choice of kinds, with how many samples each has."""
    counts: dict[str, int] = {}
    for entry in worst:
        for kind in entry["kinds"]:
            counts[kind] = counts.get(kind, 0) + 1
    choices = [("", f"all ({len(worst)})"), *((kind, f"{kind} ({n})") for kind, n in counts.items())]
    buttons = "".join(
        f'<label><input type="radio" name="kind" value="{html.escape(kind)}"{"" if kind else " checked"}> '
        f"{html.escape(text)}</label>"
        for kind, text in choices
    )
    return f'<div class="kinds">{buttons}</div>'
