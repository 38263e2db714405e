"""The command that finds anchors for a source."""

from __future__ import annotations

from pathlib import Path

import click
from kedro.framework.startup import ProjectMetadata

from cv_pipelines.commands.project import source_parameters


@click.command()
@click.argument("source")
@click.option("--count", type=click.IntRange(1), default=9, show_default=True, help="How many anchors.")
@click.option(
    "--size",
    type=click.IntRange(1),
    default=416,
    show_default=True,
    help="Side of the model's input, in pixels.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first centres.")
@click.pass_obj
def anchors(metadata: ProjectMetadata, source: str, count: int, size: int, seed: int) -> None:
    """Find anchors for the boxes of SOURCE's train split, by k-means with the distance 1 - IoU.

    They are printed as the option `anchors` of the YOLO models takes them, with what they reach: the mean IoU
    of a box with its closest anchor, and the share of the boxes that each model lets some anchor learn.
    """
    from cv_pipelines.errors import CvPipelinesError
    from cv_pipelines.models.yolo.anchors import (
        best_recall,
        find_anchors,
        in_input,
        like_enough,
        mean_iou,
        overlaps_enough,
    )
    from cv_pipelines.pipelines.source_data import stored_source

    project = Path(metadata.project_path)
    try:
        data = stored_source(project, source, source_parameters(project, source)).only("train")
        sizes = in_input(*data.box_sizes(), size)
        found = find_anchors(sizes, count, seed).round(decimals=1)
    except CvPipelinesError as error:
        raise click.ClickException(f"{source}: {error}") from None
    shapes = ", ".join(f"[{width:.1f}, {height:.1f}]" for width, height in found.tolist())
    click.echo(f"anchors: [{shapes}]")
    click.echo(f"{len(sizes)} boxes of the train split in an input of {size} pixels")
    click.echo(f"mean IoU with the closest anchor         {mean_iou(sizes, found):.3f}")
    click.echo(f"best recall, IoU 0.5 (yolo_v3_tiny)      {best_recall(sizes, found, overlaps_enough):.3f}")
    click.echo(f"best recall, sides' ratio 4 (yolo_v5)    {best_recall(sizes, found, like_enough):.3f}")
