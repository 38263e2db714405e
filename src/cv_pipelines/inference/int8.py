"""8-bit integers instead of floats (post-training quantisation, Jacob et al. 2018), and what that costs.

onnxruntime does it: ranges of activations are observed on train samples, weights are scaled by channel.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.errors import ExportError
from cv_pipelines.inference.export import Model, library, load_onnx, quiet, sample_of
from cv_pipelines.inference.graph import Graph
from cv_pipelines.tasks import MAIN_SCORES, task_class
from cv_pipelines.training.predict import scored_part

CALIBRATION = 200
"""Train samples that ranges are observed on."""


def check_measurable(graph: Graph) -> None:
    """Check that what 8 bits cost can be measured.

    Raises:
        ExportError: the graph is but a part of what is scored.
    """
    if graph.trained[0].task_name == "detection":
        raise ExportError(
            f"{graph.trained[0].name}: --int8: what 8 bits cost a detector is not measured, for boxes are "
            "chosen outside of its graph"
        )


def quantize(graph: Graph, full: Path, data: SourceData, path: Path) -> None:
    """Write an ONNX file that computes in 8 bits.

    Args:
        graph: of the model.
        full: its ONNX file in float32.
        data: train samples.
        path: of the new file.

    Raises:
        ExportError: onnxruntime is not installed.
    """
    library("onnxruntime")
    quantization: Any = library("onnxruntime.quantization")
    shapes: Any = library("onnxruntime.quantization.shape_inference")
    prepared, fresh = (path.with_name(f"{stage}.{path.name}") for stage in ("prepared", "writing"))
    try:
        with quiet(("root", "")):
            shapes.quant_pre_process(str(full), str(prepared), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(prepared),
                str(fresh),
                _reader(quantization, graph, data),
                quant_format=quantization.QuantFormat.QDQ,
                # unsigned, as onnxruntime's quick kernels for x86 want them
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                # 7 bits a weight: processors without VNNI add products of 8 in 16 bits, which overflow
                reduce_range=True,
                extra_options={"CalibMovingAverage": True},
            )
        fresh.replace(path)
    finally:
        prepared.unlink(missing_ok=True)
        fresh.unlink(missing_ok=True)


def _reader(quantization: Any, graph: Graph, data: SourceData) -> Any:
    chosen = np.linspace(0, len(data.samples) - 1, min(CALIBRATION, len(data.samples))).round().astype(int)
    name: str = graph.trained[0].kind
    feeds = ({name: graph.fitted(sample_of(graph, data, int(index)))[None]} for index in chosen)

    class Reader(quantization.CalibrationDataReader):
        """Gives the samples one by one."""

        def get_next(self) -> dict[str, np.ndarray] | None:
            """Return the next sample; None at the end."""
            return next(feeds, None)

    return Reader()


def compared(graph: Graph, full: Path, small: Path, data: SourceData) -> dict[str, Any]:
    """Measure what 8 bits cost and gain.

    Args:
        graph: of the model.
        full: its ONNX file in float32.
        small: that in 8 bits.
        data: the source, all splits; the experiment's evaluation split is scored.

    Returns:
        `score_name`, `split`, `n`; `float32` and `int8` with all `values`, `bytes` and milliseconds a sample;
        `score_loss` (of the main score, positive if it became worse), `speedup`, `size_ratio`.
    """
    trained = graph.trained[0]
    part = scored_part(trained.config, data)
    models = {"float32": (full, load_onnx(full)), "int8": (small, load_onnx(small))}
    found: dict[str, Any] = {
        name: {"values": scored(graph, run, part), "bytes": path.stat().st_size}
        for name, (path, run) in models.items()
    }
    example = np.stack([graph.fitted(sample_of(graph, part, 0))] * trained.batch_size)
    times = taken([partial(run, example) for _, run in models.values()])
    for name, seconds in zip(models, times, strict=True):
        found[name]["milliseconds_a_sample"] = 1000 * seconds / len(example)
    score = MAIN_SCORES[trained.task_name]
    if score not in found["float32"]["values"]:  # of multi-label sources
        score = "map"
    change = found["float32"]["values"][score] - found["int8"]["values"][score]
    return {
        "score_name": score,
        "split": trained.config.evaluate.split,
        "n": len(part.samples),
        **found,
        "score_loss": change,
        "speedup": times[0] / times[1],
        "size_ratio": found["float32"]["bytes"] / found["int8"]["bytes"],
        "batch_size": len(example),
        "threads": torch.get_num_threads(),
    }


def scored(graph: Graph, run: Model, part: SourceData) -> dict[str, float]:
    """Score an exported model with the project's evaluator.

    Args:
        graph: of the model.
        run: the exported one.
        part: the scored split.
    """
    trained = graph.trained[0]
    rows: list[dict[str, Any]] = []
    for samples, batch in _batches(graph, part, trained.batch_size):
        rows += graph.rows(samples, torch.from_numpy(run(batch)))
    kind = task_class(trained.task_name)
    return kind.score(pd.DataFrame(rows), part, trained.config.evaluate).values


def _batches(graph: Graph, part: SourceData, size: int) -> Iterator[tuple[list[dict[str, Any]], np.ndarray]]:
    """Yield samples in their order, as many of one shape as follow each other, with their inputs."""
    samples: list[dict[str, Any]] = []
    inputs: list[np.ndarray] = []
    for index, sample in enumerate(part.samples.to_dict("records")):
        read = graph.fitted(sample_of(graph, part, index))
        if inputs and (len(inputs) == size or read.shape != inputs[0].shape):
            yield samples, np.stack(inputs)
            samples, inputs = [], []
        samples.append(sample)
        inputs.append(read)
    if inputs:
        yield samples, np.stack(inputs)


def taken(functions: Sequence[Callable[[], object]], repeats: int = 15) -> list[float]:
    """Return the median seconds of each function; they take turns, so that a busy moment meets all."""
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(repeats + 2):
        for function, found in zip(functions, times, strict=True):
            started = time.perf_counter()
            function()
            if turn >= 2:
                found.append(time.perf_counter() - started)
    return [median(found) for found in times]
