"""What MLflow runs to serve a model: a copy of this file beside an ONNX graph; nothing else of the project.

It needs numpy, pandas, Pillow, onnxruntime and MLflow. What goes in and comes out: docs/serve.md. It says of
a picture what `evaluate` says of it, as a promotion checks.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from PIL import Image, UnidentifiedImageError

AT_ONCE = 16
"""Samples of equal shape that go through the graph together."""

DEEP_MODES = {"I", "I;16", "I;16L", "I;16B", "I;16N"}
"""Pillow's modes of grey images of 16 bits."""

Found = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Corners (N, 4), classes (N,) and scores (N,) of boxes."""


class Served(PythonModel):
    """A model that answers requests; see docs/serve.md."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the graph."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what it would print is in the error that is raised
        self.session = onnxruntime.InferenceSession(
            context.artifacts["graph"], options, providers=["CPUExecutionProvider"]
        )
        self.contract = json.loads(self.session.get_modelmeta().custom_metadata_map["contract"])
        self.limits: dict[str, int] = dict(context.model_config)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer a request.

        Args:
            context: of MLflow.
            model_input: a column `image` with the bytes of a picture a row; for models of sensor windows,
                (N, C, T) float32.
            params: none are known.

        Returns:
            A row an input, in their order.

        Raises:
            MlflowException: an input cannot be used (HTTP status 400); says which and why.
        """
        del context, params
        if not 0 < len(model_input) <= self.limits["inputs"]:
            raise refused(f"{len(model_input)} inputs; 1 to {self.limits['inputs']} go into a request")
        if self.contract["input"]["name"] == "signal":
            return pd.DataFrame(self._answers(windows(model_input, self.contract["input"]["shape"])))
        if "image" not in model_input:
            raise refused(f"no column `image`; there are {list(model_input)}")
        return pd.DataFrame(self._pictures(list(model_input["image"])))

    def _pictures(self, values: list[Any]) -> list[dict[str, Any]]:
        """Answer a few pictures at a time, so that no more of them lie in memory."""
        rows: list[dict[str, Any]] = []
        for start in range(0, len(values), AT_ONCE):
            part = enumerate(values[start : start + AT_ONCE], start)
            rows += self._answers(self._decoded(value, place) for place, value in part)
        return rows

    def _decoded(self, value: Any, place: int) -> np.ndarray:
        """Return (H, W, C) uint8."""
        try:
            with Image.open(BytesIO(picture_bytes(value, self.limits["bytes"]))) as image:
                if image.width * image.height > self.limits["pixels"]:
                    told = f"{image.width}×{image.height} pixels; at most {self.limits['pixels']:,} are taken"
                    raise ValueError(told)
                pixels = as_rgb(image)
        except UnidentifiedImageError:
            raise refused(f"input {place}: not an image") from None
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise refused(f"input {place}: {error}") from None
        if self.contract["input"]["values"].startswith("RGB"):
            return pixels
        return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]

    def _answers(self, samples: Iterable[np.ndarray]) -> list[dict[str, Any]]:
        """Run samples through the graph, those of equal shape together."""
        fitted, sizes = [], []
        for sample in samples:  # one at a time: pictures may be large before they are resized
            fitted.append(fit(sample, self.contract["input"]))
            sizes.append(sample.shape[:2])
        rows: list[dict[str, Any]] = [{} for _ in fitted]
        for places in together([one.shape for one in fitted], self.limits["pixels"]):
            batch = np.stack([fitted[place] for place in places])
            try:
                (outputs,) = self.session.run(None, {self.contract["input"]["name"]: batch})
            except Exception as error:  # onnxruntime's own kinds share no other base
                told = str(error).splitlines()[0]
                raise refused(f"inputs {places}: refused by the model: {told}") from None
            for place, output in zip(places, outputs, strict=True):
                rows[place] = answer(output, sizes[place], fitted[place].shape[1:], self.contract)
        return rows


def refused(told: str) -> MlflowException:
    """Return what MLflow's server answers with status 400."""
    return MlflowException(told, error_code=INVALID_PARAMETER_VALUE)


