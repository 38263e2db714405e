"""What a process is set to while it fits a model, and given back afterwards."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from cv_pipelines.config.train import Train
from cv_pipelines.errors import LoaderError


@contextmanager
def fitting(train: Train) -> Iterator[None]:
    """Set all that a training asks for."""
    with (
        quiet(),
        loader_deaths(),
        flushed_denormals(),
        deterministic(train.deterministic),
        float32_products(train.matmul_precision),
    ):
        yield


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Take the tiny numbers of dying units for 0 meanwhile: they make a CPU ten times slower."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Give back what the `deterministic` switch changes in torch, for the experiments that follow."""
    try:
        yield
    finally:
        if wanted:
            torch.use_deterministic_algorithms(False)
            torch.backends.cudnn.deterministic = False


@contextmanager
def loader_deaths() -> Iterator[None]:
    """Tell what it means that a loader process is gone.

    Raises:
        LoaderError: in place of torch's `RuntimeError`.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise LoaderError(
            f"{error} Most often the system kills it for its memory: lower train.workers or "
            "train.batch_size. The same command goes on where the state was last kept"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's advice on loader workers and devices, which does not apply to small data."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
            logging.getLogger(name).setLevel(logging.WARNING)
        yield


@contextmanager
def float32_products(precision: Literal["highest", "high", "medium"] | None) -> Iterator[None]:
    """Compute float32 matrix products of this process with a precision, and as before afterwards."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision or before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
