"""A version as it lies in the registry: loaded afresh, scored on today's data, timed and weighed."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from cv_pipelines.comparing.results import Results
from cv_pipelines.config import ExperimentConfig
from cv_pipelines.data.datasets import SampleDataset, SourceData
from cv_pipelines.errors import CheckpointError
from cv_pipelines.training.checkpoints import Checkpoint, load_checkpoints
from cv_pipelines.training.predict import autocast, load_task, move, predict, scored_part
from cv_pipelines.training.score import score

WARM_UP = 3


@dataclass(frozen=True)
class Loaded:
    """A version's checkpoint and what it is used with.

    Attributes:
        config: the experiment that it was trained as.
        checkpoint: of its one seed.
        folder: where its files were copied to.
    """

    config: ExperimentConfig
    checkpoint: Checkpoint
    folder: Path

    @property
    def megabytes(self) -> float:
        """10⁶ bytes of the weights' file."""
        meta = self.checkpoint.meta
        file = self.folder / f"seed_{meta.seed}" / f"{meta.selected}.safetensors"
        return file.stat().st_size / 1e6


def load(folder: Path, device: str) -> Loaded:
    """Read a version's checkpoint and rebuild its model once.

    Args:
        folder: of the checkpoint.
        device: that it is used on, as in `train.device`.

    Raises:
        CheckpointError: a file is missing or damaged, or does not fit this version of the code.
    """
    (checkpoint,) = load_checkpoints(folder).values()
    try:
        config = ExperimentConfig.model_validate(checkpoint.meta.config)
        checkpoint.build()
    except (ValidationError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: does not fit this version of the code: {error}") from None
    train = config.train.model_copy(update={"device": device, "workers": 0})
    return Loaded(config.model_copy(update={"train": train}), checkpoint, folder)


def scored(name: str, loaded: Loaded, data: SourceData, facts: dict[str, Any]) -> Results:
    """Predict and score with the evaluator that every experiment is scored by.

    Args:
        name: that the results go by.
        loaded: the version.
        data: its prepared source, all splits.
        facts: of the source.
    """
    meta = loaded.checkpoint.meta
    checkpoints = {meta.seed: loaded.checkpoint}
    predictions = predict(loaded.config, data, checkpoints)
    metrics, _, _ = score(name, loaded.config, predictions, data, checkpoints, facts)
    return Results(name, metrics, predictions)


def latency(loaded: Loaded, data: SourceData, timings: int) -> float:
    """Return the median milliseconds from a sample in memory to its prediction, one sample at a time."""
    part = scored_part(loaded.config, data)
    task = load_task(loaded.config, data, loaded.checkpoint)
    task.evaluate_on(part)
    dataset = SampleDataset(part, "none", task.context.preprocessing.size)
    seconds = []
    with torch.inference_mode(), autocast(task):
        for turn in range(WARM_UP + timings):
            batch = task.collate_inputs([dataset[turn % len(part.samples)]])
            start = time.perf_counter()
            task.predict_rows(move(batch, task.device))
            seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[WARM_UP:])
