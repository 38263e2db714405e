"""What the prepared tables of a source are made from, beside the tables as read."""

from __future__ import annotations

from cv_pipelines.config import SourceConfig
from cv_pipelines.config.sections import flat
from cv_pipelines.provenance import Provenance
from cv_pipelines.provenance.code import code_of

PREPARES = ("cv_pipelines.data.splits", "cv_pipelines.data.statistics", "cv_pipelines.data.limits")
NO_TABLE = ("cv_pipelines.config", "cv_pipelines.data.parallel", "cv_pipelines.errors")


def preparation(config: SourceConfig) -> Provenance:
    """Gather what decides splits, statistics and limits; how the data report is drawn does not count."""
    values = config.model_dump(mode="json", include={"validation", "test", "seed", "limits"})
    return Provenance(parameters=flat(values), code=code_of(PREPARES, NO_TABLE)[0])