def windows(given: Any, shape: list[int]) -> Iterator[np.ndarray]:
    """Yield (C, T) float32 windows.

    Raises:
        MlflowException: another shape, or numbers that are none.
    """
    batch = np.asarray(given, dtype=np.float32)
    if batch.ndim != 3 or list(batch.shape[1:]) != shape:
        raise refused(f"windows of shape {batch.shape}; expected (N, {shape[0]}, {shape[1]})")
    for place, window in enumerate(batch):
        if not np.isfinite(window).all():
            raise refused(f"input {place}: holds values that are no finite numbers")
        yield window


def picture_bytes(value: Any, limit: int) -> bytes:
    """Return the bytes of a picture, which may come as base64 text.

    Raises:
        ValueError: there are none, or too many.
    """
    data = value
    if isinstance(value, str | bytes):
        try:  # MLflow decodes base64 in `dataframe_…` alone; no picture is all base64 itself
            data = base64.b64decode(value, validate=True)
        except ValueError:
            if isinstance(value, str):
                raise ValueError("not an image: text that is no base64") from None
    if not isinstance(data, bytes) or not data:
        raise ValueError("not an image: no bytes")
    if len(data) > limit:
        raise ValueError(f"{len(data):,} bytes; at most {limit:,} are taken")
    return data


def as_rgb(image: Image.Image) -> np.ndarray:
    """Return (H, W, 3) uint8 of an image of any mode; 16 bits are scaled to 8. EXIF does not turn it.

    Raises:
        ValueError: its values have no known range.
    """
    if image.mode in DEEP_MODES:
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"unknown range of values: mode {image.mode}, {values.min()} to {values.max()}")
        image = Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("unknown range of values: an image of floats")
    return np.asarray(image.convert("RGB"))


def together(shapes: list[tuple[int, ...]], pixels: int) -> Iterator[list[int]]:
    """Yield the places of equal shapes, a few at a time, and no more than so many pixels, or one."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, shape in enumerate(shapes):
        places.setdefault(shape, []).append(place)
    for shape, same in places.items():
        size = max(min(AT_ONCE, pixels // (shape[-2] * shape[-1])), 1)
        for start in range(0, len(same), size):
            yield same[start : start + size]


def fit(sample: np.ndarray, given: dict[str, Any]) -> np.ndarray:
    """Bring a decoded picture, (H, W, C) uint8, to what the graph takes; windows stay as they are."""
    if given["name"] == "signal":
        return sample
    if given["dtype"] == "float32":
        return scaled(sample, given)
    if given["size"]:
        return resized(sample, given["size"]).transpose(2, 0, 1)
    (height, width), multiple = sample.shape[:2], given["sides_divisible_by"]
    filled = np.pad(sample, ((0, -height % multiple), (0, -width % multiple), (0, 0)), mode="edge")
    return filled.transpose(2, 0, 1)


def resized(pixels: np.ndarray, size: list[int]) -> np.ndarray:
    """Resize (H, W, C) uint8 with antialiasing, as Pillow does."""
    if list(pixels.shape[:2]) == size:
        return pixels
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR)).reshape(*size, -1)


def scaled(pixels: np.ndarray, given: dict[str, Any]) -> np.ndarray:
    """Resize a picture as a detector wants it, and fill up what is left with its mean colour.

    Args:
        pixels: (H, W, 3) uint8.
        given: `fill` a channel, `sides_divisible_by`, and what `frame` asks for.

    Returns:
        (3, H', W') float32, 0 to 255.
    """
    height, width, top, left = frame(pixels.shape[:2], given)
    planes, multiple = pixels.transpose(2, 0, 1).astype(np.float32), given["sides_divisible_by"]
    if "square" in given:
        how = (width, height), Image.Resampling.BILINEAR
        small = np.stack([np.asarray(Image.fromarray(plane).resize(*how)) for plane in planes])
        sides = [given["square"]] * 2
    else:
        small = bilinear(planes, height, width)
        sides = [side + -side % multiple for side in (height, width)]
    canvas = np.broadcast_to(np.asarray(given["fill"], np.float32)[:, None, None], (3, *sides)).copy()
    canvas[:, top : top + height, left : left + width] = small
    return canvas


def frame(size: tuple[int, ...], given: dict[str, Any]) -> tuple[int, int, int, int]:
    """Return height, width, top and left that a picture gets, rounded as the detector rounds them.

    Args:
        size: height and width of the picture.
        given: `square` and `placed`, or `shorter_side` and `longer_side`, in pixels.
    """
    if "square" in given:
        side = given["square"]
        factors = [side / (length if given["placed"] == "stretch" else max(size)) for length in size]
        height, width = (max(round(length * factor), 1) for length, factor in zip(size, factors, strict=True))
        return height, width, (side - height) // 2, (side - width) // 2
    factor = min(given["shorter_side"] / min(size), given["longer_side"] / max(size))
    return int(size[0] * factor), int(size[1] * factor), 0, 0


def bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize (C, H, W) floats without antialiasing, as PyTorch's `interpolate` does."""
    for axis, size in ((1, height), (2, width)):
        old = image.shape[axis]
        if old == size:
            continue
        at = np.maximum((np.arange(size, dtype=np.float32) + 0.5) * np.float32(old / size) - 0.5, 0)
        low = np.minimum(at.astype(np.int64), old - 1)
        share = (at - low).astype(np.float32).reshape((-1, 1) if axis == 1 else (-1,))
        high = np.minimum(low + 1, old - 1)
        image = image.take(low, axis) * (1 - share) + image.take(high, axis) * share
    return image


