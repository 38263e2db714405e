"""The steps of what builds on experiments: ensembles, comparisons, studies, promotions."""

from __future__ import annotations

import json
from pathlib import Path

from cv_pipelines.config.ensemble import EnsembleConfig
from cv_pipelines.planning.experiments import load_metas
from cv_pipelines.planning.steps import Step, judged
from cv_pipelines.training.ensemble import models_digest

ALWAYS = {
    "study": "a search goes on from what its storage holds",
    "promotion": "a promotion decides anew each time",
}


def ensemble_steps(name: str, config: EnsembleConfig, data: Path, above: list[Step]) -> list[Step]:
    """Plan an ensemble: are the models that predicted together those that lie there now?

    Args:
        name: of it.
        config: its parameters.
        data: the project's data folder.
        above: steps of its members.
    """
    file = data / "08_reporting" / name / "metrics.json"
    try:
        then = json.loads(file.read_text(encoding="utf8"))["fingerprint"]
    except (OSError, ValueError, KeyError):
        stale = ["not scored yet"]
    else:
        members = {m: load_metas(data / "06_models" / m / "checkpoint") for m in config.members}
        same = then == models_digest(config, members)
        stale = [] if same else ["its members, their weights or its `evaluate` changed"]
    trained = [step for step in above if step.name == "train_model"]
    state, reasons = judged(stale, trained)
    return [Step(name, "predict", state=state, reasons=reasons)]


def page_steps(name: str, page: Path, above: list[Step]) -> list[Step]:
    """Plan a page that compares experiments."""
    scored = [step for step in above if step.name == "score"]
    state, reasons = judged([] if page.exists() else ["not drawn yet"], scored)
    return [Step(name, "compare", state=state, reasons=reasons)]


def always_steps(name: str, kind: str) -> list[Step]:
    """Plan what is never up to date.

    Args:
        name: of it.
        kind: a key of `ALWAYS`.
    """
    return [Step(name, kind, state="run", reasons=[ALWAYS[kind]])]
