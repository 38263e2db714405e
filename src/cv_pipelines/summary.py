"""What a run leaves behind: the leaderboard, and a table on the terminal that says where things lie."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cv_pipelines.files import write_text
from cv_pipelines.plots.compared import percent, signed, verdict
from cv_pipelines.plots.leaderboard import index_page
from cv_pipelines.plots.theme import number
from cv_pipelines.training.leaderboard import collect


def conclude(reporting: Path, experiments: list[str], seconds: dict[str, float]) -> None:
    """Write `leaderboard.csv` and `index.html` of all experiments on disk; print this run's rows.

    Args:
        reporting: folder of the reports.
        experiments: those of this run.
        seconds: spent in the nodes of each.
    """
    board = collect(reporting)
    write_text(reporting / "leaderboard.csv", board.to_csv(index=False))
    write_text(reporting / "index.html", index_page(board, "cv_pipelines", "All experiments on this machine"))
    # Written to a file, lines may be longer than the 80 columns that Rich then assumes.
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(results_table(board, experiments, seconds))
    console.print(f"Reports      {reporting / 'index.html'}", soft_wrap=True, highlight=False)
    console.print("MLflow UI    make mlflow   (compare runs, curves, parameters)", highlight=False)
    console.print("Graph        make viz      (kedro-viz with previews)", highlight=False)


def results_table(board: pd.DataFrame, experiments: list[str], seconds: dict[str, float]) -> Table:
    """Lay out experiment, task, main score (with its spread over seeds) and seconds."""
    table = Table(title="Results", title_justify="left")
    for heading in ("experiment", "task", "score", "", "seconds"):
        justify: Literal["left", "right"] = "right" if heading in {"", "seconds"} else "left"
        table.add_column(heading, justify=justify, overflow="fold")  # a name cut short may stand for several
    for row in board[board["experiment"].isin(experiments)].to_dict("records"):
        value = "n/a" if pd.isna(row["score"]) else f"{row['score']:.4f}"
        spread = f" ± {row['spread']:.4f}" if pd.notna(row["spread"]) and row["spread"] > 0 else ""
        spent = f"{seconds.get(row['experiment'], 0.0):.1f}"
        table.add_row(row["experiment"], row["task"], row["score_name"], value + spread, spent)
    return table


BEST = 5
"""Trials that the terminal shows."""


def conclude_study(folder: Path, winner: Path) -> None:
    """Print the best trials of a study and where things lie.

    Args:
        folder: of the study's report.
        winner: file of the experiment that was found.
    """
    found = json.loads((folder / "study.json").read_text(encoding="utf8"))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(trials_list(found, pd.read_parquet(folder / "trials.parquet")))
    console.print(f"Report       {folder / 'report.html'}", soft_wrap=True, highlight=False)
    console.print(f"Winner       {winner}", soft_wrap=True, highlight=False)
    if winner.parent.name == "experiments":  # elsewhere, no pipeline is made of it
        console.print(f"Run it       kedro run --pipeline {found['study']}_best", highlight=False)


def trials_list(found: dict[str, Any], trials: pd.DataFrame) -> Table:
    """Lay out the best complete trials: number, figure, seconds and what was drawn.

    Args:
        found: what `study.json` holds.
        trials: the table of the study.
    """
    keys = list(found["best"]["values"])
    counted = ", ".join(f"{count} {state}" for state, count in found["states"].items())
    table = Table(title=f"{found['study']}: {counted}", title_justify="left")
    for heading in ("trial", found["monitor"], "seconds"):
        table.add_column(heading, justify="right")
    for key in keys:
        table.add_column(key, overflow="fold")
    done = trials[trials["state"] == "complete"]
    order = done.sort_values(["value", "number"], ascending=[found["direction"] == "minimize", True])
    for row in order.head(BEST).to_dict("records"):
        drawn = [f"{row[key]:.4g}" if isinstance(row[key], float) else str(row[key]) for key in keys]
        table.add_row(str(row["number"]), f"{row['value']:.4f}", f"{row['seconds']:.1f}", *drawn)
    return table


def conclude_comparison(found: dict[str, Any], page: Path) -> None:
    """Print what a comparison of two models found, and where its page lies.

    Args:
        found: what its JSON file holds.
        page: of it.
    """
    console = Console(width=None if sys.stdout.isatty() else 120)
    for kind, rows in {"score": found["overall"], **found["slices"]}.items():
        console.print(comparison_table(found, kind, rows))
    console.print(verdict(found), markup=False, highlight=False)
    console.print(f"Page         {page}", soft_wrap=True, highlight=False)
    console.print(f"JSON         {page.with_suffix('.json')}", soft_wrap=True, highlight=False)


def comparison_table(found: dict[str, Any], kind: str, rows: list[dict[str, Any]]) -> Table:
    """Lay out one kind of rows of a comparison: both figures, the difference and its interval."""
    what = f"A: {found['a']}   B: {found['b']}" if kind == "score" else f"{found['metric']} by {kind}"
    table = Table(title=escape(what), title_justify="left")
    table.add_column(kind, overflow="fold")
    covered = percent(found["confidence"])
    for heading in ("A", "B", "B minus A", f"{covered} interval", "B better", "of"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            escape(row["name"]),
            number(row["a"], 4),
            number(row["b"], 4),
            signed(row["effect"]),
            f"{signed(row['low'])} to {signed(row['high'])}",
            percent(row["better"]),
            f"{row['n']:,}",
        )
    return table


def conclude_promotion(file: Path, page: Path) -> str:
    """Print a decision and every condition of it.

    Args:
        file: JSON of the decision.
        page: of it.

    Returns:
        Id of the run that made the challenger.
    """
    decision = json.loads(file.read_text(encoding="utf8"))
    title = f"{decision['model']}, version {decision['challenger']['number']}: {decision['outcome']}"
    table = Table(title=escape(title), title_justify="left")
    for heading in ("condition", "", "what was measured and asked"):
        table.add_column(heading, overflow="fold")
    for one in decision["checks"]:
        table.add_row(one["name"], "holds" if one["passed"] else "does not hold", escape(one["told"]))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print(f"Decision     {page}", soft_wrap=True, highlight=False)
    return str(decision["challenger"]["run"])
