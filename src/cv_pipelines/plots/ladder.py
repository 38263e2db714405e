"""The models of a group beside each other: scores, what they cost, and what was new in each."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from cv_pipelines.plots.document import Keyed, Link, Section, table
from cv_pipelines.plots.leaderboard import duration
from cv_pipelines.plots.meanings import score_meaning
from cv_pipelines.plots.theme import COLORS, SOFT_INK, number, plain, styled

BESIDE = ("map", "mask_map_50", "mask_map", "keypoint_map_50", "keypoint_map")
"""Scores that have a column beside the one that stands for the task, where a model has them."""

OWN_TO_SOME = ("masks", "keypoint_sigma")
"""Keys of a contract that say what further scores hold for, which not all models have."""

SORTING = """
<script>
document.querySelectorAll('.sortable th').forEach((head, place) => {
  const column = head.cellIndex, body = head.closest('table').tBodies[0];
  const key = row => {
    const cell = row.cells[column], text = cell.dataset.key ?? cell.textContent;
    const value = parseFloat(text.replaceAll(',', ''));
    return text === 'n/a' || text === '' ? null : Number.isNaN(value) ? text : value;
  };
  head.tabIndex = 0;
  head.setAttribute('role', 'button');
  const sort = () => {
    const down = head.getAttribute('aria-sort') !== 'descending';
    head.parentNode.querySelectorAll('th').forEach(other => other.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    [...body.rows].map(row => [key(row), row]).sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      const order = typeof a === 'string' ? a.localeCompare(b) : a - b;
      return down ? -order : order;
    }).forEach(([, row]) => body.append(row));
  };
  head.addEventListener('click', sort);
  head.addEventListener('keydown', event => event.key === 'Enter' && sort());
});
</script>
"""


@dataclass(frozen=True)
class Rung:
    """One model of a group.

    Attributes:
        experiment: its name.
        label: what it is called.
        metrics: `metrics.json`.
        score: name of the figure that stands for its task.
        costs: `training.costs.Costs` as a mapping.
    """

    experiment: str
    label: str
    metrics: Mapping[str, Any]
    score: str
    costs: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Its label without the year, which stands beside it."""
        return self.label.removesuffix(f" ({self.costs['year']})")

    @property
    def contract(self) -> str:
        """What its score holds for; scores are only ranked where this is equal."""
        known = {key: value for key, value in self.metrics["contract"].items() if key not in OWN_TO_SOME}
        return json.dumps([self.score, known], sort_keys=True)

    def value(self, name: str) -> float | None:
        """Return a figure of it, None where it has none."""
        value = self.metrics["values"].get(name)
        return None if value is None or not math.isfinite(value) else float(value)


def ladder_sections(rungs: Sequence[Rung]) -> list[Section]:
    """Return a section for each contract that models were scored under: a chart and a table of all of them.

    Args:
        rungs: the models of a group, in order.
    """
    alike: dict[str, list[Rung]] = {}
    for rung in rungs:
        alike.setdefault(rung.contract, []).append(rung)
    groups = list(alike.values())
    return [_section(group, f" {place}" if len(groups) > 1 else "") for place, group in enumerate(groups, 1)]


def _section(rungs: Sequence[Rung], suffix: str) -> Section:
    contract, devices = rungs[0].metrics["contract"], sorted({rung.costs["device"] for rung in rungs})
    threads = max(rung.costs["threads"] for rung in rungs)
    timed = f"{' and '.join(devices)}, {threads} thread{'s' * (threads != 1)}"
    text = (
        f"Scored on the {contract['split']} split of {contract['source']}, {contract['n']:,} samples. "
        f"Time a sample is that of one alone, from its pixels to the prediction, all measured in one run "
        f"({timed}). A click on a heading sorts the table."
    )
    if suffix:
        text += " These models were scored alike; those of other sections were scored otherwise."
    body = f'<div class="sortable">{_table(rungs)}</div>' + SORTING * (suffix in {"", " 1"})
    return Section(f"Leaderboard{suffix}", text, score_by_time(rungs), body)


