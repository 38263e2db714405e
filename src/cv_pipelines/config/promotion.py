"""What a parameters file may say of a promotion: which experiment, and what it has to be to be promoted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cv_pipelines.config.comparison import Bootstrap
from cv_pipelines.config.sections import Positive, Strict

Kind = Literal["class", "group", "image_size", "object_size"]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _classes_alone() -> dict[Kind, float]:
    return {"class": 0.05}


class CardConfig(Strict):
    """What only people can say of a model; it stands in its card.

    Attributes:
        intended_use: for what it is, and for what not.
        limits: where it is known to fail, or was never tried.
    """

    intended_use: str = ""
    limits: str = ""


class PromotionConfig(Strict):
    """The gate between an experiment's model and the alias `champion` of MLflow's registry.

    Attributes:
        candidate: the experiment; several seeds enter by their first one, for one model is what is used.
        metric: the figure that decides; None takes the one that stands for the task.
        minimum: the candidate has to be better than the champion by more than this, in the figure's units.
        bootstrap: `confidence` is the least share of the resamples in which it has to be.
        worse: how much worse a class, a group (subject, video) or a size may become, at most; kinds that are
            not named may become as bad as they like.
        smallest: rows of `worse` of fewer samples (pixels, objects) than this are left out: they are chance.
        latency_ms: most milliseconds for one sample, median, on the device that the experiment trains on;
            None for no limit.
        megabytes: most 10⁶ bytes of the weights' file; None for no limit.
        timings: samples that are timed.
        tolerance: how far figures of the file in the registry may lie from those of `metrics.json`.
        serve: register it in a form that MLflow loads and serves without this project, and ask it.
        card: what only people can say of the model.
    """

    candidate: str
    metric: str | None = None
    minimum: NotNegative = 0.0
    bootstrap: Bootstrap = Bootstrap()
    worse: dict[Kind, NotNegative] = Field(default_factory=_classes_alone)
    smallest: Positive = 20
    latency_ms: Above0 | None = None
    megabytes: Above0 | None = None
    timings: Positive = 30
    tolerance: NotNegative = 1e-6
    serve: bool = True
    card: CardConfig = CardConfig()
