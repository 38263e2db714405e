"""The steps of an experiment: is what lies there made from what there is now?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.planning.sources import size_of
from cv_pipelines.planning.steps import Step, judged
from cv_pipelines.provenance import Provenance, differences
from cv_pipelines.training.checkpoints import Meta
from cv_pipelines.training.fingerprint import evaluation_part, provenance_of, training_part

EARLIER = "made by an earlier version of this project, which did not note from what"
PREPARED_PARTS = ("data.", "classes", "statistics")
REPORT = (
    *("report.html", "curves.json", "score_figure.json", "gallery.json"),
    *("errors.html", "errors.json"),
)


@dataclass(frozen=True)
class Asked:
    """An experiment as it would be run now.

    Attributes:
        name: of it.
        config: its parameters.
        data: its source as it is prepared now; None if it is not.
        init: what it starts from, as it lies there now; None if nothing or not there.
    """

    name: str
    config: ExperimentConfig
    data: SourceData | None
    init: Meta | None = None

    def provenance(self) -> Provenance:
        """Return what its results would be made from; without the data where they are not prepared."""
        return provenance_of(self.config, self.data, self.init)


def experiment_steps(asked: Asked, data: Path, above: dict[str, list[Step]]) -> list[Step]:
    """Plan training, predicting, scoring and reporting.

    Args:
        asked: the experiment.
        data: the project's data folder.
        above: steps of its source (`source`), of what it starts from (`init`), of its embedder (`embedder`).
    """
    models, outputs, report = (
        data / part / asked.name for part in ("06_models", "07_model_output", "08_reporting")
    )
    metas, now = load_metas(models / "checkpoint"), asked.provenance()
    started = [step for step in above.get("init", []) if step.name == "train_model"]
    stale = training_is_stale(asked, metas, now)
    on = goes_on(asked, now, models / "work")
    train = _step(
        *(asked.name, "train_model", [*stale, *([on] if on else [])]),
        [*above["source"], *started],
        size_of(models / "checkpoint"),
    )
    embeds = [step for step in above.get("embedder", []) if step.name == "train_model"]
    stale = evaluation_is_stale(asked, metas, now, outputs, report)
    predict = _step(asked.name, "predict", stale, [*above["source"], train, *embeds], size_of(outputs))
    score = _step(asked.name, "score", [], [predict], 0)
    there = [file for file in REPORT if (report / file).exists()]
    gone = [f"{file} is gone" for file in REPORT if file not in there] if there else ["not drawn yet"]
    drawn = _step(asked.name, "draw_report", gone, [score], size_of(report))
    return [train, predict, score, drawn]


def _step(namespace: str, name: str, stale: list[str], above: list[Step], disk: int) -> Step:
    state, reasons = judged(stale, above)
    return Step(namespace, name, state=state, reasons=reasons, disk=disk or None)


def training_is_stale(asked: Asked, metas: dict[int, Meta], now: Provenance) -> list[str]:
    """Say why the checkpoints of an experiment are not those that a training would give now."""
    if not metas:
        return ["not trained yet"]
    seeds = asked.config.train.seeds
    told = [f"seed {seed} is not trained yet" for seed in seeds if seed not in metas]
    told += [f"seed {seed} is not asked for any more" for seed in metas if seed not in seeds]
    for meta in metas.values():
        if meta.provenance is None:
            return [*told, EARLIER]
        parts = (training_part(_comparable(one, now), asked.config) for one in (meta.provenance, now))
        told += [one for one in differences(*parts) if one not in told]
    return told


def evaluation_is_stale(
    asked: Asked, metas: dict[int, Meta], now: Provenance, outputs: Path, report: Path
) -> list[str]:
    """Say why predictions and scores of an experiment are not those of its checkpoints as they are now."""
    if not (outputs / "predictions.parquet").exists():
        return ["nothing is predicted yet"]
    try:
        metrics = json.loads((report / "metrics.json").read_text(encoding="utf8"))
        then = Provenance.model_validate(metrics["provenance"])
    except FileNotFoundError:
        return ["not scored yet"]
    except (OSError, ValueError, KeyError, TypeError):
        return [EARLIER]
    parts = (evaluation_part(_comparable(one, now), asked.config) for one in (then, now))
    trained = next((meta.provenance for meta in metas.values() if meta.provenance), then)
    same = training_part(then, asked.config) == training_part(trained, asked.config)
    same &= not metas or sorted(metrics["seeds"]) == sorted(str(seed) for seed in metas)
    return [*differences(*parts), *([] if same else ["the scores are of another training"])]


def goes_on(asked: Asked, now: Provenance, work: Path) -> str | None:
    """Say from where an interrupted training would go on; None if there is none that fits."""
    from cv_pipelines.training.resume import STATE, position_of

    stamp = training_part(now, asked.config).fingerprint
    for seed in asked.config.train.seeds:
        folder = work / f"seed_{seed}"
        note = folder / "fingerprint"
        fits = note.exists() and note.read_text(encoding="utf8") == stamp
        position = position_of(folder / STATE) if fits else None
        if position is not None:
            return f"seed {seed} goes on after {position.epoch} of {asked.config.train.epochs} epochs"
    return None


def load_metas(folder: Path) -> dict[int, Meta]:
    """Read what the checkpoints of a folder say of themselves; those that cannot be read are left out."""
    found: dict[int, Meta] = {}
    for path in sorted(folder.glob("seed_*/model.json")):
        try:
            meta = Meta.model_validate_json(path.read_text(encoding="utf8"))
        except (OSError, ValidationError):
            continue
        found[meta.seed] = meta
    return found


def _comparable(one: Provenance, now: Provenance) -> Provenance:
    """Leave out the data where it is not known what they are now."""
    if any(key.startswith("data.") for key in now.inputs):
        return one
    kept = {key: value for key, value in one.inputs.items() if not key.startswith(PREPARED_PARTS)}
    return one.model_copy(update={"inputs": kept})
