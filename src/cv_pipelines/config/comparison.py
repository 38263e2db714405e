"""How sure a comparison wants to be."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cv_pipelines.config.sections import Share, Strict


class Bootstrap(Strict):
    """Draws of the scored samples, with replacement, that say how far a difference is chance.

    Attributes:
        resamples: how many are drawn.
        confidence: what an interval covers, 0 to 1.
        seed: of the draws.
    """

    resamples: Annotated[int, Field(ge=100, le=1_000_000)] = 2000
    confidence: Share = 0.95
    seed: Annotated[int, Field(ge=0)] = 0
