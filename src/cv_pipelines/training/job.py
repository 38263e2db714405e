"""One experiment to fit, in memory and as files that other processes read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.packing import Packed
from cv_pipelines.data.schema import Categories
from cv_pipelines.provenance import Provenance
from cv_pipelines.training.checkpoints import Checkpoint, load_checkpoints, save_checkpoints
from cv_pipelines.training.fingerprint import provenance_of, training_part


@dataclass(frozen=True)
class Job:
    """One experiment to fit.

    Attributes:
        experiment: its name.
        config: its parameters.
        data: the prepared source, all splits.
        folder: where an interrupted training leaves its state.
        init: whose encoder weights start the model.
        watch: is told seed, epochs done and validation figure; what it raises ends the training. It stays
            in this process.
    """

    experiment: str
    config: ExperimentConfig
    data: SourceData
    folder: Path
    init: Checkpoint | None = None
    watch: Callable[[int, int, float], None] | None = None

    @cached_property
    def provenance(self) -> Provenance:
        """What its results are made from, as it is when this is first asked for."""
        return provenance_of(self.config, self.data, self.init.meta if self.init else None)

    @property
    def stamp(self) -> str:
        """Digest of what decides the weights: an interrupted training goes on only where it is the same."""
        return training_part(self.provenance, self.config).fingerprint


def fingerprint(job: Job) -> str:
    """Digest all that a training is made from: equal fingerprints train the same model."""
    return job.provenance.fingerprint


def save_job(job: Job, folder: Path) -> None:
    """Write a job for other processes, whole or not at all; packed samples stay where they are.

    Args:
        job: what to fit.
        folder: that it is written to; what lies there is replaced.
    """
    fresh = folder.with_name(folder.name + ".writing")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    job.data.samples.to_parquet(fresh / "samples.parquet")
    job.data.annotations.to_parquet(fresh / "annotations.parquet")
    if job.init is not None:
        save_checkpoints(fresh / "init", {job.init.meta.seed: job.init})
    note = {
        "experiment": job.experiment,
        "config": job.config.model_dump(mode="json"),
        "categories": job.data.categories.model_dump(mode="json"),
        "statistics": job.data.statistics,
        "root": None if job.data.root is None else str(Path(job.data.root).resolve()),
        "arrays": {name: _place(array, name, fresh, folder) for name, array in job.data.arrays.items()},
        "folder": str(job.folder.resolve()),
        "init": job.init is not None,
    }
    (fresh / "job.json").write_text(json.dumps(note, indent=2), encoding="utf8")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def load_job(folder: Path) -> Job:
    """Read what `save_job` wrote; packed samples are memory-mapped."""
    note = json.loads((folder / "job.json").read_text(encoding="utf8"))
    samples, annotations = (
        pd.read_parquet(folder / f"{name}.parquet") for name in ("samples", "annotations")
    )
    data = SourceData(
        samples,
        annotations,
        Categories.model_validate(note["categories"]),
        {name: _opened(place) for name, place in note["arrays"].items()},
        None if note["root"] is None else Path(note["root"]),
        note["statistics"],
    )
    init = next(iter(load_checkpoints(folder / "init").values())) if note["init"] else None
    config = ExperimentConfig.model_validate(note["config"])
    return Job(note["experiment"], config, data, Path(note["folder"]), init)


def _place(array: Any, name: str, fresh: Path, folder: Path) -> dict[str, Any]:
    """Say where an array lies; one that is in memory alone is written beside the tables."""
    if isinstance(array, Packed):
        return {"entry": str(array.entry.resolve()), "channels": array.channels}
    if isinstance(array, np.memmap) and array.filename and not isinstance(array.base, np.ndarray):
        return {"file": str(Path(str(array.filename)).resolve())}
    np.save(fresh / f"{name}.npy", array, allow_pickle=False)
    return {"file": str((folder / f"{name}.npy").resolve())}


def _opened(place: dict[str, Any]) -> Any:
    if "entry" in place:
        return Packed.open(Path(place["entry"]), place["channels"])
    return np.load(place["file"], mmap_mode="r")
