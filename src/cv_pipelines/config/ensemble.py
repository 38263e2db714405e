"""What a parameters file may say of an ensemble."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from cv_pipelines.config import Evaluate
from cv_pipelines.config.sections import Strict, refuse


class EnsembleConfig(Strict):
    """Trained experiments of one task and source that predict together.

    Attributes:
        members: names of experiments; every seed of each takes part.
        weights: one a member, in their order, of each of its models; None for equal ones.
        evaluate: what is scored, over which views; it holds for the members, too.
    """

    members: Annotated[list[str], Field(min_length=1)]
    weights: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] | None = None
    evaluate: Evaluate = Evaluate()

    @model_validator(mode="after")
    def _weights_match(self) -> Self:
        if self.weights is not None and len(self.weights) != len(self.members):
            why = f"{len(self.weights)} weights for {len(self.members)} members; give one a member, or none"
            refuse("EnsembleConfig", "weights", self.weights, why)
        return self

    def weight_of(self, member: str) -> float:
        """Return the weight of each model of a member."""
        return 1.0 if self.weights is None else self.weights[self.members.index(member)]
