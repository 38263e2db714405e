"""Checkpoints on disk: round trip, replacement, damage, and starting one model from another."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from cv_pipelines.errors import CheckpointError
from cv_pipelines.models import builder
from cv_pipelines.training.checkpoints import (
    Checkpoint,
    load_checkpoints,
    save_checkpoints,
    start_encoder,
)
from cv_pipelines.training.fit import Job, fit


@pytest.fixture
def checkpoints(trained):
    return trained("classification")[0]


@pytest.fixture
def folder(checkpoints, tmp_path):
    save_checkpoints(tmp_path / "checkpoint", checkpoints)
    return tmp_path / "checkpoint"


def test_round_trip(checkpoints, folder, identical):
    again = load_checkpoints(folder)
    assert identical(checkpoints, again)
    assert again[0].meta == checkpoints[0].meta
    x = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(again[0].build()(x), checkpoints[0].build()(x))


def test_nothing_needs_pickle(folder):
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert files == ["seed_0/best.safetensors", "seed_0/last.safetensors", "seed_0/model.json"]
    meta = json.loads((folder / "seed_0/model.json").read_text(encoding="utf8"))
    assert meta["model"] == "residual_cnn"
    assert [c["name"] for c in meta["categories"]["labels"]] == ["left", "right"]
    assert set(meta["preprocessing"]) == {"size", "mean", "std"}


def test_weights_in_another_memory_format_are_saved_alike(checkpoints, tmp_path, identical):
    state = {
        k: v.to(memory_format=torch.channels_last) if v.ndim == 4 else v
        for k, v in checkpoints[0].state.items()
    }
    save_checkpoints(tmp_path / "c", {0: Checkpoint(checkpoints[0].meta, {"best": state, "last": state})})
    assert all(torch.equal(v, state[k]) for k, v in load_checkpoints(tmp_path / "c")[0].state.items())


def test_the_selected_weights_are_used(checkpoints):
    states = {"best": {"w": torch.zeros(1)}, "last": {"w": torch.ones(1)}}
    for which, expected in (("best", 0.0), ("last", 1.0)):
        meta = checkpoints[0].meta.model_copy(update={"selected": which})
        assert Checkpoint(meta, states).state["w"].item() == expected


def test_saving_replaces_the_seeds_of_before(checkpoints, folder):
    meta = checkpoints[0].meta.model_copy(update={"seed": 4})
    save_checkpoints(folder, {4: replace(checkpoints[0], meta=meta)})
    assert list(load_checkpoints(folder)) == [4]
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]


def test_a_failure_while_writing_leaves_the_old_one(checkpoints, folder, identical):
    broken = Checkpoint(checkpoints[0].meta, {"best": {"w": torch.ones(2)}, "last": {"w": None}})
    with pytest.raises(AttributeError):
        save_checkpoints(folder, {0: broken})
    assert identical(checkpoints, load_checkpoints(folder))
    save_checkpoints(folder, checkpoints)  # what the failure left behind is no obstacle
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]


def test_a_missing_folder_says_what_to_do(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"none: no checkpoint; expected seed_<n>/model.json \(train it"
    ):
        load_checkpoints(tmp_path / "none")


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors", "model.json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_damage_is_named(folder, name, damage):
    path = folder / "seed_0" / name
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "noise": b"\xff" * len(data)}[damage])
    with pytest.raises(CheckpointError, match="seed_0: unreadable checkpoint"):
        load_checkpoints(folder)


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / "seed_0" / name).unlink()
    with pytest.raises(CheckpointError, match=f"unreadable checkpoint.*{name}"):
        load_checkpoints(folder)


@pytest.mark.parametrize("change", [{"extra": 1}, {"seed": "zero"}, {"preprocessing": None}])
def test_a_description_of_another_form_is_refused(folder, change):
    path = folder / "seed_0" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=next(iter(change))):
        load_checkpoints(folder)


def test_a_folder_of_several_seeds(checkpoints, folder):
    shutil.copytree(folder / "seed_0", folder / "seed_7")
    path = folder / "seed_7" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seed": 7}))
    assert set(load_checkpoints(folder)) == {0, 7}


class TestStart:
    """Starting a model's encoder from another experiment's."""

    def classifier(self, channels=(4, 8)):
        torch.manual_seed(5)
        return builder("residual_cnn")(1, 2, channels=list(channels), blocks=1)

    def test_only_the_encoder_is_taken(self, trained):
        given = trained("autoencoder")[0][0]
        model = self.classifier()
        head = model.head[-1].weight.clone()
        count = start_encoder(model, given)
        encoder = {k: v for k, v in model.state_dict().items() if k.startswith("encoder.")}
        assert count == len(encoder) > 10
        assert all(torch.equal(v, given.state[k]) for k, v in encoder.items())
        assert torch.equal(model.head[-1].weight, head)

    def test_another_width_is_refused(self, trained):
        with pytest.raises(CheckpointError, match=r"init_from autoencoder_toy: its encoder .* does not fit"):
            start_encoder(self.classifier((8, 8)), trained("autoencoder")[0][0])

    def test_another_kind_of_encoder_is_refused(self, trained):
        with pytest.raises(CheckpointError, match="the same encoder options"):
            start_encoder(self.classifier(), trained("segmentation")[0][0])

    def test_a_model_without_an_encoder_is_refused(self, trained):
        with pytest.raises(CheckpointError, match=r"the model's \(0 tensors\)"):
            start_encoder(builder("dcgan")(1, 0, size=16), trained("autoencoder")[0][0])

    def test_a_training_starts_from_it(self, trained, experiment, image_source, tmp_path):
        given = trained("autoencoder")[0][0]
        # At this rate nothing is learnt: after training the encoder is what it started from.
        config = experiment("classification", train={"epochs": 1, "optimizer": {"lr": 1e-20}})
        found = fit(Job("toy", config, image_source, tmp_path / "fit", given))[0][0]
        name = "encoder.3.body.0.weight"
        assert torch.equal(found.state[name], given.state[name])
        assert found.meta.fingerprint != trained("classification")[0][0].meta.fingerprint
