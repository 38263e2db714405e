"""Python, the libraries, and whether they are those of the lock."""

from __future__ import annotations

import platform
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from cv_pipelines.diagnosis.check import Check

SETUP = "make setup && source .venv/bin/activate"
SHOWN = 6


def python(project: Path) -> Check:
    """Check Python against `requires-python`."""
    wanted = Requirement(f"python{_project(project)['requires-python']}").specifier
    here = platform.python_version()
    told = f"{here} at {sys.executable}"
    if wanted.contains(here):
        return Check("Python", "ok", told)
    return Check("Python", "missing", f"{told}; needed is {wanted}", "make setup PYTHON=python3.11")


def libraries(project: Path) -> Check:
    """Check that every library that the project names is there, in a version that it takes."""
    wanted = [Requirement(text) for text in _project(project)["dependencies"]]
    wrong = [told for one in wanted if (told := _wrong(one))]
    if wrong:
        return Check("libraries", "missing", ", ".join(wrong), SETUP)
    return Check("libraries", "ok", f"all {len(wanted)} are there")


def locked(project: Path) -> Check:
    """Compare what is installed with the lock: results are made anew to the last bit only with the same."""
    file = project / "requirements.lock"
    if not file.exists():
        return Check("lock", "warn", f"no {file.name}", "git checkout requirements.lock")
    found = {name: (wanted, _installed(name)) for name, wanted in lock(file)}
    other = [
        f"{name} {here} (lock {wanted})"
        for name, (wanted, here) in found.items()
        if here is not None and here != wanted
    ]
    if other:
        more = f" and {len(other) - SHOWN} more" if len(other) > SHOWN else ""
        return Check("lock", "warn", f"{', '.join(other[:SHOWN])}{more}", SETUP)
    there = sum(here is not None for _, here in found.values())
    return Check("lock", "ok", f"all {there} installed libraries are those of {file.name}")


def extras(project: Path) -> Check:
    """Say which optional parts can be used."""
    wanted = _project(project).get("optional-dependencies", {})
    lacking = {
        name: [one for one in texts if _wrong(Requirement(one))]
        for name, texts in wanted.items()
        if name != "dev"
    }
    without = [f"{name} ({', '.join(texts)})" for name, texts in lacking.items() if texts]
    whole = [name for name, texts in lacking.items() if not texts]
    if without:
        told = f"there: {', '.join(whole) or 'none'}; not there: {', '.join(without)}"
        names = ",".join(name for name, texts in lacking.items() if texts)
        return Check("extras", "ok", told, f"python -m uv pip install --editable '.[{names}]'")
    return Check("extras", "ok", f"there: {', '.join(whole)}")


def lock(file: Path) -> Iterator[tuple[str, str]]:
    """Yield name and version of what a lock holds for this platform."""
    for line in file.read_text(encoding="utf8").splitlines():
        try:
            wanted = Requirement(line.rstrip("\\ ")) if line[:1].isalnum() else None
        except InvalidRequirement:
            continue
        if wanted and (wanted.marker is None or wanted.marker.evaluate()):
            versions = [one.version for one in wanted.specifier if one.operator == "=="]
            if versions:
                yield canonicalize_name(wanted.name), versions[0]


def _project(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf8"))["project"]
    return found


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _wrong(wanted: Requirement) -> str | None:
    """Say what is wrong with a library; None if nothing is."""
    if wanted.marker is not None and not wanted.marker.evaluate():
        return None
    here = _installed(wanted.name)
    if here is None:
        return f"{wanted.name} is not installed"
    if not wanted.specifier.contains(here, prereleases=True):
        return f"{wanted.name} {here} is not {wanted.specifier}"
    return None
