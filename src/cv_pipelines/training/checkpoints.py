"""Checkpoints: safetensors for the weights, JSON for all that is needed to use them; never pickle.

A folder holds `seed_<n>/` a training, each with `best.safetensors`, `last.safetensors` and `model.json`.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cv_pipelines.data.preprocessing import Preprocessing
from cv_pipelines.data.schema import Categories
from cv_pipelines.errors import CheckpointError
from cv_pipelines.models import builder
from cv_pipelines.provenance import Provenance
from cv_pipelines.training.rollback import Batch

State = dict[str, Tensor]
Which = Literal["best", "last"]


class Meta(BaseModel):
    """What `model.json` says.

    Attributes:
        experiment: that made it.
        seed: of the training.
        model: registered name.
        options: of the builder.
        in_channels: of a sample.
        shape: (C, H, W) or (C, T) of the samples as they came from the source, where all are alike.
        n_outputs: of the model.
        categories: class lists of the source.
        preprocessing: resize and normalisation.
        config: the whole experiment.
        selected: which weights are used.
        epoch: of the selected weights, from 0.
        score: validation figure of the selected weights, where there is one.
        fingerprint: digest of `provenance`.
        seconds: the training took.
        device: it ran on.
        versions: of the libraries.
        passed_over: batches that the training went back for, because their loss was no number.
        provenance: what it was made from; None for those of before this was noted.
    """

    model_config = ConfigDict(extra="forbid")

    experiment: str
    seed: int
    model: str
    options: dict[str, Any]
    in_channels: int
    shape: list[int] | None = None
    n_outputs: int
    categories: Categories
    preprocessing: Preprocessing
    config: dict[str, Any]
    selected: Which
    epoch: int
    score: float | None
    fingerprint: str
    seconds: float
    device: str
    versions: dict[str, str]
    passed_over: list[Batch] = []
    provenance: Provenance | None = None


@dataclass(frozen=True)
class Checkpoint:
    """Weights and what they mean."""

    meta: Meta
    states: dict[Which, State]

    @property
    def state(self) -> State:
        """The selected weights."""
        return self.states[self.meta.selected]

    def build(self) -> nn.Module:
        """Rebuild the model with the selected weights, in evaluation mode."""
        # Pretrained weights would only be overwritten.
        options = {**self.meta.options} | ({"weights": "none"} if "weights" in self.meta.options else {})
        model = builder(self.meta.model)(self.meta.in_channels, self.meta.n_outputs, **options)
        model.load_state_dict(self.state)
        return model.eval()


def versions() -> dict[str, str]:
    """Return the versions of the libraries that a training depends on."""
    return {name: version(name) for name in ("torch", "torchvision", "lightning", "timm", "numpy")}


def save_checkpoints(folder: Path, checkpoints: dict[int, Checkpoint]) -> None:
    """Write one subfolder a seed; a kill while writing leaves the folder as it was."""
    fresh = folder.with_name(folder.name + ".writing")
    shutil.rmtree(fresh, ignore_errors=True)
    for seed, checkpoint in checkpoints.items():
        _save_one(fresh / f"seed_{seed}", checkpoint)
    retired = folder.with_name(folder.name + ".old")
    shutil.rmtree(retired, ignore_errors=True)
    if folder.exists():
        folder.rename(retired)
    fresh.rename(folder)
    shutil.rmtree(retired, ignore_errors=True)


def _save_one(folder: Path, checkpoint: Checkpoint) -> None:
    folder.mkdir(parents=True)
    for which, state in checkpoint.states.items():
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in state.items()}, folder / f"{which}.safetensors"
        )
    (folder / "model.json").write_text(checkpoint.meta.model_dump_json(indent=2), encoding="utf8")


def load_checkpoints(folder: Path) -> dict[int, Checkpoint]:
    """Read all seeds of a checkpoint folder.

    Raises:
        CheckpointError: the folder is missing, or a file in it is missing or unreadable.
    """
    found = sorted(folder.glob("seed_*/model.json"))
    if not found:
        raise CheckpointError(f"{folder}: no checkpoint; expected seed_<n>/model.json (train it first)")
    loaded = sorted((_load_one(path.parent) for path in found), key=_place)
    return {checkpoint.meta.seed: checkpoint for checkpoint in loaded}


def _place(checkpoint: Checkpoint) -> tuple[int, int]:
    """Sort seeds as the experiment lists them: the first one stands for all in pictures."""
    seeds, seed = checkpoint.meta.config.get("train", {}).get("seeds", []), checkpoint.meta.seed
    return (seeds.index(seed) if seed in seeds else len(seeds), seed)


def _load_one(folder: Path) -> Checkpoint:
    try:
        meta = Meta.model_validate(json.loads((folder / "model.json").read_text(encoding="utf8")))
        kinds: tuple[Which, ...] = ("best", "last")
        states = {which: load_file(folder / f"{which}.safetensors") for which in kinds}
    except (OSError, ValueError, ValidationError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: unreadable checkpoint: {error}") from None
    return Checkpoint(meta, states)


def start_encoder(model: nn.Module, checkpoint: Checkpoint) -> int:
    """Load the weights below `encoder.` of another experiment's model; return how many tensors.

    Raises:
        CheckpointError: the encoders differ in names or shapes, or there is none.
    """
    given = {k: v for k, v in checkpoint.state.items() if k.startswith("encoder.")}
    wanted = {k: v for k, v in model.state_dict().items() if k.startswith("encoder.")}
    same = given.keys() == wanted.keys() and all(given[k].shape == wanted[k].shape for k in wanted)
    if not wanted or not same:
        raise CheckpointError(
            f"init_from {checkpoint.meta.experiment}: its encoder ({len(given)} tensors) does not fit the "
            f"model's ({len(wanted)} tensors); give both models the same encoder options"
        )
    model.load_state_dict(given, strict=False)
    return len(given)
