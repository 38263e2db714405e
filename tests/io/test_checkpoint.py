"""The catalog's checkpoint folder: a round trip for every seed, whole or not at all, and no pickle."""

import pytest
import torch
from kedro.io import DatasetError

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.data.preprocessing import Preprocessing
from cv_pipelines.data.schema import Categories, categories_of
from cv_pipelines.io.checkpoint import CheckpointDataset
from cv_pipelines.models import builder
from cv_pipelines.training import checkpoints as module
from cv_pipelines.training.checkpoints import Checkpoint, Meta, versions

OPTIONS = {"channels": [4, 8], "blocks": 1}
CONFIG = ExperimentConfig.model_validate(
    {
        "task": "classification",
        "source": "digits",
        "model": {"name": "residual_cnn", **OPTIONS},
        "train": {"epochs": 1, "batch_size": 2, "optimizer": {"lr": 0.1}, "seeds": [0, 1, 2, 5, 11]},
    }
)


def checkpoint(seed):
    torch.manual_seed(seed)
    models = {which: builder("residual_cnn")(1, 3, **OPTIONS) for which in ("best", "last")}
    meta = Meta(
        experiment="mine",
        seed=seed,
        model="residual_cnn",
        options=OPTIONS,
        in_channels=1,
        n_outputs=3,
        categories=Categories(labels=categories_of(["a", "b", "c"])),
        preprocessing=Preprocessing(size=[8, 8], mean=[1.5], std=[2.5]),
        config=CONFIG.model_dump(),
        selected="best",
        epoch=0,
        score=None,
        fingerprint="f" * 32,
        seconds=1.0,
        device="cpu",
        versions=versions(),
    )
    return Checkpoint(meta, {which: model.state_dict() for which, model in models.items()})


@pytest.fixture
def dataset(tmp_path):
    return CheckpointDataset(filepath=str(tmp_path / "mine" / "checkpoint"))


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_every_seed_comes_back_to_the_last_bit(dataset):
    saved = {seed: checkpoint(seed) for seed in (0, 2, 11)}
    assert not dataset.exists()
    dataset.save(saved)
    assert dataset.exists()
    loaded = dataset.load()
    assert loaded.keys() == saved.keys()
    for seed, given in saved.items():
        assert loaded[seed].meta == given.meta
        assert all(same(loaded[seed].states[which], given.states[which]) for which in ("best", "last"))
    assert not same(loaded[0].states["best"], loaded[0].states["last"])


def test_a_loaded_model_predicts_what_the_saved_one_did(dataset):
    saved = checkpoint(0)
    dataset.save({0: saved})
    x = torch.randn(2, 1, 8, 8)
    with torch.inference_mode():
        assert torch.equal(dataset.load()[0].build()(x), saved.build()(x))


def test_saving_replaces_the_seeds_of_before(dataset, tmp_path):
    dataset.save({0: checkpoint(0), 1: checkpoint(1)})
    dataset.save({5: checkpoint(5)})
    assert dataset.load().keys() == {5}
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["checkpoint"]


def test_a_kill_while_saving_leaves_the_checkpoint_of_before(dataset, monkeypatch):
    dataset.save({0: checkpoint(0)})

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "save_file", killed)
        with pytest.raises(KeyboardInterrupt):
            dataset.save({1: checkpoint(1)})
    assert dataset.load().keys() == {0}
    dataset.save({1: checkpoint(1)})
    assert dataset.load().keys() == {1}


def test_no_file_is_a_pickle(dataset, tmp_path):
    dataset.save({0: checkpoint(0)})
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"best.safetensors", "last.safetensors", "model.json"}


@pytest.mark.parametrize("file", ["best.safetensors", "last.safetensors", "model.json"])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut"])
def test_a_damaged_file_is_an_error_that_names_the_folder(dataset, tmp_path, file, damage):
    dataset.save({0: checkpoint(0)})
    path = tmp_path / "mine" / "checkpoint" / "seed_0" / file
    whole = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(b"" if damage == "empty" else whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"seed_0: unreadable checkpoint|no checkpoint; expected seed_"):
        dataset.load()


def test_a_missing_checkpoint_says_to_train_first(dataset):
    with pytest.raises(DatasetError, match="train it first"):
        dataset.load()