def answer(
    output: np.ndarray, size: tuple[int, ...], padded: tuple[int, ...], contract: dict[str, Any]
) -> dict[str, Any]:
    """Turn what the graph says of one sample into a row.

    Args:
        output: of the graph.
        size: height and width of a picture as it was read.
        padded: those of what went into the graph.
        contract: of the graph.
    """
    classes = contract["classes"]
    if contract["task"] == "detection":
        return boxes_row(output, size, padded, contract)
    if contract["task"] == "segmentation":
        height, width = size
        resized_before = bool(contract["input"]["size"])
        whole = bilinear(output, height, width) if resized_before else output[:, :height, :width]
        return {"mask": png(whole.argmax(axis=0).astype(np.uint8)), "height": height, "width": width}
    if contract["task"] == "autoencoder":
        picture = (output * 255).round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
        return {"image": png(picture[..., 0] if picture.shape[2] == 1 else picture)}
    if contract["task"] == "landmarks":
        places = output[1:].reshape(-1, 2) * np.array([size[1], size[0]]) - 0.5
        named = zip(contract["points"], places.tolist(), strict=True)
        return {"score": float(output[0]), "points": [{"name": k, "x": x, "y": y} for k, (x, y) in named]}
    shares = {"probabilities": output.astype(float).tolist()}
    if contract.get("several_labels"):
        return {"labels": [name for name, p in zip(classes, output, strict=True) if p >= 0.5], **shares}
    best = int(output.argmax())
    return {"label": classes[best], "confidence": float(output[best]), **shares}


