"""The index page: every experiment by task, ranked only against runs of the same contract."""

from __future__ import annotations

import html
import math

import pandas as pd
import plotly.graph_objects as go

from cv_pipelines.plots.bars import LIMIT, ROW, value_range
from cv_pipelines.plots.document import Block, Link, document, figure_html, paragraphs, table
from cv_pipelines.plots.meanings import score_meaning
from cv_pipelines.plots.theme import COLORS, finite, name_ticks, number, plain, styled

HEADERS = ["rank", "experiment", "source", "score", "time", "device"]


def index_page(leaderboard: pd.DataFrame, title: str = "Experiments", subtitle: str = "") -> str:
    """Return the index of all experiments as one HTML page that needs no network.

    Args:
        leaderboard: a row an experiment: `experiment`, `task`, `source`, `score_name`, `score` (NaN if there
            is none), `spread` over the seeds (0: one seed), `seconds`, `device`, `contract_key` (null:
            unknown, so never ranked), `report` (path of its report relative to this page, or null).
        title: plain text.
        subtitle: plain text; how many experiments there are if not given.
    """
    if leaderboard.empty:
        nothing = '<p class="empty">no data: no experiment has been scored yet</p>'
        return document(title, subtitle, [Block("Experiments", nothing)])
    rows = leaderboard.assign(
        contract_key=leaderboard["contract_key"].fillna("").astype(str),
        score=pd.to_numeric(leaderboard["score"], errors="coerce"),
    )
    tasks = list(rows.groupby("task", sort=True))
    counted = f"{len(rows)} experiments, {len(tasks)} tasks"
    blocks = [_task_block(place, str(task), part) for place, (task, part) in enumerate(tasks)]
    return document(title, subtitle or counted, blocks)


def _task_block(number_of_task: int, task: str, rows: pd.DataFrame) -> Block:
    groups = [
        (_contract(part), str(score), _ranked(part, str(score)))
        for (_, score), part in rows.groupby(["contract_key", "score_name"], sort=True)
    ]
    groups.sort(key=lambda group: (group[1], group[0]))
    body = ""
    if len(groups) > 1:
        body += paragraphs(
            "These runs were scored under different contracts (data, split or protocol differ): "
            "a rank counts only within its table."
        )
    for place, score in enumerate(sorted({score for _, score, _ in groups})):
        alike = [(contract, part) for contract, name, part in groups if name == score]
        body += figure_html(_score_bars(task, score, alike), f"bars_{number_of_task}_{place}")
        body += "".join(_group_table(contract, score, part) for contract, part in alike)
    return Block(task, body)


def _contract(part: pd.DataFrame) -> str:
    sources = ", ".join(sorted({str(source) for source in part["source"]}))
    key = part["contract_key"].iloc[0]
    return f"{sources} · contract {key[:10]}" if key else f"{sources} · unknown contract"


def _ranked(part: pd.DataFrame, score: str) -> pd.DataFrame:
    lower = score_meaning(score).better == "lower"
    ranks = part["score"].rank(method="min", ascending=lower)
    if not part["contract_key"].iloc[0]:
        ranks[:] = math.nan
    ordered = part.assign(rank=ranks).sort_values(
        ["score", "experiment"], ascending=[lower, True], na_position="last", kind="stable"
    )
    return ordered


def _group_table(contract: str, score: str, part: pd.DataFrame) -> str:
    meaning = score_meaning(score)
    direction = f" ({meaning.better} is better)" if meaning.better else ""
    seeds = bool((part["spread"] > 0).any())
    rows = [
        [
            "–" if math.isnan(row["rank"]) else int(row["rank"]),
            Link(str(row["experiment"]), str(row["report"]))
            if _present(row["report"])
            else row["experiment"],
            row["source"],
            float(row["score"]),
            *([row["spread"] or "–"] if seeds else []),
            duration(row["seconds"]),
            row["device"],
        ]
        for row in part.to_dict("records")
    ]
    headers = [score + direction if title == "score" else title for title in HEADERS]
    if seeds:
        headers.insert(HEADERS.index("score") + 1, "± over seeds")
    return f"<h3>{html.escape(contract)}</h3>" + table(headers, rows)


def _present(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def duration(seconds: float | None) -> str:
    """Write a time for people: "0.8 s", "3 min 12 s", "2 h 05 min"; "n/a" where there is none."""
    if seconds is None or not math.isfinite(seconds):
        return "n/a"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _score_bars(task: str, score: str, groups: list[tuple[str, pd.DataFrame]]) -> go.Figure:
    """Draw one bar a run, a colour a contract; beyond `LIMIT` runs the subtitle says how many are missing."""
    figure = go.Figure()
    names: list[str] = []
    total = sum(len(part) for _, part in groups)
    for place, (contract, part) in enumerate(groups):
        shown = part.head(max(LIMIT - len(names), 0))
        values = [float(v) for v in shown["score"]]
        texts = [
            number(v) + (f" ± {number(s)}" if s > 0 else "")
            for v, s in zip(values, shown["spread"], strict=True)
        ]
        figure.add_bar(
            x=[v if math.isfinite(v) else 0.0 for v in values],
            y=list(range(len(names), len(names) + len(shown))),
            orientation="h",
            name=plain(contract, 60),
            marker_color=COLORS[place % len(COLORS)],
            text=texts,
            textposition="outside",
            cliponaxis=False,
            hoverinfo="text",
            hovertext=[
                plain(f"{name}: {text}") for name, text in zip(shown["experiment"], texts, strict=True)
            ],
        )
        names += [str(name) for name in shown["experiment"]]
    known = finite([v for _, part in groups for v in part["score"]])
    figure.update_xaxes(title_text=plain(score), range=value_range(known or [0.0]))
    figure.update_yaxes(**name_ticks(names), autorange="reversed", showgrid=False)
    figure.update_layout(showlegend=len(groups) > 1, legend={"x": 0, "xanchor": "left", "y": 1.0})
    note = f"and {total - len(names)} more in the tables" if total > len(names) else ""
    return styled(figure, f"{task}: {score}", max(len(names) * ROW + 170, 230), note)
