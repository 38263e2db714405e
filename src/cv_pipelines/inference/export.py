"""Writing models for use without this project, and proving that what was written says the same."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from cv_pipelines.data.datasets import SampleDataset, SourceData
from cv_pipelines.errors import ExportError
from cv_pipelines.inference.graph import Graph

Format = Literal["onnx", "torch"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}

TOLERANCE = 1e-4
"""How far an exported output may be from the model's own."""

CHECKED = 32
"""Samples that a written file is checked on."""

LOGGERS = ("torch", "torch.__trace", "torch.onnx", "onnxscript", "onnx_ir")
"""Those of the exporters."""

Model = Callable[[np.ndarray], np.ndarray]
"""Maps a batch of inputs, as the contract says, to its outputs."""


@dataclass(frozen=True)
class Export:
    """A file that was written and checked.

    Attributes:
        path: of the file.
        contract: what goes in and what comes out; it is in the file, too.
        dynamic: axes of the input that may vary, by name.
        difference: largest distance of any output from the model's own.
        checked: inputs that were compared.
    """

    path: Path
    contract: dict[str, Any]
    dynamic: list[str]
    difference: float
    checked: int


def write_model(graph: Graph, data: SourceData, path: Path, form: Format) -> Export:
    """Write a model, load what was written, and compare outputs on real samples.

    Args:
        graph: of the model.
        data: samples that it is checked on.
        path: of the file; it is only there if its outputs are those of the model.
        form: of the file.

    Raises:
        ExportError: a library is missing, PyTorch cannot trace the model, or the outputs differ.
    """
    inputs = list(example_batches(graph, data))
    program, dynamic = traced(graph, inputs[0])
    if "height" in dynamic:
        inputs.append(wider(inputs[0], graph.multiple))
    with torch.inference_mode():
        expected = [graph(torch.from_numpy(batch)).numpy() for batch in inputs]
    contract = graph.contract() | {"dynamic_axes": dynamic}
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"writing.{path.name}")
    try:
        _WRITERS[form](program, contract, fresh)
        run = LOADERS[form](fresh)
        # NumPy's maximum, unlike Python's, is NaN if any is.
        difference = float(
            np.max(
                [np.abs(run(batch) - wanted).max() for batch, wanted in zip(inputs, expected, strict=True)]
            )
        )
        if not difference <= TOLERANCE:
            raise ExportError(
                f"{path.name}: an output differs by {difference:.2g}; at most {TOLERANCE} is allowed"
            )
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return Export(path, contract, dynamic, difference, sum(map(len, inputs)))


def example_batches(graph: Graph, data: SourceData) -> Iterator[np.ndarray]:
    """Yield real inputs as the contract wants them, in batches of several sizes.

    The first one has several samples: of a single one, tracing would conclude that there is always one.
    """
    count = min(CHECKED, len(data.samples))
    chosen = np.linspace(0, len(data.samples) - 1, count).round().astype(int)
    samples = [graph.fitted(sample_of(graph, data, int(index))) for index in chosen]
    same = [sample for sample in samples if sample.shape == samples[0].shape]
    for size in (2, 1, 7):
        yield np.stack([same[place % len(same)] for place in range(size)])
    yield np.stack(same)


def wider(batch: np.ndarray, multiple: int) -> np.ndarray:
    """Enlarge images to another size whose sides differ and are more than once divisible by `multiple`.

    Of equal sides, and of numbers that are 1, tracing would conclude that they always are.
    """
    height, width = batch.shape[2:]
    more = (multiple, 2 * multiple if height + multiple != width + 2 * multiple else 3 * multiple)
    return np.pad(batch, ((0, 0), (0, 0), (0, more[0]), (0, more[1])), mode="edge")


def sample_of(graph: Graph, data: SourceData, index: int) -> np.ndarray:
    """Read one sample, resized as the contract says."""
    trained = graph.trained[0]
    dataset = SampleDataset(data, "none", trained.size if trained.kind == "image" else None)
    return np.ascontiguousarray(np.asarray(dataset[index][trained.kind]))


def traced(graph: Graph, example: np.ndarray) -> tuple[ExportedProgram, list[str]]:
    """Trace a model with as many free axes as it permits.

    Returns:
        The program, and the names of the free axes of its input.

    Raises:
        ExportError: it cannot be traced at all.
    """
    reason = ""
    names = {0: "batch", 2: "height", 3: "width"}
    for shapes in graph.dynamic_shapes():
        given = torch.from_numpy(wider(example, graph.multiple) if len(shapes) > 1 else example)
        try:
            with quiet():
                program = torch.export.export(graph, (given,), dynamic_shapes=(shapes,), strict=graph.strict)
        except Exception as error:  # PyTorch raises many kinds
            reason = reason or f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        else:
            return program, [names[axis] for axis in shapes]
    raise ExportError(f"{graph.trained[0].name}: PyTorch cannot trace the model: {reason}")


def _write_onnx(program: ExportedProgram, contract: dict[str, Any], path: Path) -> None:
    onnx = library("onnx")
    library("onnxscript")
    with quiet():
        torch.onnx.export(
            program,
            (),
            str(path),
            input_names=[contract["input"]["name"]],
            output_names=[contract["output"]["name"]],
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {"contract": json.dumps(contract)})
    onnx.save(model, str(path))


def _write_torch(program: ExportedProgram, contract: dict[str, Any], path: Path) -> None:
    with quiet():
        torch.export.save(program, path, extra_files={"contract.json": json.dumps(contract)})


def load_onnx(path: Path) -> Model:
    """Load an ONNX file for the CPU, on as many threads as PyTorch uses.

    Raises:
        ExportError: onnxruntime is not installed.
    """
    runtime = library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


def load_torch(path: Path) -> Model:
    """Load an exported program."""
    with quiet():
        module = torch.export.load(path).module()

    def run(batch: np.ndarray) -> np.ndarray:
        """Compute one batch."""
        with torch.no_grad():
            output: Tensor = module(torch.from_numpy(batch))
        return output.numpy()

    return run


_WRITERS: dict[Format, Callable[[ExportedProgram, dict[str, Any], Path], None]] = {
    "onnx": _write_onnx,
    "torch": _write_torch,
}
LOADERS: dict[Format, Callable[[Path], Model]] = {"onnx": load_onnx, "torch": load_torch}


def library(name: str) -> ModuleType:
    """Import a library of the extra `export`.

    Raises:
        ExportError: it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise ExportError(f"{name} is missing: pip install 'cv_pipelines[export]'") from None


@contextlib.contextmanager
def quiet(loggers: Sequence[str] = LOGGERS) -> Iterator[None]:
    """Keep the exporters' remarks about themselves off the terminal."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    try:
        for name in loggers:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
