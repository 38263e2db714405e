"""The branch on which a retraining keeps `dvc.lock`: what it made is found again by the next one.

Machines of a hosted CI forget all; DVC's lock file says which results the remote storage holds. It lies on
a branch of its own until a person merges it, and is taken from there unless the main branch has a later one.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from cv_pipelines.errors import RetrainingError

BRANCH = "retraining"
REMOTE = f"refs/remotes/origin/{BRANCH}"
LOCK = "dvc.lock"
AUTHOR = {"NAME": "retraining", "EMAIL": "retraining@localhost"}


def git(project: Path, *words: str, **variables: str) -> str:
    """Run git in the project; return what it says.

    Raises:
        RetrainingError: it refuses; with its words.
    """
    done = subprocess.run(
        ["git", *words], cwd=project, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RetrainingError(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def take_lock(project: Path) -> bool:
    """Take the lock of the last retraining, if it is newer than the one that is checked out.

    Returns:
        Whether it was taken; not if it was changed here, which is a newer one still.

    Raises:
        RetrainingError: git refuses.
    """
    if git(project, "status", "--porcelain", "--", LOCK) or not _fetch(project):
        return False
    base, here = git(project, "merge-base", "HEAD", REMOTE), _lock_at(project, "HEAD")
    if here == _lock_at(project, REMOTE) or here != _lock_at(project, base):
        return False  # merged, or another one was merged since
    (project / LOCK).write_text(git(project, "show", f"{REMOTE}:{LOCK}") + "\n", encoding="utf8")
    return True


def save_lock(project: Path, message: str) -> bool:
    """Push the lock to its branch, as one commit on top of HEAD; nothing here is committed.

    Returns:
        Whether the branch now holds another lock than HEAD does.

    Raises:
        RetrainingError: git refuses.
    """
    if not (project / LOCK).exists():
        return False
    blob = git(project, "hash-object", "-w", LOCK)
    if blob == _lock_at(project, "HEAD"):
        return False
    if not _fetch(project) or blob != _lock_at(project, REMOTE):
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": f"{folder}/index"}
            git(project, "read-tree", "HEAD", **index)
            git(project, "update-index", "--add", "--cacheinfo", f"100644,{blob},{LOCK}", **index)
            tree = git(project, "write-tree", **index)
        people = {f"GIT_{who}_{key}": v for who in ("AUTHOR", "COMMITTER") for key, v in AUTHOR.items()}
        commit = git(project, "commit-tree", tree, "-p", "HEAD", "-m", message, **people)
        git(project, "push", "--quiet", "--force", "origin", f"{commit}:refs/heads/{BRANCH}")
    return True


def _fetch(project: Path) -> bool:
    """Fetch the branch; whether there is one."""
    if "origin" not in git(project, "remote").split():
        return False
    if not git(project, "ls-remote", "--heads", "origin", BRANCH):
        return False
    git(project, "fetch", "--quiet", "origin", f"+refs/heads/{BRANCH}:{REMOTE}")
    return True


def _lock_at(project: Path, commit: str) -> str:
    """Return the lock's blob in a commit; "" where there is none."""
    listed = git(project, "ls-tree", commit, "--", LOCK)
    return listed.split()[2] if listed else ""
