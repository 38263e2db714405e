"""A source as nodes receive it: by name from the catalog, gathered into the core's form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from cv_pipelines.data.datasets import SourceData

TABLES = ("manifest", "annotations", "categories", "arrays")


def source_inputs(source: str, *more: str) -> dict[str, str]:
    """Return the inputs of a node that passes its keyword arguments on to `source_data`.

    Args:
        source: name of the source.
        more: tables beside those that every such node reads.
    """
    return {"source": f"params:{source}"} | {name: f"{source}.{name}" for name in (*TABLES, *more)}


def source_data(
    source: dict[str, Any],
    manifest: pd.DataFrame,
    annotations: pd.DataFrame,
    categories: dict[str, Any],
    arrays: dict[str, np.ndarray],
    statistics: dict[str, Any] | None = None,
) -> SourceData:
    """Gather what the catalog holds of a source.

    Args:
        source: its parameters.
        manifest: samples with splits.
        annotations: objects.
        categories: class lists.
        arrays: packed samples.
        statistics: of the train split, where they are needed.
    """
    from cv_pipelines.config import SourceConfig, parse
    from cv_pipelines.data.datasets import SourceData
    from cv_pipelines.data.schema import Categories
    from cv_pipelines.sources.fetch import source_root

    config = parse("source", SourceConfig, source)
    parsed = Categories.model_validate(categories)
    return SourceData(manifest, annotations, parsed, arrays, source_root(config), statistics or {})


def stored_source(project: Path, name: str, source: dict[str, Any], folder: str = "data") -> SourceData:
    """Gather what a project's data folder holds of a source, outside a run.

    Args:
        project: folder of the project.
        name: of the source.
        source: its parameters.
        folder: of the data, from the project.

    Raises:
        SourceError: it has not been prepared; names the file that is missing.
    """
    import json

    import pandas as pd

    from cv_pipelines.errors import SourceError
    from cv_pipelines.io.arrays import ArraysDataset

    tables, prepared = (project / folder / part / name for part in ("02_intermediate", "05_model_input"))
    try:
        manifest, annotations = (
            pd.read_parquet(path) for path in (prepared / "manifest.parquet", tables / "annotations.parquet")
        )
        categories, statistics = (
            json.loads(path.read_text(encoding="utf8"))
            for path in (tables / "categories.json", prepared / "statistics.json")
        )
    except OSError as error:
        raise SourceError(f"not prepared, run `kedro run --pipelines data_{name}` first ({error})") from None
    arrays = ArraysDataset(filepath=str(tables / "arrays")).load()
    return source_data(source, manifest, annotations, categories, arrays, statistics)
