"""The code of a run in a folder of its own, and the run again in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from cv_pipelines.errors import ReproductionError
from cv_pipelines.files import write_text
from cv_pipelines.provenance.git import git
from cv_pipelines.reproduction.record import Record

QUIET = ("-c", "core.hooksPath=/dev/null")
"""Hooks of the checkout have no business in a folder that is soon removed."""


@contextmanager
def checked_out(project: Path, record: Record, patch: Path | None, keep: bool = False) -> Iterator[Path]:
    """Check out what a run ran, with its changes, in a temporary worktree; remove that in the end.

    Args:
        project: whose repository knows the commit.
        record: of the run.
        patch: changes to apply; None for the commit alone.
        keep: leave the folder there.

    Yields:
        The project's folder in the worktree.

    Raises:
        ReproductionError: the commit is not there, or the changes do not apply.
    """
    commit = record.commit or "none"
    if git(project, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        raise ReproductionError(f"no commit {commit} in {project}: fetch it from where the run was made")
    place = Path(tempfile.mkdtemp(prefix="reproduced_"))
    tree = place / "worktree"
    try:
        if git(project, *QUIET, "worktree", "add", "--detach", str(tree), commit) is None:
            raise ReproductionError(f"git cannot check out {commit} in {tree}")
        prefix = (git(project, "rev-parse", "--show-prefix") or b"").decode().strip()
        # Paths in a patch are taken from the top of the repository, wherever git is called.
        apply = ["apply", "--binary", *([f"--directory={prefix}"] if prefix else [])]
        if patch is not None and git(tree, *apply, str(patch.resolve())) is None:
            raise ReproductionError(f"the changes that were kept with the run do not apply to {commit}")
        yield tree / prefix
    finally:
        if not keep:
            git(project, "worktree", "remove", "--force", "--force", str(tree))
            shutil.rmtree(place, ignore_errors=True)
            git(project, "worktree", "prune")


def configure(tree: Path, record: Record, project: Path) -> None:
    """Write the parameters of a run into `conf/local` of its worktree, so that they are what is run.

    Raw data are read from where they lie; samples are drawn anew.

    Args:
        tree: the project's folder in the worktree.
        record: of the run.
        project: the project as it lies here, which may not be where the run was made.
    """
    for kind, sections in record.sections.items():
        moved = {
            name: replaced(values, record.project, tree if values.get("sample") else project)
            for name, values in sections.items()
        }
        text = yaml.safe_dump(moved, sort_keys=False)
        write_text(tree / "conf/local/parameters" / kind / "reproduced.yml", text)


def replaced(value: Any, old: str, new: Path) -> Any:
    """Return nested values with texts below one folder put below another."""
    if isinstance(value, dict):
        return {key: replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, old, new) for item in value]
    if isinstance(value, str) and (value == old or value.startswith(old.rstrip("/") + "/")):
        return str(new / value[len(old) :].lstrip("/"))
    return value


def fetch_tracked(tree: Path, project: Path) -> list[str]:
    """Bring the data that `.dvc` files of the worktree name, out of the project's cache or its remote.

    Returns:
        The `.dvc` files; none if the data are not under DVC.

    Raises:
        ReproductionError: DVC cannot bring them.
    """
    tracked = sorted(path.relative_to(tree).as_posix() for path in tree.glob("data/**/*.dvc"))
    if not tracked:
        return []
    _dvc(tree, "cache", "dir", "--local", _dvc(project, "cache", "dir"))
    _dvc(tree, "pull", *tracked)
    return tracked


def _dvc(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReproductionError(f"dvc {' '.join(arguments)}: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()


def run_again(tree: Path, record: Record, output: IO[str] | None) -> None:
    """Run an experiment in its worktree, tracked in a database of that folder.

    Args:
        tree: the project's folder there.
        record: of the run.
        output: where what it prints goes; None for where this process prints.

    Raises:
        ReproductionError: the run fails.
    """
    environment = os.environ | {
        "PYTHONPATH": str(tree / "src"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tree / 'reproduced.db'}",
    }
    # Sums on a CPU depend on how many threads share them.
    environment |= {"OMP_NUM_THREADS": str(record.threads)} if record.threads else {}
    command = [sys.executable, "-m", "kedro", "run", "--pipeline", record.experiment]
    with subprocess.Popen(command, cwd=tree, env=environment, stdout=output) as process:
        try:
            status = process.wait()
        except BaseException:
            process.terminate()
            raise
    if status:
        raise ReproductionError(
            f"`{' '.join(command[2:])}` ended with status {status}; what it said is above"
        )
