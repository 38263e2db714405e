"""Torch datasets over the tables: one class for every task, randomness fixed by (seed, epoch, sample)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from torchvision import tv_tensors

from cv_pipelines.data.augment.geometry import moved, resize
from cv_pipelines.data.augment.objects import Item, rectangles
from cv_pipelines.data.encoding import decode_segmentation
from cv_pipelines.data.images import read_mask, read_rgb
from cv_pipelines.data.schema import Categories, mirrored_points
from cv_pipelines.data.spare import Spare
from cv_pipelines.errors import BadSampleError, ConfigError, SampleError

Target = Literal["none", "label", "labels", "mask", "boxes", "masks", "points"]
"""What a sample's target is; `masks` are boxes with a mask of each object, `points` boxes with keypoints."""


@dataclass(frozen=True)
class SourceData:
    """A prepared source in memory: what training, prediction and scoring read.

    Attributes:
        samples: the manifest, all splits.
        annotations: objects of the samples.
        categories: class lists.
        arrays: packed images or signals, memory-mapped.
        root: folder that `media` and `target` are relative to.
        statistics: of the train split: `mean` and `std` a channel, `counts` a class.
    """

    samples: pd.DataFrame
    annotations: pd.DataFrame
    categories: Categories
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    root: Path | None = None
    statistics: dict[str, Any] = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: tables are never changed, and a copy would pull memory maps into memory."""
        return self

    def only(self, *splits: str) -> Self:
        """Return the same source with the samples (and their objects) of some splits."""
        return self.where(self.samples["split"].isin(splits).to_numpy())

    def where(self, keep: np.ndarray) -> Self:
        """Return the same source with the samples where the boolean array `keep` is true."""
        samples = self.samples[keep].reset_index(drop=True)
        objects = self.annotations[self.annotations["sample_id"].isin(samples["sample_id"])]
        return replace(self, samples=samples, annotations=objects.reset_index(drop=True))

    @property
    def kind(self) -> Literal["image", "signal"]:
        """What a sample is."""
        return "signal" if "signals" in self.arrays else "image"

    @property
    def channels(self) -> int:
        """Channels of a sample: those of the packed array, 3 (RGB) for files."""
        if self.kind == "signal":
            return int(self.arrays["signals"].shape[1])
        images = self.arrays.get("images")
        return 3 if images is None or images.ndim == 4 else 1

    @property
    def shape(self) -> list[int] | None:
        """Shape of every sample, (C, H, W) or (C, T); None where images differ in size."""
        if self.kind == "signal":
            return list(self.arrays["signals"].shape[1:])
        sizes = self.samples[["height", "width"]].drop_duplicates().to_numpy()
        return [self.channels, *map(int, sizes[0])] if len(sizes) == 1 else None

    def read(self, index: int, view: bool = False) -> Tensor:
        """Read a sample: image (C, H, W) uint8 or signal (C, T) float32.

        Args:
            index: of the sample.
            view: an image may be a view of what is stored, which must not be written to.

        Raises:
            SampleError: its file cannot be read.
        """
        row = self.columns.rows[index]
        if row < 0:
            return channels_first(self._opened("media", index, read_rgb))
        if self.kind == "signal":
            return torch.from_numpy(np.array(self.arrays["signals"][row]))
        image = self.arrays["images"][row]
        return channels_first(image if view else np.array(image))

    def box_sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return width and height of the boxes to train on, (N, 2) float64, and of the image of each."""
        rows = _trained_on(self.annotations)
        images = self.samples.set_index("sample_id")[["width", "height"]].loc[rows["sample_id"]]
        return rows[["w", "h"]].to_numpy(np.float64), images.to_numpy(np.float64)

    def labels(self, index: int) -> list[int]:
        """Return the class indices of a sample."""
        return self.columns.labels_of(index)

    def mask(self, index: int) -> np.ndarray:
        """Read a sample's target mask, (H, W) uint8 class indices with 255 for void.

        Raises:
            SampleError: its file cannot be read.
        """
        row = self.columns.rows[index]
        if row >= 0 and "masks" in self.arrays:
            return np.array(self.arrays["masks"][row])
        return self._opened("target", index, partial(read_mask, categories=self.categories))

    def _opened(self, column: str, index: int, reader: Callable[[Path], np.ndarray]) -> np.ndarray:
        path = Path(self.root or ".") / self.columns.files[column][index].as_py()
        try:
            return reader(path)
        except (OSError, ValueError, SyntaxError, BadSampleError) as error:  # what Pillow finds in a file
            name, split = self.samples[["sample_id", "split"]].iloc[index]
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise SampleError(
                f"sample {name} of the {split} split cannot be read any more: {path}: {reason}. "
                "Bring the file back, or start the run again: ingest then puts the sample into quarantine"
            ) from error

    @cached_property
    def columns(self) -> PackedColumns:
        """What is read sample by sample."""
        return PackedColumns(self.samples)


