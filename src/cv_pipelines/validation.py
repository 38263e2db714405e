"""Sections of the parameters files, checked before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cv_pipelines.errors import ConfigError
from cv_pipelines.experiments import (
    file_of,
    find_ensembles,
    find_experiments,
    find_promotions,
    find_sources,
    find_studies,
)

if TYPE_CHECKING:
    from cv_pipelines.config import ExperimentConfig


def check_sections(
    project: Path, params: dict[str, Any], namespaces: set[str]
) -> dict[str, ExperimentConfig]:
    """Validate the sections of these names, and of all that they build on.

    Args:
        project: its folder.
        params: all sections, resolved.
        namespaces: sources, experiments, ensembles, studies, promotions; other names are passed over.

    Returns:
        The experiments among them and those that they build on, with their defaults.

    Raises:
        ConfigError: lists every defect with file, key, value and what is allowed.
    """
    from cv_pipelines.promotion.validation import check_promotion
    from cv_pipelines.training.validation import check_ensemble, check_experiment, check_source
    from cv_pipelines.tuning.validation import check_study

    conf = project / "conf"
    sources = find_sources(conf)
    experiments = find_experiments(conf)
    ensembles = {n: e for n, e in find_ensembles(conf, experiments).items() if n in namespaces}
    studies = {n: s for n, s in find_studies(conf, experiments).items() if n in namespaces}
    promotions = {n: p for n, p in find_promotions(conf, experiments).items() if n in namespaces}
    used = namespaces.union(*(one.members for one in ensembles.values()))
    used |= {promotion.candidate for promotion in promotions.values()}
    used |= {study.experiment for study in studies.values()}
    used |= {experiments[n].source for n in used & experiments.keys()}
    configs: dict[str, ExperimentConfig] = {}
    defects: list[str] = []
    later = [*ensembles, *studies, *promotions]  # after what they build on
    for name in [*sorted(used - set(later)), *later]:
        where, values = f"{place_of(project, name)}: {name}", params.get(name, {})
        try:
            if name in experiments:
                configs[name] = check_experiment(where, values, sources)
            elif name in sources:
                check_source(where, values)
            elif name in ensembles and configs.keys() >= set(ensembles[name].members):
                check_ensemble(where, values, {m: configs[m] for m in ensembles[name].members})
            elif name in promotions and promotions[name].candidate in configs:
                check_promotion(where, values, configs[promotions[name].candidate])
            elif name in studies and not defects:  # what it searches has to be sound first
                check_study(where, values, params[values["experiment"]], sources)
        except ConfigError as error:
            defects.append(str(error))
    if defects:
        raise ConfigError("\n".join(defects))
    return configs


def place_of(project: Path, name: str) -> str:
    """Return the file, from the project, that declares a name; `parameters` where none does."""
    path = file_of(project / "conf", name)
    return str(path.relative_to(project)) if path else "parameters"
