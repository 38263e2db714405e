"""What data a run was made of, as MLflow's data-set inputs: source, split, content hash, DVC's hash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from cv_pipelines.data.digests import samples_digest
from cv_pipelines.data.schema import SPLITS

KIND = "cv_pipelines"


def data_entries(
    project: Path, source: str, root: str | None, manifest: pd.DataFrame
) -> list[dict[str, Any]]:
    """Describe each split of a source, JSON-able.

    Args:
        project: folder of the project, where `dvc.lock` lies if DVC runs it.
        source: its name.
        root: of its raw files.
        manifest: its samples with splits.
    """
    parts = {str(split): manifest[manifest["split"] == split] for split in SPLITS}
    place = {"source": source, "root": root, "dvc": dvc_hash(project, source)}
    return [
        {
            "name": source,
            "digest": samples_digest(part),
            "source": json.dumps(place | {"split": split}),
            "profile": json.dumps({"num_rows": len(part), "num_groups": int(part["group"].nunique())}),
            "context": split,
        }
        for split, part in parts.items()
        if len(part)
    ]


def dvc_hash(project: Path, source: str) -> str | None:
    """Return DVC's hash of a prepared source; None where DVC did not make it."""
    lock = project / "dvc.lock"
    if not lock.exists():
        return None
    stages = (yaml.safe_load(lock.read_text(encoding="utf8")) or {}).get("stages", {})
    outs = stages.get(f"data_{source}", {}).get("outs", [])
    found = (out.get("md5") for out in outs if out.get("path") == f"data/05_model_input/{source}")
    return next(found, None)


def data_inputs(entries: list[dict[str, Any]]) -> list[DatasetInput]:
    """Turn what `data_entries` gave into what MLflow takes."""
    return [
        DatasetInput(
            Dataset(entry["name"], entry["digest"], KIND, entry["source"], profile=entry["profile"]),
            [InputTag(MLFLOW_DATASET_CONTEXT, entry["context"])],
        )
        for entry in entries
    ]
