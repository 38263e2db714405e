"""Activity classification from windows of phone sensors: classification, with subjects that must not vary."""

from __future__ import annotations

import math

import pandas as pd

from cv_pipelines.config import Evaluate
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.tasks.base import Scores
from cv_pipelines.tasks.classification import Classification


class Activity(Classification):
    """Classification of (C, T) windows; the accuracy of the worst subject is reported too."""

    @classmethod
    def score(cls, predictions: pd.DataFrame, data: SourceData, evaluate: Evaluate) -> Scores:
        """Score probabilities as `Classification`, plus `worst_subject_accuracy`."""
        scores = super().score(predictions, data, evaluate)
        subjects = scores.details.get("groups", {})
        scores.values["worst_subject_accuracy"] = min(subjects.values(), default=math.nan)
        return scores
