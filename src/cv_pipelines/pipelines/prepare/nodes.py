"""Nodes of the prepare stage. The core is imported when a node runs, so that listing pipelines is fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cv_pipelines.pipelines.source_data import source_data

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


def split_samples(
    source: dict[str, Any], samples: pd.DataFrame, facts: dict[str, Any]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Carve the splits that the source lacks and look for leaks.

    Args:
        source: its parameters.
        samples: as read.
        facts: of the reader.

    Returns:
        The manifest: `samples` with every split in place; and the facts with what splits share added.

    Raises:
        LeakageError: two splits of our own making share a group or content; names the offenders.
    """
    from cv_pipelines.config import SourceConfig, parse
    from cv_pipelines.data.splits import assign_splits, check_leakage

    config = parse("source", SourceConfig, source)
    official = set(samples["split"])
    manifest = assign_splits(samples, validation=config.validation, test=config.test, seed=config.seed)
    pairs = {(a, b) for a in official for b in official if a < b}
    # A validation split carved out of the official train leaves the border to the official test official.
    pairs |= {("val", "test")} if "test" in official else set()
    leakage = check_leakage(manifest, pairs)
    shared = {
        pair: found for pair, found in leakage.items() if found["shared_groups"] or found["shared_contents"]
    }
    return manifest, facts | ({"shared": shared} if shared else {})


def compute_statistics(**tables: Any) -> dict[str, Any]:
    """Measure the train split; see `train_statistics`."""
    from cv_pipelines.data.statistics import train_statistics

    return train_statistics(source_data(**tables))


def measure_samples(source: dict[str, Any], **tables: Any) -> pd.DataFrame:
    """Measure how every sample looks, on the source's engine; see `measures.measure`."""
    from cv_pipelines.config import SourceConfig, parse
    from cv_pipelines.data.measures import measure
    from cv_pipelines.data.parallel import running_on

    with running_on(parse("source", SourceConfig, source).engine):
        return measure(source_data(source, **tables))


def report_source(
    name: str,
    source: dict[str, Any],
    quarantine: pd.DataFrame,
    facts: dict[str, Any],
    measures: pd.DataFrame,
    **tables: Any,
) -> tuple[str, dict[str, Any], go.Figure, go.Figure]:
    """Draw the data report of the source that is called `name`.

    Returns:
        The page, its figures as JSON-able numbers, the class counts and the gallery for previews.
    """
    from cv_pipelines.config import SourceConfig, parse
    from cv_pipelines.plots.data_report import draw

    limits = parse(name, SourceConfig, source).limits
    return draw(name, source_data(source, **tables), quarantine, facts, measures, limits)


def enforce_limits(name: str, source: dict[str, Any], summary: dict[str, Any]) -> dict[str, Any]:
    """Refuse the source `name` if it shows more than its limits allow; what trains on it waits for this.

    Returns:
        Each limit that is set, and what the prepared tables were made from.

    Raises:
        DataLimitError: names what is passed.
    """
    from cv_pipelines.config import SourceConfig, parse
    from cv_pipelines.data.limits import enforce
    from cv_pipelines.sources.preparation import preparation

    config = parse(name, SourceConfig, source)
    kept = enforce(name, config.limits, summary)
    return kept | {"provenance": preparation(config).model_dump(mode="json")}
