"""Frozen parts of a model stay as they are; two phases; averages; what must not change a result."""

import pandas as pd
import pytest
import torch

from cv_pipelines.errors import ConfigError
from cv_pipelines.models import builder
from cv_pipelines.training.fit import Job, fit, make_task
from cv_pipelines.training.phases import freeze
from cv_pipelines.training.surroundings import float32_products

LONG = {"epochs": 4, "select": "last", "optimizer": {"lr": 0.02}}


def trained(config, data, folder):
    checkpoints, history = fit(Job("toy", config, data, folder))
    return checkpoints[0].state, history.pivot(index="epoch", columns="name", values="value")


@pytest.fixture
def start(experiment, image_source, tmp_path):
    def weights(config):
        torch.manual_seed(0)
        return {
            k: v.clone()
            for k, v in make_task(Job("toy", config, image_source, tmp_path)).model.state_dict().items()
        }

    return weights


def test_what_is_frozen_stays_with_its_statistics_and_the_rest_learns(
    image_source, experiment, start, tmp_path
):
    config = experiment("classification", train=LONG | {"freeze": ["encoder.[0-2].*", "encoder.3.*"]})
    before, (after, _) = start(config), trained(config, image_source, tmp_path / "fit")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[1] for name in moved if name.startswith("encoder")} == {"4"}
    assert "encoder.4.body.1.running_mean" in moved
    assert "head.3.weight" in moved


def test_a_pattern_that_matches_nothing_or_everything_is_refused():
    model = builder("residual_cnn")(1, 2, channels=[4], blocks=1)
    with pytest.raises(
        ConfigError, match=r"train.freeze: 'stem.\*' matches no parameter; there are encoder.0.weight"
    ):
        freeze(model, ["stem.*"])
    with pytest.raises(ConfigError, match="leaves nothing to train"):
        freeze(model, ["*"])


def test_the_head_learns_first_and_then_all_at_a_low_rate(
    image_source, experiment, start, interrupted, tmp_path
):
    train = LONG | {"head_first": {"epochs": 2, "lr_scale": 0.5}, "schedule": {"name": "cosine"}}
    config = experiment("classification", train=train)
    before, (after, table) = start(config), trained(config, image_source, tmp_path / "fit")
    # Three steps an epoch, in each phase a whole cosine; the history has the rate after an epoch's last step.
    assert table["lr"].tolist() == pytest.approx([0.01, 0.0, 0.005, 0.0], abs=1e-9)
    assert not torch.equal(before["encoder.0.weight"], after["encoder.0.weight"])
    job = Job("toy", config, image_source, tmp_path / "cut")
    interrupted(job, epoch=1, batch=None)
    kept = torch.load(tmp_path / "cut/seed_0/best.ckpt", weights_only=False)["state_dict"]
    for name in before:
        same = torch.equal(before[name], kept[f"model.{name}"])
        assert same == name.startswith("encoder"), name


def test_the_average_is_that_of_the_last_epochs(image_source, experiment, tmp_path, monkeypatch):
    seen = []
    from cv_pipelines.training import callbacks

    def note(self, trainer, task):
        seen.append({k: v.clone() for k, v in task.model.state_dict().items()})

    monkeypatch.setattr(callbacks.EpochLog, "on_train_epoch_end", note)
    config = experiment("classification", train=LONG | {"swa": 0.5})
    state, table = trained(config, image_source, tmp_path / "fit")
    mean = (seen[2]["head.3.weight"] + seen[3]["head.3.weight"]) / 2
    assert torch.allclose(state["head.3.weight"], mean, atol=1e-6)
    plain, plain_table = trained(experiment("classification", train=LONG), image_source, tmp_path / "plain")
    assert torch.equal(plain["head.3.weight"], seen[3]["head.3.weight"])  # averaging does not disturb
    pd.testing.assert_series_equal(table["val_nll"][:2], plain_table["val_nll"][:2])
    assert table["val_nll"][3] != plain_table["val_nll"][3]


@pytest.mark.parametrize(
    ("task", "more"), [("classification", {}), ("activity", {"stochastic_depth": 0.4}), ("segmentation", {})]
)
def test_gradient_checkpointing_changes_no_bit(sources, experiment, identical, tmp_path, task, more):
    found = []
    for switch in (False, True):
        config = experiment(task, train={"gradient_checkpointing": switch})
        config = config.model_copy(update={"model": config.model.model_copy(update=more)})
        found.append(fit(Job("toy", config, sources[task], tmp_path / str(switch)))[0])
    assert identical(*found)


def test_accumulation_makes_fewer_steps_of_larger_batches(image_source, experiment, tmp_path):
    base = {
        "epochs": 2,
        "select": "last",
        "optimizer": {"name": "sgd", "lr": 0.05},
        "schedule": {"name": "constant"},
    }
    model = {"name": "residual_cnn", "channels": [4], "blocks": 1, "norm": "none"}
    large, small = (
        trained(
            experiment("classification", base | t, model=model, augment=None), image_source, tmp_path / name
        )[0]
        for name, t in (("a", {"batch_size": 12}), ("b", {"batch_size": 6, "accumulate": 2}))
    )
    assert all(torch.allclose(large[key], small[key], atol=1e-6) for key in large)


def test_the_precision_of_products_is_put_back():
    before = torch.get_float32_matmul_precision()
    with float32_products("medium"):
        assert torch.get_float32_matmul_precision() == "medium"
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.slow
def test_a_compiled_model_learns_the_same(image_source, experiment, tmp_path):
    states = [
        trained(experiment("classification", {"compile": c, "ema": 0.5}), image_source, tmp_path / str(c))[0]
        for c in (False, True)
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.allclose(states[0][k].float(), states[1][k].float(), atol=1e-2) for k in states[0])
