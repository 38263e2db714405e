"""Models whose every prediction a test writes down, trained as it were, and a source to judge them on."""

import json
import shutil
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.preprocessing import Preprocessing
from cv_pipelines.data.schema import Categories, annotations_table, categories_of, samples_table
from cv_pipelines.models import MODELS
from cv_pipelines.promotion.decide import Candidate
from cv_pipelines.training.checkpoints import Checkpoint, Meta, versions
from cv_pipelines.training.predict import predict
from cv_pipelines.training.score import score

CLASSES = ["cat", "cow", "dog"]
COUNT = 240
LABELS = np.arange(COUNT) % 3


class Lookup(nn.Module):
    """Answers what its table says of the image whose pixels are all k."""

    def __init__(self, n_classes):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(COUNT, n_classes))

    def forward(self, x):
        return self.table[((x[:, 0, 0, 0] + 1) * 127.5).round().long()]


@pytest.fixture(autouse=True)
def _lookup(monkeypatch):
    module = ModuleType("lookup_model")
    module.build = lambda in_channels, n_classes: Lookup(n_classes)
    monkeypatch.setitem(sys.modules, "lookup_model", module)
    monkeypatch.setitem(MODELS, "lookup", "lookup_model:build")


@pytest.fixture(scope="session")
def data():
    """240 grey images of three classes; the k-th one's pixels are all k."""
    images = np.arange(COUNT, dtype=np.uint8)[:, None, None].repeat(4, axis=1).repeat(4, axis=2)
    rows = [
        {"sample_id": f"s{i:03d}", "row": i, "split": "test", "group": f"g{i}", "labels": [int(LABELS[i])],
         "content_hash": f"{i:032x}", "width": 4, "height": 4}
        for i in range(COUNT)
    ]  # fmt: skip
    categories = Categories(labels=categories_of(CLASSES))
    return SourceData(samples_table(rows), annotations_table([]), categories, {"images": images}, None)


@pytest.fixture
def candidate(data):
    """Builds a candidate that is right where `right` (240 bools) says so; keywords go to `evaluate`."""

    def build(name, right, classes=CLASSES, **evaluate):
        config = ExperimentConfig.model_validate(
            {
                "task": "classification",
                "source": "pets",
                "model": {"name": "lookup"},
                "inputs": {"normalize": "half"},
                "train": {"epochs": 1, "batch_size": 64, "device": "cpu", "optimizer": {"lr": 0.1}},
                "evaluate": evaluate,
            }
        )
        guess = np.where(right, LABELS, (LABELS + 1) % 3)
        state = {"table": torch.from_numpy(3 * np.eye(3, dtype=np.float32)[guess])}
        checkpoint = Checkpoint(
            Meta(
                experiment=name, seed=0, model="lookup", options={}, in_channels=1, n_outputs=3,
                categories=Categories(labels=categories_of(classes)),
                preprocessing=Preprocessing(size=None, mean=[127.5], std=[127.5]),
                config=config.model_dump(), selected="best", epoch=0, score=None, fingerprint=f"of {name}",
                seconds=1.0, device="cpu", versions=versions(),
            ),
            {"best": state, "last": state},
        )  # fmt: skip
        found = predict(config, data, {0: checkpoint})
        metrics, _, _ = score(name, config, found, data, {0: checkpoint}, {})
        return Candidate(name, "cpu", {0: checkpoint}, json.loads(json.dumps(metrics)))

    return build


def _right(share, seed=0, ruined=None):
    """Right in this share of the samples; in none of one class."""
    hits = np.random.default_rng(seed).permutation(COUNT) < share * COUNT
    return hits if ruined is None else hits & (CLASSES.index(ruined) != LABELS)


def _tracker(folder):
    from cv_pipelines.io.tracking import Tracker, TrackingConfig

    return Tracker(TrackingConfig(tracking_uri="sqlite:///m.db", experiment="x"), folder)


@pytest.fixture(scope="session")
def _database(tmp_path_factory):
    """An empty database of MLflow's: making one takes seconds."""
    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        _tracker(folder).client.search_experiments()
    return folder / "m.db"


@pytest.fixture
def registry(tmp_path, monkeypatch, _database):
    """MLflow's registry in a database of its own."""
    from cv_pipelines.io.registry import MlflowRegistry

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(_database, tmp_path)
    return MlflowRegistry(_tracker(tmp_path))


@pytest.fixture
def right():
    """Gives (240,) bool, true in a share of the samples, and in none of a `ruined` class."""
    return _right