class PackedColumns:
    """Columns of samples, packed.

    The cells of a data frame are slow to reach, and as objects they would be copied into every loader worker,
    for reading one counts its references.

    Args:
        samples: rows of a manifest.

    Attributes:
        rows: (N,) int64 into the arrays, -1 for a file.
        files: `media` and `target`, paths or null.
    """

    def __init__(self, samples: pd.DataFrame) -> None:
        self.rows = samples["row"].to_numpy(np.int64)
        self.files = {name: pa.array(samples[name], pa.large_string()) for name in ("media", "target")}
        counts = samples["labels"].map(len).to_numpy(np.int64)
        self._ends = np.cumsum(counts)
        self._starts = self._ends - counts
        self._labels = np.array([label for labels in samples["labels"] for label in labels], np.int64)

    def labels_of(self, index: int) -> list[int]:
        """Return the class indices of a sample."""
        found: list[int] = self._labels[self._starts[index] : self._ends[index]].tolist()
        return found


def channels_first(image: np.ndarray) -> Tensor:
    """View (H, W) or (H, W, C) as (C, H, W): a copy would cost as much as the resize that follows."""
    pixels = torch.from_numpy(image if image.flags.writeable else image.copy())
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """Mix a run's seed, the epoch and a sample's index into one 63-bit seed, the same on every machine."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class SampleDataset(Dataset[Item]):
    """Samples as dicts: `image` or `signal`, the target under its own key, and `index`.

    A key is a sample index, or (epoch, index) as `EpochSampler` gives: then the augmentation is drawn from
    (seed, epoch, index) alone, so neither workers nor a restart change it.

    Args:
        data: the samples, in order.
        target: which target to read.
        size: (height, width) to resize images and masks to; None keeps them.
        augment: applied after the resize, to an item and to what draws one more for mixtures; one whose
            `cuts` is true cuts its own size out of the whole image instead.
        seed: of the augmentation.
        spare: where samples that cannot be read are noted; the next one stands in for each. With None they
            are an error: what is scored is to be all there.
    """

    def __init__(
        self,
        data: SourceData,
        target: Target,
        size: list[int] | None = None,
        augment: Callable[[Item, Callable[[], Item]], Item] | None = None,
        seed: int = 0,
        spare: Spare | None = None,
    ) -> None:
        self.data = data
        self.spare = spare
        self.target = target
        self.augment = augment
        self.seed = seed
        self.cuts = augment is not None and getattr(augment, "cuts", False)
        self.size = None if self.cuts else size
        boxed = target in ("boxes", "masks", "points")
        self.objects = PackedObjects(data, target == "masks", target == "points") if boxed else None
        _ = data.columns  # packed here, once, and not in every worker

    def __len__(self) -> int:
        return len(self.data.samples)

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        item = self._item(index)
        if self.augment is None:
            return item
        state = torch.get_rng_state()
        torch.default_generator.manual_seed(sample_seed(self.seed, epoch, index))
        try:
            return self.augment(item, self._another)
        finally:
            torch.set_rng_state(state)

    def _another(self) -> Item:
        """Read a sample drawn from all."""
        return self._item(int(torch.randint(len(self), ())))

    def _item(self, index: int) -> Item:
        """Read a sample, or the first one after it that can be read: the same whoever reads it, and when."""
        try:
            return self._read(index)
        except (OSError, ValueError, SampleError) as error:
            if self.spare is None:
                raise
            self.spare.note(str(self.data.samples["sample_id"].iat[index]), error)
        return self._item((index + 1) % len(self))

    def _read(self, index: int) -> Item:
        tensor = self.data.read(index, view=self.cuts)
        if self.data.kind == "signal":
            return {"signal": tensor, **self._class_target(index), "index": index}
        item: Item = {"image": tensor.as_subclass(tv_tensors.Image), "index": index}
        if self.target == "mask":
            item["mask"] = tv_tensors.Mask(torch.from_numpy(self.data.mask(index)))
        elif self.objects is not None:
            item |= self._box_target(index, (int(tensor.shape[1]), int(tensor.shape[2])))
        else:
            item |= self._class_target(index)
        return item if self.size is None else moved(item, partial(resize, size=self.size))

    def _class_target(self, index: int) -> Item:
        if self.target == "none":
            return {}
        labels = self.data.labels(index)
        if self.target == "label":
            return {"label": int(labels[0])}
        hot = torch.zeros(len(self.data.categories.labels))
        hot[labels] = 1.0
        return {"label": hot}

    def _box_target(self, index: int, size: tuple[int, int]) -> Item:
        assert self.objects is not None
        corners, categories = self.objects.of(index)
        boxes = tv_tensors.BoundingBoxes(corners.copy(), format="XYXY", canvas_size=size)
        target = {"boxes": boxes, "labels": torch.from_numpy(categories.copy())}
        if self.target == "points":
            return target | self._points(index, size)
        return target | ({"masks": self._masks(index, boxes)} if self.target == "masks" else {})

    def _points(self, index: int, size: tuple[int, int]) -> Item:
        assert self.objects is not None
        poses = torch.from_numpy(self.objects.poses(index).copy())
        return {
            "keypoints": tv_tensors.KeyPoints(poses[..., :2], canvas_size=size),
            "visibility": poses[..., 2].long(),
            "keypoint_pairs": torch.tensor(self.objects.pairs, dtype=torch.int64),
        }

    def _masks(self, index: int, boxes: tv_tensors.BoundingBoxes) -> tv_tensors.Mask:
        """Draw the masks of a sample's objects; an object without one has its box's rectangle."""
        assert self.objects is not None
        masks = rectangles(boxes)
        for row, text in enumerate(self.objects.segmentations(index)):
            if text is not None:
                masks[row] = torch.from_numpy(decode_segmentation(text, *boxes.canvas_size))
        return masks


class PackedObjects:
    """The boxes to train on, packed sample after sample; crowd regions and `difficult` objects are left out.

    Args:
        data: whose samples' objects are packed.
        masks: keep their segmentations too.
        points: keep their keypoints too.

    Attributes:
        pairs: which point each becomes in the mirror image.

    Raises:
        ConfigError: keypoints are wanted, and no class has any, or classes have different ones.
    """

    def __init__(self, data: SourceData, masks: bool = False, points: bool = False) -> None:
        rows = _trained_on(data.annotations)
        sample = pd.Index(data.samples["sample_id"]).get_indexer(rows["sample_id"])
        order = np.argsort(sample, kind="stable")
        xywh = rows[["x", "y", "w", "h"]].to_numpy(np.float32)[order]
        self._corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        self._categories = rows["category"].to_numpy(np.int64)[order]
        self._starts = np.searchsorted(sample[order], np.arange(len(data.samples) + 1))
        texts = rows["segmentation"].iloc[order] if masks else []
        self._segmentations = pa.array(texts, pa.large_string(), from_pandas=True)
        names = keypoint_names(data.categories) if points else []
        self.pairs = mirrored_points(names)
        self._poses = np.zeros((len(rows) if points else 0, len(names), 3), np.float32)
        for place, pose in enumerate(rows["keypoints"].iloc[order] if points else []):
            if isinstance(pose, list | np.ndarray):
                self._poses[place] = np.reshape(pose, (-1, 3))

    def of(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the boxes of a sample: (K, 4) float32 as XYXY in pixels, and (K,) int64 categories."""
        rows = slice(self._starts[index], self._starts[index + 1])
        return self._corners[rows], self._categories[rows]

    def poses(self, index: int) -> np.ndarray:
        """Return keypoints of a sample's objects, (K, P, 3) float32: x, y in pixels, visibility 0 to 2."""
        return self._poses[self._starts[index] : self._starts[index + 1]]

    def segmentations(self, index: int) -> list[str | None]:
        """Return the segmentations of a sample's objects as JSON, None for an object without."""
        found: list[str | None] = self._segmentations[
            self._starts[index] : self._starts[index + 1]
        ].to_pylist()
        return found


