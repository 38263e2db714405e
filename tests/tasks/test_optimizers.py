"""Parameter groups, optimisers and schedules."""

import pytest
import torch
from torch import nn

from cv_pipelines.config import Optimizer, Train
from cv_pipelines.tasks.optimizers import make_optimizer, make_scheduler, parameter_groups


@pytest.fixture
def model():
    net = nn.Module()
    net.encoder = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    net.head = nn.Linear(2, 2)
    net.frozen = nn.Linear(2, 2).requires_grad_(False)
    return net


def settings_of(groups, parameter):
    return next((g["lr"], g["weight_decay"]) for g in groups if any(p is parameter for p in g["params"]))


def test_matrices_decay_vectors_do_not_and_the_encoder_learns_at_its_own_rate(model):
    groups = parameter_groups(model, Optimizer(lr=0.1, weight_decay=0.01, encoder_lr_scale=0.5))
    assert settings_of(groups, model.encoder[0].weight) == (0.05, 0.01)
    assert settings_of(groups, model.encoder[0].bias) == (0.05, 0.0)
    assert settings_of(groups, model.encoder[1].weight) == (0.05, 0.0)
    assert settings_of(groups, model.head.weight) == (0.1, 0.01)
    assert settings_of(groups, model.head.bias) == (0.1, 0.0)
    assert sum(len(group["params"]) for group in groups) == 6  # the frozen layer is left out


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_the_named_rule_is_built(model, name, kind):
    optimizer = make_optimizer(model, Optimizer(name=name, lr=0.1, momentum=0.8, betas=[0.5, 0.9]))
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert (
        (group["momentum"], group["nesterov"]) == (0.8, True)
        if name == "sgd"
        else group["betas"] == (0.5, 0.9)
    )


def rates(model, name, steps=10, **more):
    train = Train(epochs=1, batch_size=1, optimizer=Optimizer(lr=0.1), schedule={"name": name, **more})
    optimizer = make_optimizer(model, train.optimizer)
    scheduler = make_scheduler(optimizer, train, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step() if len(found) < steps else None
    return found


def test_constant_stays(model):
    assert rates(model, "constant") == pytest.approx([0.1] * 10)


def test_cosine_only_falls(model):
    found = rates(model, "cosine")
    assert found[0] == pytest.approx(0.1)
    assert found[5] == pytest.approx(0.05)
    assert found == sorted(found, reverse=True)


def test_one_cycle_rises_for_its_warm_up_and_falls_to_zero(model):
    found = rates(model, "one_cycle", warmup=0.3)
    assert max(found) == pytest.approx(0.1)
    assert found.index(max(found)) == 2
    assert found[:3] == sorted(found[:3])
    assert found[2:] == sorted(found[2:], reverse=True)
    assert found[-1] < 1e-6
