"""The figures that `dvc.lock` names here against those of another commit, as a Markdown table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dvc.api
import yaml
from dvc.exceptions import DvcException

from cv_pipelines.errors import RetrainingError
from cv_pipelines.plots.compared import signed
from cv_pipelines.plots.theme import number
from cv_pipelines.retraining.lock_branch import LOCK, git
from cv_pipelines.retraining.summary import table
from cv_pipelines.training.leaderboard import main_score

FILES = ("dvc.yaml", LOCK)
HEADINGS = ("experiment", "figure", "before", "here", "difference", "")


def changes(project: Path, since: str) -> str:
    """Compare figures with those of another commit; files that are not here come from DVC's remote.

    Args:
        project: its folder, a git checkout.
        since: the other commit, such as `origin/main`.

    Returns:
        Markdown: a row for every experiment whose results are others.

    Raises:
        RetrainingError: there is no such commit.
    """
    git(project, "rev-parse", "--verify", "--quiet", f"{since}^{{commit}}")
    before, here = (_results(*(_text(project, file, side) for file in FILES)) for side in (since, None))
    names = sorted(name for name in {*before, *here} if before.get(name) != here.get(name))
    if not names:
        told = f"dvc.lock names the same results as `{since}` ({len(here)} experiments)."
        return f"# Results against {since}\n\n{told} What would be made anew: `dvc status`.\n"
    rows = []
    for name in names:
        then = _read(project, name, since) if name in before else None
        now = _read(project, name, None) if name in here else None
        rows.append(_row(name, then, now))
    return f"# Results against {since}\n\n{table(HEADINGS, rows)}\n"


def _text(project: Path, file: str, commit: str | None) -> str:
    """Return a file of a commit, or as it lies here; "" where there is none."""
    try:
        return git(project, "show", f"{commit}:{file}") if commit else (project / file).read_text("utf8")
    except (RetrainingError, FileNotFoundError):
        return ""


def _results(declared: str, lock: str) -> dict[str, str]:
    """Return the hash of each `metrics.json` that a lock names, by experiment.

    Args:
        declared: dvc.yaml; the lock still names stages that are gone from it.
        lock: dvc.lock.
    """
    known, locked = ((yaml.safe_load(text) or {}).get("stages", {}) for text in (declared, lock))
    outs = [out for stage in locked.keys() & known.keys() for out in locked[stage].get("outs", [])]
    return {Path(o["path"]).parent.name: o["md5"] for o in outs if Path(o["path"]).name == "metrics.json"}


def _read(project: Path, name: str, commit: str | None) -> dict[str, Any] | str:
    """Return an experiment's metrics; or why they cannot be had."""
    path = f"data/08_reporting/{name}/metrics.json"
    try:
        found: dict[str, Any] = json.loads(dvc.api.read(path, repo=str(project), rev=commit))
    except (DvcException, OSError, ValueError) as error:
        return f"cannot be read: {error}"
    return found


def _row(name: str, then: dict[str, Any] | str | None, now: dict[str, Any] | str | None) -> list[str]:
    for side in (then, now):
        if isinstance(side, str):
            return [name, "", "", "", "", side]
    known = [side for side in (then, now) if isinstance(side, dict)]
    figure = main_score(known[-1])[0]
    values = [side["values"].get(figure) if isinstance(side, dict) else None for side in (then, now)]
    shown = [number(value, 4) for value in values]
    if len(known) < 2:
        return [name, figure, *shown, "", "new" if then is None else "gone"]
    one, other = (side["contract"] for side in known)
    apart = sorted(key for key in {*one, *other} if one.get(key) != other.get(key))
    if apart:
        return [name, figure, *shown, "", f"not comparable: {', '.join(apart)} differ"]
    gained = None if None in values else values[1] - values[0]  # type: ignore[operator]
    return [name, figure, *shown, signed(gained), ""]