def keypoint_names(categories: Categories) -> list[str]:
    """Return the names of the keypoints that objects of a source have.

    Raises:
        ConfigError: no class has any, or classes have different ones.
    """
    lists = {tuple(c.keypoints) for c in categories.objects if c.keypoints}
    if len(lists) != 1:
        what = "no class has keypoints" if not lists else f"classes have {len(lists)} different lists of them"
        raise ConfigError(f"keypoints of one list of names are needed; in this source {what}")
    return list(lists.pop())


def _trained_on(annotations: pd.DataFrame) -> pd.DataFrame:
    """Leave out crowd regions and `difficult` objects."""
    return annotations[~(annotations["iscrowd"] | annotations["difficult"])]


class EpochSampler(Sampler[tuple[int, int]]):
    """Gives (epoch, index): a permutation that depends on (seed, epoch) alone. Lightning sets the epoch.

    Args:
        length: number of samples; that of the whole epoch, wherever it starts.
        seed: of the training.
        epoch: that comes first.
        done: samples of that first epoch to pass over.
    """

    def __init__(self, length: int, seed: int, epoch: int = 0, done: int = 0) -> None:
        self.length = length
        self.seed = seed
        self.epoch = epoch
        self.first, self.done = epoch, done

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(sample_seed(self.seed, self.epoch, -1))
        epoch = self.epoch
        order = torch.randperm(self.length, generator=generator).tolist()
        for index in order[self.done if epoch == self.first else 0 :]:
            yield epoch, index
