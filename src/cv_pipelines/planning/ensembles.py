"""The steps of an ensemble: are its scores those of the models and the data that there are now?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.config.ensemble import EnsembleConfig
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.planning.experiments import EARLIER, load_metas
from cv_pipelines.planning.steps import Step, judged
from cv_pipelines.provenance import Provenance, differences
from cv_pipelines.training.ensemble import provenance_of

TRAINED = ("train_model", "read_source", "prepare")
"""Steps whose results an ensemble reads."""


@dataclass(frozen=True)
class Together:
    """An ensemble as it would be run now.

    Attributes:
        name: of it.
        config: its parameters.
        members: parameters of its members, by name.
        data: their source as it is prepared now; None if it is not.
    """

    name: str
    config: EnsembleConfig
    members: dict[str, ExperimentConfig]
    data: SourceData | None


def ensemble_steps(asked: Together, data: Path, above: list[Step]) -> list[Step]:
    """Plan an ensemble; one step stands for all its nodes.

    Args:
        asked: the ensemble.
        data: the project's data folder.
        above: steps of its members and of their source.
    """
    stale = scores_are_stale(asked, data)
    state, reasons = judged(stale, [step for step in above if step.name in TRAINED])
    return [Step(asked.name, "predict", state=state, reasons=reasons)]


def scores_are_stale(asked: Together, data: Path) -> list[str]:
    """Say why the scores of an ensemble are not those that it would have now."""
    try:
        metrics = json.loads((data / "08_reporting" / asked.name / "metrics.json").read_text(encoding="utf8"))
        then = Provenance.model_validate(metrics["provenance"])
    except FileNotFoundError:
        return ["not scored yet"]
    except (OSError, ValueError, KeyError, TypeError):
        return [EARLIER]
    metas = {name: load_metas(data / "06_models" / name / "checkpoint") for name in asked.members}
    now = provenance_of(asked.config, asked.members, metas, asked.data)
    if asked.data is None:  # what is not known to have changed is taken for the same
        known = {key: value for key, value in then.inputs.items() if not key.startswith("data.")}
        then = then.model_copy(update={"inputs": known})
    return differences(then, now)
