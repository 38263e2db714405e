"""Tells people on GitHub, by `gh`: a pull request for what was promoted, an issue for what was not."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from cv_pipelines.errors import RetrainingError
from cv_pipelines.retraining.lock_branch import BRANCH, save_lock
from cv_pipelines.retraining.record import Record, Status
from cv_pipelines.retraining.summary import PROMOTED, TITLES, title_of

CLOSING = "The latest retraining did not end like this any more."


def announce(project: Path, record: Record | None, summary: Path) -> list[str]:
    """Keep the lock on its branch, then open, or bring up to date, what a person should see.

    An open issue or pull request of before is edited, so that a night that ends like the last one makes no
    second one. When all is well again, issues are closed.

    Args:
        project: its folder.
        record: of the retraining; None if it could not even begin.
        summary: Markdown file of it.

    Returns:
        What was done, a line each.

    Raises:
        RetrainingError: git or gh refuses.
    """
    status = record.status if record else Status.FAILED
    kept = False
    if record and record.stored:
        kept = save_lock(project, title_of(record))
    done = [f"dvc.lock is on branch {BRANCH}"] if kept else []
    if record and record.promoted:
        done.append(_pull_request(project, summary) if kept else _issue(project, PROMOTED, summary))
    if status in TITLES:
        done.append(_issue(project, TITLES[status], summary))
    return done + _close_others(project, TITLES.get(status))


def _gh(project: Path, *words: str) -> str:
    done = subprocess.run(
        ["gh", *words], cwd=project, env=os.environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RetrainingError(f"gh {' '.join(words[:2])}: {done.stderr.strip()}")
    return done.stdout.strip()


def _pull_request(project: Path, summary: Path) -> str:
    found = json.loads(
        _gh(project, "pr", "list", "--head", BRANCH, "--state", "open", "--json", "number") or "[]"
    )
    text = ("--title", PROMOTED, "--body-file", str(summary))
    if found:
        _gh(project, "pr", "edit", str(found[0]["number"]), *text)
        return f"pull request {found[0]['number']} is up to date"
    return f"pull request: {_gh(project, 'pr', 'create', '--head', BRANCH, *text)}"


def _open_issues(project: Path) -> list[dict[str, Any]]:
    listed = _gh(
        project, "issue", "list", "--state", "open", "--limit", "100", "--search", "Retraining in:title",
        "--json", "number,title",
    )  # fmt: skip
    return list(json.loads(listed or "[]"))


def _issue(project: Path, title: str, summary: Path) -> str:
    for issue in _open_issues(project):
        if issue["title"] == title:
            _gh(project, "issue", "edit", str(issue["number"]), "--body-file", str(summary))
            return f"issue {issue['number']} is up to date: {title}"
    return f"issue: {_gh(project, 'issue', 'create', '--title', title, '--body-file', str(summary))}"


def _close_others(project: Path, title: str | None) -> list[str]:
    """Close the issues of other endings of a retraining, once what they tell of is over."""
    ours = set(TITLES.values()) - {title}
    over = [issue for issue in _open_issues(project) if issue["title"] in ours]
    for issue in over:
        _gh(project, "issue", "close", str(issue["number"]), "--comment", CLOSING)
    return [f"issue {issue['number']} is closed: {issue['title']}" for issue in over]
