"""What is kept of a run so that it can be run again: commit, changes since, parameters, threads."""

from __future__ import annotations

import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from cv_pipelines.experiments import Experiment
from cv_pipelines.files import write_text
from cv_pipelines.provenance.git import git

CODE = ("src", "conf", "pyproject.toml")
"""What of the project a result may depend on; changes elsewhere do not count."""

RECORD, PATCH = "record.json", "changes.patch"

LARGEST_PATCH = 10_000_000
"""Bytes; larger changes are not kept."""


class Record(BaseModel):
    """What has to be known to run an experiment again.

    Attributes:
        experiment: its name.
        commit: that was checked out; None outside git.
        dirty: whether code or configuration had changes that are in no commit.
        kept: whether these changes lie beside the record, as `changes.patch`.
        project: folder of the project, which paths in the sections may start with.
        sections: resolved parameters of the experiment and of all it needs, by kind and name.
        threads: that a CPU computed with; None if not known.
        python: version.
    """

    model_config = ConfigDict(extra="ignore")

    experiment: str
    commit: str | None
    dirty: bool
    kept: bool
    project: str
    sections: dict[str, dict[str, dict[str, Any]]]
    threads: int | None
    python: str


class Surroundings(BaseModel):
    """What the records of one run have in common, taken when it begins: files may change while it trains.

    Attributes:
        commit: that is checked out; None outside git.
        patch: changes of the code that are in no commit; None if there are none, or too many to keep.
        dirty: whether there are any.
    """

    commit: str | None = None
    patch: bytes | None = None
    dirty: bool = False

    @classmethod
    def of(cls, project: Path) -> Surroundings:
        """Look at a project's checkout."""
        commit = git(project, "rev-parse", "HEAD")
        if commit is None:
            return cls()
        patch = changes_of(project)
        kept = patch if patch and len(patch) <= LARGEST_PATCH else None
        return cls(commit=commit.decode().strip(), patch=kept, dirty=patch != b"")


def record_of(
    experiment: str,
    surroundings: Surroundings,
    project: Path,
    sections: dict[str, dict[str, dict[str, Any]]],
) -> Record:
    """Describe a run of an experiment."""
    torch = sys.modules.get("torch")  # not imported for this alone
    return Record(
        experiment=experiment,
        commit=surroundings.commit,
        dirty=surroundings.dirty,
        kept=surroundings.patch is not None,
        project=str(project),
        sections=sections,
        threads=torch.get_num_threads() if torch else None,
        python=platform.python_version(),
    )


def write_record(folder: Path, record: Record, surroundings: Surroundings) -> list[Path]:
    """Write a record, and beside it the changes that are in no commit; return the files."""
    file, changes = folder / RECORD, folder / PATCH
    write_text(file, record.model_dump_json(indent=2) + "\n")
    if surroundings.patch is None:
        changes.unlink(missing_ok=True)
        return [file]
    changes.write_bytes(surroundings.patch)
    return [file, changes]


def sections_of(
    experiment: str, experiments: dict[str, Experiment], parameters: dict[str, Any]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the sections of an experiment, of those that it needs, and of their sources, by kind."""
    names, waiting = dict[str, None](), [experiment]
    while waiting:
        name = waiting.pop()
        if name not in names:
            names[name] = None
            waiting += experiments[name].needs
    sources = dict.fromkeys(experiments[name].source for name in names)
    return {
        "experiments": {name: parameters[name] for name in names},
        "sources": {name: parameters[name] for name in sources},
    }


def changes_of(project: Path) -> bytes | None:
    """Return the changes of code and configuration that are in no commit, new files too, as a patch.

    The checkout and its index are left as they are.

    Returns:
        b"" if there are none; None if git cannot tell.
    """
    objects = git(project, "rev-parse", "--path-format=absolute", "--git-path", "objects")
    top = git(project, "rev-parse", "--show-toplevel")
    if objects is None or top is None:
        return None
    with tempfile.TemporaryDirectory() as place:
        own = {
            "GIT_INDEX_FILE": str(Path(place) / "index"),
            "GIT_OBJECT_DIRECTORY": place,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects.decode().strip(),
        }
        there = [part for part in CODE if (project / part).exists()]
        made = [git(project, "read-tree", "HEAD", **own), git(project, "add", "-A", "--", *there, **own)]
        if None in made:
            return None
        return git(project, "diff", "--cached", "--binary", "--relative", "HEAD", "--", *there, **own)
