"""Nodes of the tune stage. The core is imported when a node runs, so that listing pipelines is fast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from cv_pipelines.training.checkpoints import Checkpoint


def search(
    name: str,
    study: dict[str, Any],
    experiment: dict[str, Any],
    folder: Path,
    cache: Path,
    verdict: dict[str, Any],
    init: dict[int, Checkpoint] | None = None,
    **tables: Any,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Train an experiment with parameters drawn from the study's space, until it has all its trials.

    Args:
        name: of the study.
        study: its parameters.
        experiment: parameters of the experiment that it searches.
        folder: where the study is kept, and the states of its trials.
        cache: folder of the source's packed images, shared by its experiments.
        verdict: says that the source is within its limits; without it there is nothing to train on.
        init: checkpoints of the experiment that `init_from` names; its first seed starts every training.
        tables: its source; see `source_data`.

    Returns:
        A row a trial, and what `study.json` holds.
    """
    from cv_pipelines.config.study import StudyConfig
    from cv_pipelines.pipelines.train.nodes import job_of
    from cv_pipelines.tuning import watch
    from cv_pipelines.tuning.search import Plan, Search
    from cv_pipelines.tuning.tables import summary, trials_table

    del verdict
    config = StudyConfig.model_validate(study)
    job = job_of(config.experiment, experiment, folder, cache, init, tables)
    found = Search(Plan(name, config, experiment, job), watch.current())
    found.run()
    return trials_table(found), summary(found)


def draw_study(
    study: dict[str, Any], experiment: dict[str, Any], trials: pd.DataFrame, found: dict[str, Any]
) -> tuple[str, str]:
    """Draw the page of a study, and write its best trial as an experiment.

    Returns:
        The page, and a parameters file.
    """
    from cv_pipelines.config.study import StudyConfig
    from cv_pipelines.tuning.report import study_page
    from cv_pipelines.tuning.winner import winner_yaml

    page = study_page(StudyConfig.model_validate(study), trials, found, experiment)
    return page, winner_yaml(found, experiment)
