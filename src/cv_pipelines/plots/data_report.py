"""The data report: splits, classes, objects, looks, samples, leaks, look-alikes, defects of one source."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from cv_pipelines.config import Limits
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.duplicates import NEAR, exact_duplicates, near_duplicates
from cv_pipelines.data.findings import summarise
from cv_pipelines.data.limits import LEAST, MEANINGS, Check, check
from cv_pipelines.plots.defects import quarantine_block
from cv_pipelines.plots.document import Section, table
from cv_pipelines.plots.gallery import GalleryItem, gallery
from cv_pipelines.plots.looks import image_looks, signal_looks
from cv_pipelines.plots.page import data_page
from cv_pipelines.plots.samples import label_of, picture_of, sample_gallery
from cv_pipelines.plots.source import box_sizes, class_bars, image_sizes, pixel_bars, split_bars
from cv_pipelines.plots.theme import number

PAIRS_SHOWN = 8


def draw(
    title: str,
    data: SourceData,
    quarantine: pd.DataFrame,
    facts: dict[str, Any],
    measures: pd.DataFrame,
    limits: Limits | None = None,
) -> tuple[str, dict[str, Any], go.Figure, go.Figure]:
    """Draw the data report.

    Args:
        title: what the source is called.
        data: all splits, with the statistics of the train split.
        quarantine: what was left out, corrected or noted.
        facts: of the reader and of the splits.
        measures: of the samples, see `measures.measure`.
        limits: what the source declares that it may show at most.

    Returns:
        The page, its content as JSON-able numbers, the class counts and the gallery.
    """
    repeats, alike = exact_duplicates(data.samples), _look_alikes(data, measures)
    summary = summarise(data, quarantine, facts, measures, repeats, alike)
    checks = check(limits or Limits(), summary)
    summary["checks"] = [one._asdict() | {"kept": one.kept} for one in checks]
    classes, samples = _classes(data, summary), sample_gallery(data)
    sections = [
        _checks(checks),
        Section("Splits", "How many samples train, choose and test.", split_bars(summary["splits"])),
        Section("Classes", _balance_text(summary), classes),
        *_objects(data, summary),
        *_looks(data, measures, facts.get("channels")),
        Section("Samples", "Spread evenly.", samples),
        _leaks(data, summary, repeats),
    ]
    sections += _alike_section(data, alike)
    page = data_page(
        f"Data: {title}",
        _subtitle(data, summary),
        _tiles(summary),
        {key: value for key, value in facts.items() if key not in {"shared", "shared_groups"}},
        sections,
        quarantine_block(quarantine, data.root),
    )
    return page, summary, classes, samples


def _subtitle(data: SourceData, summary: dict[str, Any]) -> str:
    kinds = {"classes": data.categories.labels, "kinds of objects": data.categories.objects}
    kinds["classes of pixels"] = data.categories.mask
    told = [f"{len(data.samples):,} samples", *(f"{len(v)} {name}" for name, v in kinds.items() if v)]
    if summary["objects"]["n"]:
        told.insert(1, f"{summary['objects']['n']:,} objects")
    return " · ".join(told)


def _tiles(summary: dict[str, Any]) -> dict[str, str]:
    """Return the headline: what to count, and how clean it is."""
    counts = {action: 0 for action in ("dropped", "repaired")}
    for row in summary["quarantine"]:
        counts[row["action"]] = counts.get(row["action"], 0) + row["n"]
    tiles = {"samples": f"{sum(summary['splits'].values()):,}"}
    if summary["objects"]["n"]:
        tiles["objects"] = f"{summary['objects']['n']:,}"
    tiles["left out"] = f"{counts['dropped']:,}"
    tiles["corrected"] = f"{counts['repaired']:,}"
    tiles["repeated contents"] = f"{sum(summary['duplicates'].values()):,}"
    if summary["hashed"]:
        tiles["look-alikes across splits"] = f"{sum(summary['near_duplicates'].values()):,}"
    return tiles


def _checks(checks: list[Check]) -> Section:
    rows = []
    for one in checks:
        sign = "at least" if one.name in LEAST else "at most"
        allowed = "no limit set" if one.limit is None else f"{sign} {one.limit:g}"
        verdict = "" if one.limit is None else "kept" if one.kept else "NOT KEPT: training is refused"
        here = f"{one.value:,.0f}" if one.name in LEAST else number(one.value)
        rows.append([one.name, MEANINGS[one.name], here, allowed, verdict])
    text = "What the limits of the source are about; a limit that is not kept stops whatever trains on it."
    return Section("Checks", text, body=table(["check", "what it says", "here", "allowed", ""], rows))


def _classes(data: SourceData, summary: dict[str, Any]) -> go.Figure:
    """Draw samples by class; where only pixels have classes, those."""
    if summary["pixels"] and not data.categories.labels:
        return pixel_bars(summary["pixels"])
    names = data.categories.names("labels")
    return class_bars(names, {split: list(row.values()) for split, row in summary["classes"].items()})


def _balance_text(summary: dict[str, Any]) -> str:
    found = summary["balance"].get("train")
    if not found:
        return "How often each class occurs."
    return (
        f"How often each class occurs in each split. In train the smallest class has {found['smallest']:,} "
        f"samples, the largest {found['largest']:,}; evenness is {found['evenness']:.2f} (1: all equal)."
    )


def _objects(data: SourceData, summary: dict[str, Any]) -> list[Section]:
    found = summary["objects"]
    if not found["n"]:
        return []
    areas = ", ".join(f"{count:,} {size}" for size, count in found["areas"].items())
    empty = sum(found["without"].values())
    shapes, an_image = found["aspect"], found["an_image"]
    sizes = (
        f"{areas} by COCO's bounds of 32² and 96² pixels. Width over height: median "
        f"{shapes['median']:.2f}, nine tenths between {shapes['p05']:.2f} and {shapes['p95']:.2f}, from "
        f"{shapes['min']:.2f} to {shapes['max']:.2f}."
    )
    amounts = (
        f"{found['n']:,} objects, of which {found['crowd']:,} crowds and {found['difficult']:,} difficult; "
        f"{an_image['median']:g} an image (median), at most {an_image['max']:g}; {empty:,} images have none."
    )
    names = data.categories.names("objects")
    bars = class_bars(names, {s: list(row.values()) for s, row in found["classes"].items()}, "objects")
    return [
        Section("Objects", amounts, bars),
        Section("Object sizes", sizes, box_sizes(data.annotations, data.samples)),
    ]


def _looks(data: SourceData, measures: pd.DataFrame, channels: list[str] | None) -> list[Section]:
    split = data.samples["split"].to_numpy(object)
    if data.kind == "signal":
        return [Section("Signals", "How much each channel moves.", signal_looks(measures, split, channels))]
    light = image_looks(measures, split)
    sections = [Section("Light", "How bright the images are, and how much contrast.", light)]
    if data.samples[["width", "height"]].drop_duplicates().shape[0] > 1:
        text = "How large the images are."
        sections.insert(0, Section("Image sizes", text, image_sizes(data.samples)))
    return sections


def _look_alikes(data: SourceData, measures: pd.DataFrame) -> pd.DataFrame:
    hashes = measures.get("phash", pd.Series(index=measures.index, dtype=object))
    return near_duplicates(data.samples, hashes)


def _leaks(data: SourceData, summary: dict[str, Any], repeats: pd.DataFrame) -> Section:
    """Say what splits share, by group, by content and by look, and show samples that occur twice."""
    official = summary["facts"].get("shared", {})
    rows: list[list[Any]] = []
    for pair, found in summary["leakage"].items():
        shared = found["shared_groups"] or found["shared_contents"]
        border = official.get(pair, {}).get("official")
        note = "official split, kept as it is" if shared and border else ""
        examples = ", ".join(map(str, [*found["groups"], *found["samples"]][:5]))
        alike = summary["near_duplicates"].get(pair, 0) if summary["hashed"] else None
        told = [found["shared_groups"], found["shared_contents"], alike, examples, note]
        rows.append([pair.replace("|", " and "), *told])
    head = ["splits", "shared groups", "same content", "look-alikes", "for example", ""]
    within = {s: summary["duplicates"].get(f"{s}|{s}", 0) for s in summary["splits"]}
    inner = ", ".join(f"{count:,} in {split}" for split, count in within.items() if count)
    text = (
        "What two splits share: groups (subjects, videos), contents byte for byte, and images that look the "
        f"same, sought among the {summary['hashed']:,} that are large and varied enough.\n\n"
        f"Within a split, contents repeat: {inner or 'never'}. Contents that occur with different classes: "
        f"{summary['label_conflicts']:,}."
    )
    figure = None
    if len(repeats) and data.kind == "image":
        place, items = _places(data), []
        for pair in repeats.head(PAIRS_SHOWN).itertuples():
            for sample_id, split in ((pair.sample_id, pair.split), (pair.other_id, pair.other_split)):
                items.append(_paired(data, place[sample_id], str(split)))
        figure = gallery(items, {}, title="Samples that occur twice, side by side")
    return Section("Leakage and duplicates", text, figure, table(head, rows) if rows else "")


def _places(data: SourceData) -> dict[str, int]:
    return {sample_id: index for index, sample_id in enumerate(data.samples["sample_id"])}


def _paired(data: SourceData, index: int, told: str) -> GalleryItem:
    label = label_of(data, index)
    title = str(data.samples["sample_id"].iat[index])
    return GalleryItem(picture_of(data, index), title, truth=f"{told} · {label}" if label else told)


def _alike_section(data: SourceData, alike: pd.DataFrame) -> list[Section]:
    """Show pairs that look the same; those with equal bytes are shown already."""
    contents = data.samples.set_index("sample_id")["content_hash"]
    equal = contents.reindex(alike["sample_id"]).to_numpy() == contents.reindex(alike["other_id"]).to_numpy()
    alike = alike[~equal]
    if alike.empty:
        return []
    place, items = _places(data), []
    for pair in alike.head(PAIRS_SHOWN).itertuples():
        for sample_id, split in ((pair.sample_id, pair.split), (pair.other_id, pair.other_split)):
            items.append(_paired(data, place[sample_id], f"{split} · {pair.distance} bits apart"))
    text = (
        "Pairs of different splits, of unequal bytes, whose perceptual hashes differ in at most "
        f"{NEAR} of 64 bits: {len(alike):,}."
    )
    return [Section("Look-alikes", text, gallery(items, {}, title="The closest pairs, side by side"))]
