"""Nodes of the ingest stage. The core is imported when a node runs, so that listing pipelines is fast."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


def read_source(source: dict[str, Any], store: Path) -> tuple[Any, ...]:
    """Read a source into tables, or load them where nothing has changed.

    Args:
        source: its parameters.
        store: folder of the tables of an earlier ingest.

    Returns:
        samples, annotations, categories, arrays, quarantine, facts, and the stamp, saved last so that it
        vouches for the others.
    """
    from cv_pipelines.config import SourceConfig, parse
    from cv_pipelines.sources.ingest import ingest

    config = parse("source", SourceConfig, source)
    tables, stamp = ingest(config, store)
    dropped = int((tables.quarantine["action"] == "dropped").sum())
    logger.info("%d samples, %d objects, %d dropped", len(tables.samples), len(tables.annotations), dropped)
    categories = tables.categories.model_dump(mode="json")
    facts = tables.facts
    return tables.samples, tables.annotations, categories, tables.arrays, tables.quarantine, facts, stamp