def png(pixels: np.ndarray) -> str:
    """Pack (H, W) or (H, W, 3) uint8 as a PNG in base64."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def boxes_row(
    output: np.ndarray, size: tuple[int, ...], padded: tuple[int, ...], contract: dict[str, Any]
) -> dict[str, Any]:
    """Turn a detector's dense output into its boxes, in pixels of the picture.

    Args:
        output: (places, 4 + classes): boxes, as the contract says, then scores.
        size: height and width of the picture.
        padded: those of what went into the graph.
        contract: its `boxes` say how to read the output.
    """
    given, rule = contract["input"], contract["boxes"]
    height, width, top, left = frame(size, given)
    if "square" in given:
        corners, labels, scores = chosen(output[:, :4] * given["square"], output[:, 4:], rule)
        corners = (corners - np.array([left, top] * 2)).clip(0, [width, height] * 2)
    else:
        corners, labels, scores = detections(output, (height, width), padded, rule)
    factors = np.array([size[1] / width, size[0] / height] * 2)
    rows = zip((corners * factors).tolist(), labels.tolist(), scores.tolist(), strict=True)
    boxes = [
        {"label": contract["classes"][k], "score": score, "x": x1, "y": y1, "w": x2 - x1, "h": y2 - y1}
        for (x1, y1, x2, y2), k, score in rows
    ]
    return {"boxes": boxes}


def detections(
    output: np.ndarray, inner: tuple[int, int], padded: tuple[int, ...], rule: dict[str, Any]
) -> Found:
    """Choose boxes: the strongest of each level, then of those that overlap the strongest of each class.

    Args:
        output: (places, 4 + classes): distances to the left, upper, right and lower side in strides, scores.
        inner: height and width that boxes are cut off at.
        padded: height and width that the levels divide.
        rule: `strides`, `anchors` a place, `score_threshold`, `candidates` a level, `overlap`, `most`.
    """
    found: list[Found] = []
    start = 0
    for stride in rule["strides"]:
        rows, columns = (-(-side // stride) for side in padded)
        level = output[start : start + rows * columns * rule["anchors"]]
        start += len(level)
        found.append(_strongest(level, stride, (rows, columns), padded, rule))
    corners, labels, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
    corners = corners.clip(0, [inner[1], inner[0]] * 2)
    kept = suppressed(corners, labels, scores, rule["overlap"])[: rule["most"]]
    return corners[kept], labels[kept], scores[kept]


def chosen(corners: np.ndarray, scores: np.ndarray, rule: dict[str, Any]) -> Found:
    """Choose boxes: the strongest of all, then of those that overlap the strongest of each class.

    Args:
        corners: (places, 4).
        scores: (places, classes).
        rule: `score_threshold`, `candidates`, `overlap`, `most`.
    """
    places, labels, found = above(scores, rule)
    kept = suppressed(corners[places], labels, found, rule["overlap"])[: rule["most"]]
    return corners[places[kept]], labels[kept], found[kept]


def above(scores: np.ndarray, rule: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return places, classes and scores of what is above the threshold, the strongest first."""
    every = scores.ravel()
    kept = np.flatnonzero(every > rule["score_threshold"])
    kept = kept[np.argsort(-every[kept], kind="stable")[: rule["candidates"]]]
    places, labels = np.divmod(kept, scores.shape[1])
    return places, labels, every[kept]


def _strongest(
    level: np.ndarray, stride: int, grid: tuple[int, int], padded: tuple[int, ...], rule: dict[str, Any]
) -> Found:
    """Return the boxes of one level that are above the threshold, the strongest first."""
    places, labels, scores = above(level[:, 4:], rule)
    cells = places // rule["anchors"]
    steps = [padded[0] // grid[0], padded[1] // grid[1]]
    centers = np.stack([cells % grid[1] * steps[1], cells // grid[1] * steps[0]], axis=1).astype(np.float32)
    sides = level[places, :4] * np.float32(stride)
    return np.concatenate([centers - sides[:, :2], centers + sides[:, 2:]], axis=1), labels, scores


def suppressed(corners: np.ndarray, labels: np.ndarray, scores: np.ndarray, overlap: float) -> np.ndarray:
    """Return the places of the boxes that no stronger one of their class overlaps, the strongest first."""
    order = np.argsort(-scores, kind="stable")
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(corners[best, :2], corners[order, :2])
        sides = np.maximum(np.minimum(corners[best, 2:], corners[order, 2:]) - low, 0)
        shared = sides[:, 0] * sides[:, 1]
        union = areas[best] + areas[order] - shared
        order = order[(labels[order] != labels[best]) | (shared <= overlap * union)]
    return np.array(kept, dtype=np.int64)


set_model(Served())
