"""The page of a study: how the search went, which parameters matter, and every trial."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import optuna
import pandas as pd
import plotly.graph_objects as go
from optuna import visualization

from cv_pipelines.config.study import StudyConfig
from cv_pipelines.plots.document import Section, document, sections_html, table
from cv_pipelines.plots.theme import COLORS, no_data, number, styled
from cv_pipelines.tuning.tables import study_of


def study_page(config: StudyConfig, trials: pd.DataFrame, found: Mapping[str, Any]) -> str:
    """Return the report of a study as one HTML page that needs no network.

    Args:
        config: the study.
        trials: its table.
        found: what `study.json` holds.
    """
    study = study_of(config, trials, found["direction"])
    sections = [Section("Best", "", None, table(["", ""], []))]
    return document(found["study"], "", sections_html(sections))
