"""Which sources, experiments and studies there are: the YAML files, read without Kedro or torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from cv_pipelines.errors import ConfigError

ENVIRONMENTS = ("base", "local")


@dataclass(frozen=True)
class Experiment:
    """What the graph needs to know of an experiment."""

    name: str
    task: str
    source: str
    init_from: str | None
    embedder: str | None
    tour: bool
    group: str | None = None

    @property
    def needs(self) -> list[str]:
        """Experiments whose checkpoint this one reads."""
        return [name for name in (self.init_from, self.embedder) if name]


@dataclass(frozen=True)
class Ensemble:
    """What the graph needs to know of an ensemble: task and source are those of all its members."""

    name: str
    members: tuple[str, ...]
    task: str
    source: str


@dataclass(frozen=True)
class Study:
    """What the graph needs to know of a search."""

    name: str
    experiment: str


@dataclass(frozen=True)
class Promotion:
    """What the graph needs to know of a promotion."""

    name: str
    candidate: str


def find_experiments(conf: Path) -> dict[str, Experiment]:
    """Read the experiments of `conf/{base,local}/parameters/experiments/*.yml`.

    Raises:
        ConfigError: a file is no YAML mapping, lacks `task` or `source`, names an unknown experiment, or
            experiments start from each other in a circle.
    """
    found: dict[str, Experiment] = {}
    for name, (path, values) in _sections(conf, "experiments").items():
        missing = [key for key in ("task", "source") if not isinstance(values.get(key), str)]
        if missing:
            raise ConfigError(f"{path}: {name}: needs {' and '.join(missing)} (text)")
        found[name] = Experiment(
            name,
            values["task"],
            values["source"],
            values.get("init_from"),
            values.get("embedder"),
            bool(values.get("tour", False)),
            (values.get("group") or {}).get("name"),
        )
    for experiment in found.values():
        for needed in experiment.needs:
            if needed not in found:
                raise ConfigError(
                    f"{experiment.name}: no experiment {needed!r}; there are {', '.join(sorted(found))}"
                )
        _check_circle(experiment.name, found)
    return dict(sorted(found.items()))


def find_ensembles(conf: Path, experiments: dict[str, Experiment]) -> dict[str, Ensemble]:
    """Read the ensembles of `conf/{base,local}/parameters/ensembles/*.yml`.

    Args:
        conf: the folder of the parameters files.
        experiments: those there are.

    Raises:
        ConfigError: members are no list of names, unknown, named twice, or differ in task or source.
    """
    found = {}
    for name, (path, values) in _sections(conf, "ensembles").items():
        members, where = values.get("members"), f"{path}: {name}: members"
        if not (isinstance(members, list) and members and all(isinstance(m, str) for m in members)):
            raise ConfigError(f"{where}: needs a list of experiments (value {members!r})")
        for member in members:
            if member not in experiments:
                known = ", ".join(sorted(experiments))
                raise ConfigError(f"{where}: no experiment {member!r}; allowed are {known}")
            if members.count(member) > 1:
                raise ConfigError(
                    f"{where}: {member!r} is named twice; `weights` says how much a member counts"
                )
        for key in ("task", "source"):
            _check_alike(where, key, {m: getattr(experiments[m], key) for m in members})
        first = experiments[members[0]]
        found[name] = Ensemble(name, tuple(members), first.task, first.source)
    return dict(sorted(found.items()))


def _check_alike(where: str, key: str, values: dict[str, str]) -> None:
    (first, wanted), *rest = values.items()
    for member, value in rest:
        if value != wanted:
            raise ConfigError(
                f"{where}: {member!r} has {key} {value!r} and {first!r} has {wanted!r}; "
                f"all members need the same {key}"
            )


def find_studies(conf: Path, experiments: dict[str, Experiment]) -> dict[str, Study]:
    """Read the studies of `conf/{base,local}/parameters/studies/*.yml`.

    Raises:
        ConfigError: a file is no YAML mapping, or a study names no known experiment.
    """
    found: dict[str, Study] = {}
    for name, (path, values) in sorted(_sections(conf, "studies").items()):
        found[name] = Study(name, _named(f"{path}: {name}", "experiment", values, experiments))
    return found


def find_promotions(conf: Path, experiments: dict[str, Experiment]) -> dict[str, Promotion]:
    """Read the promotions of `conf/{base,local}/parameters/promotions/*.yml`.

    Raises:
        ConfigError: a file is no YAML mapping, or a promotion names no known experiment.
    """
    found: dict[str, Promotion] = {}
    for name, (path, values) in sorted(_sections(conf, "promotions").items()):
        found[name] = Promotion(name, _named(f"{path}: {name}", "candidate", values, experiments))
    return found


def _named(where: str, key: str, values: dict[str, Any], experiments: dict[str, Experiment]) -> str:
    name = values.get(key)
    if name not in experiments:
        raise ConfigError(f"{where}: {key}: no experiment {name!r}; there are {', '.join(experiments)}")
    return str(name)


def groups_of(experiments: dict[str, Experiment]) -> dict[str, list[str]]:
    """Return the members of each group, in order of name."""
    names = sorted({e.group for e in experiments.values() if e.group})
    return {group: [name for name, e in experiments.items() if e.group == group] for group in names}


def _check_circle(name: str, found: dict[str, Experiment], above: tuple[str, ...] = ()) -> None:
    if name in above:
        raise ConfigError(
            f"{' -> '.join((*above, name))}: experiments that start from each other in a circle"
        )
    for needed in found[name].needs if name in found else []:
        _check_circle(needed, found, (*above, name))


def find_sources(conf: Path) -> list[str]:
    """Return the names of the sources in `conf/{base,local}/parameters/sources/*.yml`."""
    return sorted(_sections(conf, "sources"))


def file_of(conf: Path, name: str) -> Path | None:
    """Return the file that declares a name, whatever it is of (the strongest environment's)."""
    kinds = ("sources", "experiments", "ensembles", "studies", "promotions")
    known = {name: place for kind in kinds for name, place in _sections(conf, kind).items()}
    return known[name][0] if name in known else None


@cache
def _parsed(path: Path, modified: int) -> Any:
    """Read a YAML file once for as long as it does not change: a run asks for each of its names."""
    del modified
    return yaml.safe_load(path.read_text(encoding="utf8")) or {}


def _sections(conf: Path, kind: str) -> dict[str, tuple[Path, dict[str, Any]]]:
    sections: dict[str, tuple[Path, dict[str, Any]]] = {}
    for environment in ENVIRONMENTS:
        for path in sorted((conf / environment / "parameters" / kind).glob("*.yml")):
            try:
                content = _parsed(path, path.stat().st_mtime_ns)
            except yaml.YAMLError as error:
                raise ConfigError(f"{path}: not YAML: {error}") from None
            if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
                raise ConfigError(f"{path}: expected a mapping of names to sections")
            for name, values in content.items():
                known = sections[name][1] if name in sections else {}
                sections[name] = (path, known | values)
    return sections
