"""Whether a version answers requests as the model that it was made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.errors import RegistryError
from cv_pipelines.inference.requests import disagreement, request_of
from cv_pipelines.promotion.evaluate import Loaded
from cv_pipelines.promotion.gate import Check
from cv_pipelines.training.predict import predict, scored_part

ASKED = 16
"""Samples that a served model is asked about."""

Ask = Callable[[list[Any], str], list[dict[str, Any]]]
"""Gives the answers to requests of a kind (`image`, `signal`)."""


def serves(loaded: Loaded, data: SourceData, ask: Ask) -> Check:
    """Ask a served model about samples of the scored split, and check its answers.

    Args:
        loaded: its checkpoint.
        data: its prepared source, all splits.
        ask: sends requests to it.
    """
    part = scored_part(loaded.config, data)
    chosen = np.unique(np.linspace(0, len(part.samples) - 1, ASKED).round().astype(int))
    some = part.where(np.isin(np.arange(len(part.samples)), chosen))
    # what is served computes in float32, whatever the training did
    train = loaded.config.train.model_copy(update={"precision": "32-true", "device": "cpu"})
    config = loaded.config.model_copy(update={"train": train})
    expected = predict(config, some, {loaded.checkpoint.meta.seed: loaded.checkpoint})
    requests = [request_of(some, index) for index in range(len(some.samples))]
    try:
        answers = ask(requests, some.kind)
    except RegistryError as error:
        return Check("serves", False, str(error))
    ids = some.samples["sample_id"].tolist()
    wrong = disagreement(config.task, expected, ids, answers, some.categories)
    return Check("serves", not wrong, wrong or f"{len(ids)} requests answered as the model itself does")
