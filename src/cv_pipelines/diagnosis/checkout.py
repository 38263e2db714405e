"""Git and DVC: what results are traced back by, and what says that they are out of date."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlparse

from cv_pipelines.diagnosis.check import Check
from cv_pipelines.provenance.git import git
from cv_pipelines.reproduction.record import changes_of

PATIENCE = 5.0
PORTS = {"http": 80, "https": 443, "ssh": 22, "sftp": 22}


def repository(project: Path) -> Check:
    """Check that results can be traced back to a commit."""
    commit = git(project, "rev-parse", "--short", "HEAD")
    if commit is None:
        told = "no git checkout: runs are traced to no commit; DVC and `kedro cv reproduce` do not work"
        return Check("git", "warn", told, "git init && git add --all && git commit")
    changes = changes_of(project)
    dirty = "; code or configuration have changes that are in no commit" if changes != b"" else ""
    return Check("git", "ok", f"at {commit.decode().strip()}{dirty}")


def dvc(project: Path) -> Check:
    """Check DVC: that it runs here, and that its remote, if there is one, answers."""
    if not (project / ".dvc").is_dir():
        return Check("DVC", "warn", f"{project} is no DVC project", "dvc init")
    command = [sys.executable, "-m", "dvc", "remote", "list"]
    try:
        done = subprocess.run(
            command, cwd=project, capture_output=True, text=True, check=True, timeout=12 * PATIENCE
        )
    except subprocess.TimeoutExpired:
        return Check("DVC", "warn", "`dvc remote list` does not end", "look for a stale lock: .dvc/tmp")
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        return Check("DVC", "warn", said.strip().splitlines()[-1][:200], "git init, or make setup")
    remotes = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line.strip()]
    if not remotes:
        told = "no remote: results are kept on this machine alone"
        return Check("DVC", "ok", told, "dvc remote add --default NAME URL")
    away = [f"{name} ({place})" for name, place in remotes if not answers(place.split()[0])]
    if away:
        return Check("DVC", "warn", f"cannot be reached: {', '.join(away)}", "dvc remote modify NAME url URL")
    return Check("DVC", "ok", f"remotes: {', '.join(name for name, _ in remotes)}")


def answers(place: str) -> bool:
    """Whether a remote's folder is there, or its host takes connections; true where that cannot be told."""
    parts = urlparse(place)
    if parts.scheme in {"", "file"}:
        return Path(parts.path).is_dir()
    if parts.scheme not in PORTS or parts.hostname is None:
        return True
    try:
        socket.create_connection((parts.hostname, parts.port or PORTS[parts.scheme]), PATIENCE).close()
    except OSError:
        return False
    return True


def stages(project: Path, wanted: str) -> Check:
    """Check that `dvc.yaml` is that of the parameters files.

    Args:
        project: its folder.
        wanted: the text that it should have.
    """
    file = project / "dvc.yaml"
    if file.exists() and file.read_text(encoding="utf8") == wanted:
        return Check("dvc.yaml", "ok", "matches conf/base/parameters")
    return Check("dvc.yaml", "warn", "does not match conf/base/parameters", "kedro cv dvc")
