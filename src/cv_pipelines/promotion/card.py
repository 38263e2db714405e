"""Fills the card of a model that a promotion has decided on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cv_pipelines.comparing.intervals import intervals
from cv_pipelines.comparing.results import Results
from cv_pipelines.config.promotion import PromotionConfig
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.digests import samples_digest
from cv_pipelines.data.schema import SPLITS
from cv_pipelines.errors import ComparisonError
from cv_pipelines.plots.card import Card, Part, card_text
from cv_pipelines.plots.meanings import contract_meaning
from cv_pipelines.plots.theme import number
from cv_pipelines.promotion.decide import Candidate
from cv_pipelines.promotion.registry import Registry, Version
from cv_pipelines.training.checkpoints import Meta
from cv_pipelines.training.leaderboard import main_score

UNSAID = "Not stated; the parameters of the promotion are where it can be, under card."


LONGEST = 5000
"""Characters that MLflow takes as the description of a version."""


def described(
    decision: Mapping[str, Any],
    config: PromotionConfig,
    candidate: Candidate,
    predictions: pd.DataFrame,
    data: SourceData,
    summary: Mapping[str, Any],
    registry: Registry,
) -> Card:
    """Write the card of the model that was decided on, and show it in the registry.

    Args:
        decision: of the promotion.
        config: of the promotion.
        candidate: what was trained.
        predictions: of the scored split, all seeds.
        data: its prepared source, all splits.
        summary: figures of the data report.
        registry: of models.
    """
    seed, checkpoint = next(iter(candidate.checkpoints.items()))
    metrics = candidate.metrics | {"values": candidate.values, "seeds": {str(seed): candidate.values}}
    part = data.only(metrics["contract"]["split"])
    metric = config.metric or main_score(metrics)[0]
    results = Results(candidate.experiment, metrics, predictions)
    try:
        figures = intervals(results, part, metric, config.bootstrap)
    except ComparisonError:  # predictions of another day; the decision is made, and has its card all the same
        values = {key: value for key, value in candidate.values.items() if value is not None}
        nothing = {"kind": "overall", "low": math.nan, "high": math.nan, "n": len(part.samples)}
        figures = [nothing | {"name": key, "value": value} for key, value in values.items()]
    version = Version(**decision["challenger"])
    card = card_of(decision, config, checkpoint.meta, data, summary, figures, registry.origin(version))
    if decision["outcome"] != "unchanged":
        registry.describe(version, card_text(card, LONGEST))
    return card


def card_of(
    decision: Mapping[str, Any],
    config: PromotionConfig,
    meta: Meta,
    data: SourceData,
    summary: Mapping[str, Any],
    figures: Sequence[Mapping[str, Any]],
    origin: Mapping[str, str],
) -> Card:
    """Gather what is known of a model.

    Args:
        decision: of the promotion.
        config: of the promotion.
        meta: of the checkpoint.
        data: the prepared source, all splits.
        summary: figures of the data report.
        figures: its scores with intervals, see `comparing.intervals`.
        origin: of the run that trained it.
    """
    version = decision["challenger"]
    covered = f"{config.bootstrap.confidence:.0%} interval"
    return Card(
        f"{decision['model']}, version {version['number']}",
        f"{meta.config['task']} on {meta.config['source']}, by the experiment {meta.experiment}",
        [
            Part("Intended use", config.card.intended_use or UNSAID),
            Part("Limits", config.card.limits or UNSAID),
            Part("Decision", f"{decision['outcome']} at {decision['at']}.", *_checks(decision)),
            *_scores(figures, covered),
            Part("What the scores hold for", "", ("", "here", "what it says"), _contract(decision)),
            Part("Model", "", rows=_model(meta)),
            Part("Data", "", rows=_data(data, summary)),
            Part("Lineage", "", rows=_lineage(decision, meta, origin)),
        ],
    )


def _checks(decision: Mapping[str, Any]) -> tuple[Sequence[str], list[list[Any]]]:
    rows = [[c["name"], "holds" if c["passed"] else "does not hold", c["told"]] for c in decision["checks"]]
    return ("condition", "", "what was measured and asked"), rows


def _scores(figures: Sequence[Mapping[str, Any]], covered: str) -> list[Part]:
    headings = {"overall": "Scores", "class": "By class", "group": "By group", "image size": "By image size"}
    parts = []
    for kind, heading in headings.items():
        rows = [
            [one["name"], one["value"], f"{number(one['low'], 4)} to {number(one['high'], 4)}", one["n"]]
            for one in figures
            if one["kind"] == kind
        ]
        if rows:
            score = "score" if kind == "overall" else figures[0]["name"]  # the one that decides comes first
            parts.append(Part(heading, "", (kind, score, covered, "of"), rows))
    return parts


def _contract(decision: Mapping[str, Any]) -> list[list[Any]]:
    return [
        [key.replace("_", " "), value, contract_meaning(key)] for key, value in decision["contract"].items()
    ]


def _model(meta: Meta) -> list[list[Any]]:
    preprocessing = meta.preprocessing
    return [
        ["architecture", meta.model],
        ["options", meta.options or "none"],
        ["input", f"shape {meta.shape}" if meta.shape else f"{meta.in_channels} channels, any size"],
        ["resized to", preprocessing.size or "as it is"],
        ["mean and deviation", f"{preprocessing.mean}, {preprocessing.std}"],
        ["weights", f"{meta.selected}, of epoch {meta.epoch}"],
        ["trained", f"{meta.seconds:.0f} s on {meta.device}"],
        ["versions", ", ".join(f"{name} {found}" for name, found in meta.versions.items()) or "not noted"],
    ]


def _data(data: SourceData, summary: Mapping[str, Any]) -> list[list[Any]]:
    defects = [f"{one['n']} {one['reason']} ({one['action']})" for one in summary.get("quarantine", [])]
    splits = [part for part in SPLITS if (data.samples["split"] == part).any()]
    return [
        *([key.replace("_", " "), str(value)] for key, value in summary.get("facts", {}).items()),
        *([f"{name}: samples", int((data.samples["split"] == name).sum())] for name in splits),
        *([f"{name}: content hash", samples_digest(data.only(name).samples)] for name in splits),
        ["quarantine", ", ".join(defects) or "nothing"],
        ["samples that are in two splits", summary.get("duplicates") or "none"],
    ]


def _lineage(decision: Mapping[str, Any], meta: Meta, origin: Mapping[str, str]) -> list[list[Any]]:
    start = meta.config.get("init_from")
    return [
        ["run", decision["challenger"]["run"]],
        *([key, value] for key, value in origin.items()),
        ["fingerprint", meta.fingerprint],
        ["seed", str(meta.seed)],
        ["starts from", start or "nothing"],
        ["promotion", decision["promotion"]],
        ["champion before", f"version {decision['champion']['number']}" if decision["champion"] else "none"],
    ]
