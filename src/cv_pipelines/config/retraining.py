"""What `retrain.yml` may say: what a scheduled retraining keeps up to date."""

from __future__ import annotations

from pydantic import Field

from cv_pipelines.config.sections import Strict


class RetrainConfig(Strict):
    """What a scheduled retraining keeps up to date, with all that it needs.

    Attributes:
        promotions: their experiments are trained again when they are stale, and promoted if better.
        experiments: experiments and ensembles that are trained again when they are stale, and not promoted.
    """

    promotions: list[str] = Field(default_factory=list)
    experiments: list[str] = Field(default_factory=list)
