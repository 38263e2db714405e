"""The reports of a retraining in one folder, with a start page: what a job keeps as its artifact."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cv_pipelines.files import write_text
from cv_pipelines.plots.leaderboard import index_page
from cv_pipelines.retraining.record import Record
from cv_pipelines.retraining.summary import summary_of, title_of
from cv_pipelines.training.leaderboard import collect

KINDS = ("*.html", "*.json", "*.csv")


def gather(record: Record, reporting: Path, folder: Path) -> None:
    """Copy the reports of all that a retraining covers.

    Args:
        record: of the retraining.
        reporting: folder of the project's reports.
        folder: of the copies; what lay there before goes.
    """
    shutil.rmtree(folder, ignore_errors=True)
    sources = [f"{kind}_{name}" for name in record.sources for kind in ("data", "drift")]
    for name in [*sources, *record.experiments, *record.promotions]:
        for file in (path for kind in KINDS for path in sorted((reporting / name).glob(kind))):
            (folder / name).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / name / file.name)
    board = collect(folder)
    write_text(folder / "leaderboard.csv", board.to_csv(index=False))
    write_text(folder / "index.html", index_page(board, "cv_pipelines", title_of(record)))


def write_summary(record: Record, file: Path) -> None:
    """Write the summary, and show it on the page of the GitHub job that this runs in, if it does."""
    text = summary_of(record)
    write_text(file, text)
    page = os.environ.get("GITHUB_STEP_SUMMARY")
    if page:
        with Path(page).open("a", encoding="utf8") as opened:
            opened.write(text)
