"""What a retraining covers: promotions, the experiments behind them, the sources behind those."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cv_pipelines.config import parse
from cv_pipelines.config.retraining import RetrainConfig
from cv_pipelines.errors import ConfigError
from cv_pipelines.experiments import find_ensembles, find_experiments, find_promotions
from cv_pipelines.stages import declared, gated, tracked_raw

FILE = "conf/base/retrain.yml"


@dataclass(frozen=True)
class Plan:
    """What a retraining covers.

    Attributes:
        sources: name to the DVC stage that brings it up to date and lets it through.
        experiments: experiments and ensembles, each after those that it needs; name to the names of all
            sources and experiments that it needs.
        promotions: name to its experiment.
        tracked: sources whose raw files DVC tracks, and the files that say so.
    """

    sources: dict[str, str]
    experiments: dict[str, set[str]]
    promotions: dict[str, str]
    tracked: dict[str, str]

    @property
    def stages(self) -> list[str]:
        """Every DVC stage whose outputs are needed or made."""
        return [*(f"data_{name}" for name in self.sources), *self.sources.values(), *self.experiments]


def make_plan(conf: Path, values: dict[str, Any]) -> Plan:
    """Read what a retraining covers.

    Args:
        conf: the folder of the configuration.
        values: of `retrain.yml`.

    Raises:
        ConfigError: a name is unknown or declared in `conf/local` only, which DVC does not see; or raw files
            that DVC tracks would be read from elsewhere.
    """
    config = parse(FILE, RetrainConfig, values)
    known = find_experiments(conf)
    ensembles = find_ensembles(conf, known)
    candidates = {name: one.candidate for name, one in find_promotions(conf, known).items()}
    _check("promotions", config.promotions, candidates)
    promotions = {name: candidates[name] for name in config.promotions}
    stages = {**declared(conf, "experiments"), **declared(conf, "ensembles")}
    needs: dict[str, set[str]] = {}

    def add(name: str) -> set[str]:
        """Note an experiment after those that it needs."""
        if name not in needs:
            direct = list(ensembles[name].members) if name in ensembles else known[name].needs
            source = ensembles[name].source if name in ensembles else known[name].source
            needs[name] = {source, *direct}.union(*(add(one) for one in direct))
            needs[name] = needs.pop(name)  # after those that were added meanwhile
        return needs[name]

    for key, names in (("promotions", promotions.values()), ("experiments", config.experiments)):
        _check(key, names, stages)
        for name in names:
            add(name)
    sources = declared(conf, "sources")
    wanted = sorted(set().union(*needs.values()) & sources.keys())
    return Plan(
        {name: f"drift_{name}" if gated(sources[name][1]) else f"data_{name}" for name in wanted},
        needs,
        promotions,
        {name: note for name in wanted if (note := _note(conf.parent, name, sources[name][1]))},
    )


def _check(key: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            there = ", ".join(sorted(known))
            raise ConfigError(f"{FILE}: {key}: no {name!r} that conf/base declares; there are {there}")


def _note(project: Path, name: str, source: dict[str, Any]) -> str | None:
    """Return the file by which DVC tracks a source's raw folder.

    Raises:
        ConfigError: the raw files would be read from elsewhere.
    """
    folder = tracked_raw(project, source)
    if folder is None:
        return None
    elsewhere = os.environ.get("CV_PIPELINES_RAW")
    if elsewhere and Path(elsewhere).resolve() != (project / "data/01_raw").resolve():
        raise ConfigError(
            f"{name}: DVC tracks its raw files in {folder}, but CV_PIPELINES_RAW is {elsewhere!r}: unset it"
        )
    above = (Path(folder), *Path(folder).parents)
    return next(f"{path}.dvc" for path in above if (project / f"{path}.dvc").exists())
