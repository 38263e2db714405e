"""A trained model as MLflow's own form of a model, which loads and serves without this project's code.

The folder holds `MLmodel`, the code that answers requests (`served_model.py`), an ONNX graph for it, and the
checkpoint (safetensors and JSON), which stays what is scored, compared and trained on.
"""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import Array, Object, Property

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.errors import RegistryError
from cv_pipelines.inference.export import quiet, write_model
from cv_pipelines.inference.graph import Graph
from cv_pipelines.inference.graphs import graph_of
from cv_pipelines.inference.model import Trained
from cv_pipelines.inference.requests import request_of
from cv_pipelines.training.checkpoints import Checkpoint, save_checkpoints
from cv_pipelines.training.predict import scored_part

CODE = Path(__file__).with_name("served_model.py")
NEEDS = ("mlflow", "numpy", "onnxruntime", "pandas", "pillow")
"""What serving takes; the versions of here are stated in the model."""

LIMITS = {"bytes": 32 * 2**20, "inputs": 1000, "pixels": 50_000_000}
"""Of one request: bytes and pixels of a picture, and how many inputs."""

WHOLE = 4_000_000
"""Pixels of a picture that goes through a graph at its own size: memory grows with them."""


def write_package(checkpoint: Checkpoint, data: SourceData, folder: Path) -> None:
    """Write a model and its checkpoint as a folder in MLflow's form.

    Args:
        checkpoint: the model.
        data: its prepared source, all splits: the graph is checked on samples of it.
        folder: that is written; there is none yet.

    Raises:
        ExportError: the model has no graph, or what was written says something else; says why.
    """
    graph = graph_of(Trained(checkpoint, "cpu"))
    part = scored_part(graph.trained[0].config, data)
    with tempfile.TemporaryDirectory() as made, quiet(("mlflow", "mlflow.models", "mlflow.pyfunc")):
        file, kept = Path(made) / "graph.onnx", Path(made) / "checkpoint"
        written = write_model(graph, part, file, "onnx")
        save_checkpoints(kept, {checkpoint.meta.seed: checkpoint})
        try:
            mlflow.pyfunc.save_model(
                str(folder),
                python_model=str(CODE),
                artifacts={"graph": str(file), "checkpoint": str(kept)},
                signature=signature_of(graph),
                input_example=example_of(part, graph),
                pip_requirements=[f"{name}=={version(name)}" for name in NEEDS],
                metadata={"contract": written.contract, "source": graph.trained[0].config.source},
                model_config=limits_of(graph),
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def checkpoint_in(folder: Path) -> Path:
    """Return where the checkpoint lies in what `write_package` wrote, or in a folder that is one itself."""
    inside = folder / "artifacts" / "checkpoint"
    return inside if inside.is_dir() else folder


def limits_of(graph: Graph) -> dict[str, int]:
    """Return what one request may hold; `SERVING_MODEL_CONFIG` changes it where a model is served."""
    trained = graph.trained[0]
    whole = trained.task_name != "detection" and trained.kind == "image" and not trained.size
    return LIMITS | ({"pixels": WHOLE} if whole else {})


def signature_of(graph: Graph) -> ModelSignature:
    """Say what a request and an answer look like, in MLflow's terms."""
    trained = graph.trained[0]
    if trained.kind == "signal":
        given = Schema([TensorSpec(np.dtype(np.float32), (-1, *trained.window))])
    else:
        given = Schema([ColSpec(DataType.binary, "image")])
    several = trained.meta.categories.multi_label and trained.task_name == "classification"
    answer = SEVERAL if several else ANSWERS[trained.task_name]
    return ModelSignature(given, Schema([ColSpec(kind, name) for name, kind in answer.items()]))


_NUMBERS = Array(DataType.double)
_PLACE = [Property(name, DataType.double) for name in ("score", "x", "y", "w", "h")]
_CLASS: dict[str, Any] = {"label": DataType.string, "confidence": DataType.double, "probabilities": _NUMBERS}
ANSWERS: dict[str, dict[str, Any]] = {
    "activity": _CLASS,
    "autoencoder": {"image": DataType.string},
    "classification": _CLASS,
    "detection": {"boxes": Array(Object([Property("label", DataType.string), *_PLACE]))},
    "landmarks": {
        "score": DataType.double,
        "points": Array(Object([Property("name", DataType.string), *_PLACE[1:3]])),
    },
    "segmentation": {"mask": DataType.string, "height": DataType.long, "width": DataType.long},
}
SEVERAL: dict[str, Any] = {"labels": Array(DataType.string), "probabilities": _NUMBERS}
"""Columns of an answer, by task; those of a classification with several labels a sample."""


def example_of(data: SourceData, graph: Graph) -> pd.DataFrame | np.ndarray:
    """Return a request of one real sample."""
    return inputs_of([request_of(data, 0)], graph.trained[0].kind)


def inputs_of(requests: list[bytes] | list[np.ndarray], kind: str) -> pd.DataFrame | np.ndarray:
    """Return requests as a served model takes them: a column `image`, or windows (N, C, T)."""
    return np.stack(requests) if kind == "signal" else pd.DataFrame({"image": requests})


def answers_of(folder: Path, requests: list[bytes] | list[np.ndarray], kind: str) -> list[dict[str, Any]]:
    """Ask a model in MLflow's form, as `mlflow.pyfunc.load_model` loads it.

    Args:
        folder: of the model.
        requests: bytes of pictures, or windows (C, T).
        kind: `image` or `signal`.

    Raises:
        RegistryError: it does not load, or does not answer.
    """
    try:
        with quiet(("mlflow", "mlflow.models", "mlflow.pyfunc")):
            model = mlflow.pyfunc.load_model(str(folder))
            rows: list[dict[str, Any]] = model.predict(inputs_of(requests, kind)).to_dict("records")
    except Exception as error:  # whatever the code in the folder raises
        raise RegistryError(f"{folder.name}: {type(error).__name__}: {error}") from None
    return rows


def log_model(
    client: MlflowClient, run: str, name: str, task: str, folder: Path, tags: dict[str, str]
) -> LoggedModel:
    """Log a folder as a model that a run made, which shows it in MLflow's UI.

    Args:
        client: connected to the server.
        run: id of the run.
        name: of the model, in the run.
        task: that it does.
        folder: what `write_package` wrote, or a checkpoint's.
        tags: of the model.
    """
    experiment = client.get_run(run).info.experiment_id
    logged = client.create_logged_model(experiment, name, run, tags, model_type=task)
    client.log_model_artifacts(logged.model_id, str(folder))
    client.log_outputs(run, [LoggedModelOutput(logged.model_id, step=0)])
    return client.finalize_logged_model(logged.model_id, "READY")
