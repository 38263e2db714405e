"""Tasks: one LightningModule a kind of work. The values are `module:class`, imported when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cv_pipelines.tasks.base import Task

TASKS = {
    "activity": "cv_pipelines.tasks.activity:Activity",
    "autoencoder": "cv_pipelines.tasks.autoencoder:Autoencoder",
    "classification": "cv_pipelines.tasks.classification:Classification",
    "detection": "cv_pipelines.tasks.detection:Detection",
    "gan": "cv_pipelines.tasks.gan:Gan",
    "landmarks": "cv_pipelines.tasks.landmarks:Landmarks",
    "segmentation": "cv_pipelines.tasks.segmentation:Segmentation",
}

MAIN_SCORES = {
    "activity": "accuracy",
    "autoencoder": "psnr",
    "classification": "accuracy",
    "detection": "map_50",
    "gan": "fid",
    "landmarks": "mean_error",
    "segmentation": "miou",
}
"""The score that stands for a task in tables; a score's name may carry a suffix (`fid_<embedder>`)."""


def task_class(name: str) -> type[Task]:
    """Return the class of a registered task.

    Raises:
        KeyError: no task of that name; the message lists those there are.
    """
    if name not in TASKS:
        raise KeyError(f"no task {name!r}; there are {', '.join(sorted(TASKS))}")
    module, attribute = TASKS[name].split(":")
    found: type[Task] = getattr(import_module(module), attribute)
    return found
