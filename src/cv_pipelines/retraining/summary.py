"""What a retraining did, as one Markdown page: for a job's summary, an issue, a pull request."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from cv_pipelines.plots.compared import percent, signed
from cv_pipelines.plots.theme import number
from cv_pipelines.retraining.record import Item, Record, Status

TITLES = {
    Status.FAILED: "Retraining: failed",
    Status.GATE: "Retraining: data refused",
    Status.REFUSED: "Retraining: model refused",
}
"""Of those that a person should look at; by status."""
PROMOTED = "Retraining: promoted"
SAID = {
    "pending": "was not reached",
    "done": "done",
    "unchanged": "up to date",
    "new": "made anew",
    "trained": "trained again",
    "promoted": "promoted",
    "skipped": "left out",
    "refused": "refused",
    "gate": "refused",
    "failed": "failed",
}
SHOWN = 5
"""Distances of a drift that are shown."""


def title_of(record: Record) -> str:
    """Return what happened in few words; the gravest wins."""
    if record.status in TITLES:
        return TITLES[record.status]
    if record.promoted:
        return PROMOTED
    changed = any(item.state in {"new", "trained"} for item in record.covered)
    return "Retraining: trained again" if changed else "Retraining: up to date"


def summary_of(record: Record) -> str:
    """Return the page.

    Args:
        record: of the retraining, at its end.
    """
    status = f"Exit status {record.status.value}."
    parts = [f"# {title_of(record)}", f"{record.began} UTC, commit `{record.commit[:12]}`. {status}{_link()}"]
    for name, item in record.promotions.items():
        parts += [f"## {name}: {SAID[item.state]}", *_promotion(item)]
    parts += ["## Data", _sources(record.sources)]
    for name, item in record.sources.items():
        parts += _drift(name, item)
    parts += ["## Training", _experiments(record.experiments)]
    rows = [
        [name, SAID[item.state], item.told or "; ".join(f"{k} {v}" for k, v in item.facts.items())]
        for name, item in record.transfers.items()
    ]
    return "\n\n".join([*parts, "## Storage", table(["step", "", ""], rows)]) + "\n"


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Lay out a Markdown table; cells may hold anything."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")


def _link() -> str:
    """Return a link to the job that this runs in; "" outside GitHub's."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    server, repository, run = (os.environ.get(name) for name in names)
    link = f" [The job]({server}/{repository}/actions/runs/{run}): its log and, as an artifact, all reports."
    return link if run else ""


def _promotion(item: Item) -> list[str]:
    decision = item.facts
    if not decision:
        return [_cell(item.told)] if item.told else []
    challenger, champion = decision["challenger"], decision["champion"]
    told = f"`{decision['model']}`, version {challenger['number']} ({challenger['experiment']})"
    if item.state == "unchanged":
        return [f"{told} is the champion already."]
    before = f"version {champion['number']} ({champion['experiment']})" if champion else "none"
    rows = [
        [c["name"], "holds" if c["passed"] else "**does not hold**", c["told"]] for c in decision["checks"]
    ]
    parts = [f"{told}; champion before: {before}.", table(["condition", "", "measured and asked"], rows)]
    return parts + (_comparison(decision["comparison"]) if decision["comparison"] else [])


def _comparison(found: Mapping[str, Any]) -> list[str]:
    """Return what the bootstrap found: all figures, then the one that decides by class."""
    headings = ["champion", "this one", "difference", f"{percent(found['confidence'])} interval", "of"]
    parts = [table(["figure", *headings], [_row(row) for row in found["overall"]])]
    if found["slices"].get("class"):
        rows = [_row(row) for row in found["slices"]["class"]]
        folded = f"<details><summary>{found['metric']} by class</summary>"
        parts += [folded, table(["class", *headings], rows), "</details>"]
    return parts


def _row(row: Mapping[str, Any]) -> list[str]:
    interval = f"{signed(row['low'])} to {signed(row['high'])}"
    both = [number(row[side], 4) for side in ("a", "b")]
    return [row["name"], *both, signed(row["effect"]), interval, f"{row['n']:,}"]


def _sources(items: Mapping[str, Item]) -> str:
    rows = []
    for name, item in items.items():
        splits = ", ".join(f"{split} {count:,}" for split, count in item.facts.get("splits", {}).items())
        distances = item.facts.get("drift", {}).get("distances", {})
        worst = next((f"{what} {value:.3f}" for what, value in distances.items()), "not measured")
        rows.append([name, SAID[item.state], splits, worst, item.told])
    return table(["source", "", "samples", "largest drift", "why"], rows)


def _experiments(items: Mapping[str, Item]) -> str:
    rows = []
    for name, item in items.items():
        before, now = (_score(item.facts.get(key)) for key in ("before", "now"))
        rows.append([name, SAID[item.state], before, now, item.told])
    return table(["experiment", "", "score before", "score now", "why"], rows)


def _score(score: Mapping[str, Any] | None) -> str:
    if score is None:
        return "none"
    of = f" ({score['n']:,} samples)" if score["n"] else ""
    return f"{score['name']} {number(score['value'], 4)}{of}"


def _drift(name: str, item: Item) -> list[str]:
    """Return the distances of a source that is made anew or held back; nothing where nothing moved."""
    drift = item.facts.get("drift", {})
    if item.state not in {"new", "gate"} or not any(drift.get("distances", {}).values()):
        return []
    counts = drift["samples"]
    told = (
        f"{counts['old']:,} samples before, {counts['new']:,} now; {counts['added']:,} added, "
        f"{counts['removed']:,} removed, {counts['changed']:,} changed."
    )
    limit = "none" if drift["limit"] is None else f"{drift['limit']:g}"
    moved = [(what, value) for what, value in drift["distances"].items() if value > 0]
    listed = moved[: max(SHOWN, len(drift["beyond"]))]
    rows = [
        [what, f"{value:.3f}", limit, "**beyond**" if what in drift["beyond"] else ""]
        for what, value in listed
    ]
    return [f"### Drift of {name}", told, table(["distance", "", "limit", ""], rows)]
