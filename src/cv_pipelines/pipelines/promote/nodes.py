"""Nodes of the promote stage. The core is imported when a node runs, so that listing pipelines is fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cv_pipelines.pipelines.source_data import source_data

if TYPE_CHECKING:
    import pandas as pd

    from cv_pipelines.training.checkpoints import Checkpoint


def promote(
    name: str,
    promotion: dict[str, Any],
    experiment: dict[str, Any],
    checkpoint: dict[int, Checkpoint],
    metrics: dict[str, Any],
    facts: dict[str, Any],
    predictions: pd.DataFrame,
    summary: dict[str, Any],
    **tables: Any,
) -> tuple[dict[str, Any], str, str, str]:
    """Register an experiment's model, and make it the champion if all conditions hold.

    Returns:
        The decision, its page, the model's card and the card's page.
    """
    from cv_pipelines.config import ExperimentConfig, parse
    from cv_pipelines.config.promotion import PromotionConfig
    from cv_pipelines.plots.card import card_page, card_text
    from cv_pipelines.plots.promotion import promotion_page
    from cv_pipelines.promotion import registry
    from cv_pipelines.promotion.card import described
    from cv_pipelines.promotion.decide import Candidate
    from cv_pipelines.promotion.decide import promote as decided

    config = parse(name, PromotionConfig, promotion)
    device = parse(config.candidate, ExperimentConfig, experiment).train.device
    candidate = Candidate(config.candidate, device, checkpoint, metrics)
    data = source_data(**tables)
    decision = decided(name, config, candidate, data, facts, registry.current())
    card = described(decision, config, candidate, predictions, data, summary, registry.current())
    return decision, promotion_page(decision), card_text(card), card_page(card)


def enforce_decision(name: str, decision: dict[str, Any]) -> None:
    """End the run with an error if the candidate was refused, once the decision is saved.

    Raises:
        PromotionRefusedError: names every condition that does not hold.
    """
    from cv_pipelines.errors import PromotionRefusedError

    if decision["outcome"] == "refused":
        failed = [f"{one['name']}: {one['told']}" for one in decision["checks"] if not one["passed"]]
        raise PromotionRefusedError(
            f"{name}: version {decision['challenger']['number']} of {decision['model']} was refused; "
            + "; ".join(failed)
        )