def _table(rungs: Sequence[Rung]) -> str:
    score = rungs[0].score
    lower = score_meaning(score).better == "lower"
    ranked = sorted(rungs, key=lambda rung: _rank(rung.value(score), lower))
    shown = [score, *(n for n in BESIDE if n != score and any(r.value(n) is not None for r in rungs))]
    costs = [rung.costs for rung in ranked]
    columns: list[tuple[str, list[Any]]] = [
        ("model", [Link(rung.title, f"../{rung.experiment}/report.html") for rung in ranked]),
        *((name, [rung.value(name) for rung in ranked]) for name in shown),
        ("training", [_training(rung) for rung in ranked]),
        ("ms / sample", [_short(one["milliseconds"]) for one in costs]),
        ("GFLOPs", [_short(one["gigaflops"]) for one in costs]),
        ("parameters", [_millions(one["parameters"]) for one in costs]),
        ("MB", [_short(one["megabytes"]) for one in costs]),
    ]
    if any(one["year"] for one in costs):
        columns.append(("year", [_year(one["year"]) for one in costs]))
        columns.append(("what was new", [one["novelty"] or "" for one in costs]))
    return table([name for name, _ in columns], list(zip(*(cells for _, cells in columns), strict=True)))


def _rank(value: float | None, lower: bool) -> float:
    return math.inf if value is None else value if lower else -value


def _training(rung: Rung) -> Keyed:
    seconds = float(rung.metrics["seconds"])
    return Keyed(duration(seconds), seconds)


def _short(value: float | None) -> Keyed:
    return Keyed("n/a" if value is None else number(value, 2), value)


def _millions(count: int) -> Keyed:
    return Keyed(f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count:,}", float(count))


def _year(year: int | None) -> Keyed:
    return Keyed("n/a" if year is None else str(year), year)


def score_by_time(rungs: Sequence[Rung]) -> go.Figure:
    """Draw the score of each model against its time a sample; the area of a mark is that of its weights.

    Models that predict no given sample stand at the time that their training took.

    Args:
        rungs: models scored alike, at least one.
    """
    score = rungs[0].score
    predicts = all(rung.costs["milliseconds"] is not None for rung in rungs)
    times = [rung.costs["milliseconds"] if predicts else float(rung.metrics["seconds"]) for rung in rungs]
    largest = max(rung.costs["megabytes"] for rung in rungs) or 1.0
    figure = go.Figure()
    in_time = sorted(range(len(rungs)), key=times.__getitem__)
    for place, (rung, spent) in enumerate(zip(rungs, times, strict=True)):
        value = rung.value(score)
        figure.add_scatter(
            x=[spent],
            y=[value],
            name=plain(rung.title),
            mode="markers+text",
            text=[plain(rung.title)],
            # Neighbours would write over each other.
            textposition="bottom center" if in_time.index(place) % 2 else "top center",
            textfont={"size": 12, "color": SOFT_INK},
            cliponaxis=False,
            marker={
                "size": 10 + 30 * math.sqrt(rung.costs["megabytes"] / largest),
                "color": COLORS[place % len(COLORS)],
                "opacity": 0.75,
            },
            hoverinfo="text",
            hovertext=(
                f"{plain(rung.title)}<br>{plain(score)} {number(value)}<br>"
                f"{number(spent)} {'ms a sample' if predicts else 's of training'}<br>"
                f"{number(rung.costs['megabytes'], 2)} MB, trained in {duration(rung.metrics['seconds'])}"
            ),
        )
    figure.update_xaxes(title_text="milliseconds a sample" if predicts else "seconds of training", type="log")
    figure.update_yaxes(title_text=plain(score), tickformat="~g")
    figure.update_layout(showlegend=False)
    what = "time a sample" if predicts else "training time"
    return styled(figure, f"{score} by {what}", 460, "the area of a mark is the size of the weights")
