"""Parameter groups, optimisers and schedules."""

import pytest
import torch
from torch import nn

from cv_pipelines.config.train import Optimizer, Train
from cv_pipelines.models import builder
from cv_pipelines.tasks.optimizers import encoder_layers, make_optimizer, make_scheduler, parameter_groups


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


RULES = {
    "plain": ({"name": "sgd", "momentum": 0.0}, [1.9, 1.715]),
    "heavy ball": ({"name": "sgd", "momentum": 0.5, "nesterov": False}, [1.9, 1.665]),
    "nesterov": ({"name": "sgd", "momentum": 0.5}, [1.85, 1.5475]),
    "adagrad": ({"name": "adagrad"}, [1.9, 1.9 - 0.1 * 1.85 / (1 + 1.85**2) ** 0.5]),
    "lion": ({"name": "lion"}, [1.9, 1.8]),
}
"""Steps from w = 2 with lr 0.1, where the gradient is 1, then 1.85, worked by hand."""


@pytest.mark.parametrize("rule", RULES)
def test_two_steps_are_those_worked_by_hand(rule):
    options, wanted = RULES[rule]
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 2.0)
    optimizer = make_optimizer(layer, Optimizer(lr=0.1, **options))
    found = []
    for gradient in (1.0, 1.85):
        layer.weight.grad = torch.tensor([[gradient]])
        optimizer.step()
        found.append(layer.weight.item())
    assert found == pytest.approx(wanted, abs=1e-6)


def test_rmsprop_and_adam_are_those_worked_by_hand():
    # rmsprop: v = 0.5 * 1, step 0.1 / sqrt(0.5). adam: both averages are unbiased, so the first step is lr.
    for options, wanted in (
        ({"name": "rmsprop", "alpha": 0.5}, 2 - 0.1 / 0.5**0.5),
        ({"name": "rmsprop", "alpha": 0.5, "momentum": 0.9}, 2 - 0.1 / 0.5**0.5),
        ({"name": "adam"}, 1.9),
        ({"name": "adam", "eps": 1.0}, 1.95),
        ({"name": "adamw", "weight_decay": 0.5}, 2 * (1 - 0.1 * 0.5) - 0.1),
    ):
        layer = nn.Linear(1, 1, bias=False)
        nn.init.constant_(layer.weight, 2.0)
        layer.weight.grad = torch.ones(1, 1)
        make_optimizer(layer, Optimizer(lr=0.1, **options)).step()
        assert layer.weight.item() == pytest.approx(wanted, abs=1e-5), options


def test_muon_steps_matrices_by_an_orthogonal_one_and_leaves_vectors_to_adamw(model):
    layer = nn.Linear(4, 4)
    before, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    layer.weight.grad, layer.bias.grad = torch.randn(4, 4), torch.ones(4)
    make_optimizer(layer, Optimizer(name="muon", lr=0.01)).step()
    step = torch.linalg.svdvals(before - layer.weight.detach())
    # Newton-Schulz with these coefficients takes singular values to about 1, not exactly (Jordan et al. 2024)
    assert float(step.max() / step.min()) < 2.5
    assert torch.allclose(bias - layer.bias.detach(), torch.full((4,), 0.01), atol=1e-4)
    conv = model.encoder[0]
    conv.weight.grad = torch.randn_like(conv.weight)
    make_optimizer(model, Optimizer(name="muon", lr=0.01, momentum=0.9, nesterov=True)).step()


@pytest.mark.parametrize("name", sorted(Optimizer.options))
def test_each_rule_takes_its_options_and_its_state_comes_back(model, name):
    values = {
        "momentum": 0.8,
        "nesterov": True,
        "betas": [0.5, 0.9],
        "eps": 1e-3,
        "alpha": 0.5,
        "centered": True,
    }
    options = {key: values[key] for key in Optimizer.options[name]}
    optimizer = make_optimizer(model, Optimizer(name=name, lr=0.1, **options))
    group = optimizer.param_groups[0]
    for key, value in options.items():
        assert group[key] == (tuple(value) if key == "betas" else value)
    assert make_optimizer(model, Optimizer(name=name, lr=0.1)).param_groups  # each has usual values


def test_sgd_looks_ahead_wherever_there_is_momentum(model):
    groups = [
        make_optimizer(model, Optimizer(name="sgd", lr=0.1, momentum=m)).param_groups[0] for m in (None, 0.0)
    ]
    assert [(g["momentum"], g["nesterov"]) for g in groups] == [(0.9, True), (0.0, False)]


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


def test_step_falls_at_its_milestones(model):
    assert rates(model, "step") == pytest.approx([0.1] * 5 + [0.01] * 3 + [0.001] * 2)  # round(7.5) is 8
    found = rates(model, "step", milestones=[0.2], factor=0.5)
    assert found == pytest.approx([0.1] * 2 + [0.05] * 8)


def test_polynomial_falls_to_zero(model):
    assert rates(model, "polynomial", power=1.0) == pytest.approx([0.1 * (1 - i / 10) for i in range(10)])
    assert rates(model, "polynomial", power=2.0)[5] == pytest.approx(0.1 * 0.25)


@pytest.mark.parametrize("name", ["constant", "cosine", "plateau", "polynomial", "step"])
def test_any_schedule_may_begin_with_a_straight_rise(model, name):
    found = rates(model, name, warmup=0.3)
    assert found[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    rest = rates(model, name, steps=7)
    assert found[3:] == pytest.approx(rest)


def test_a_run_of_one_step_may_warm_up(model):
    assert rates(model, "cosine", steps=1, warmup=0.5) == pytest.approx([0.05])


@pytest.mark.parametrize("warmup", [None, 0.5])
def test_the_rate_of_a_plateau_is_left_to_its_falls(model, warmup):
    more = {} if warmup is None else {"warmup": warmup}
    train = Train(
        epochs=1,
        batch_size=1,
        optimizer=Optimizer(lr=0.1),
        schedule={"name": "plateau", "patience": 1, **more},
    )
    optimizer = make_optimizer(model, train.optimizer)
    scheduler = make_scheduler(optimizer, train, 8)
    rule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", 0.1, 0)
    for _ in range(6):
        optimizer.step()
        scheduler.step()
    rule.step(0.5)
    rule.step(0.5)
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)


def test_layers_of_an_encoder_learn_less_the_nearer_they_are_to_the_input():
    model = builder("residual_cnn")(1, 3, channels=[4, 8], blocks=1)
    layers = encoder_layers(model)
    assert {name: layers[f"encoder.{name}"] for name in ("0.weight", "1.bias", "3.body.0.weight")} == {
        "0.weight": 0,
        "1.bias": 0,  # the norm belongs to its convolution
        "3.body.0.weight": 1,
    }
    groups = parameter_groups(
        model, Optimizer(lr=0.1, layer_decay=0.5, encoder_lr_scale=0.8, weight_decay=0.01)
    )
    assert settings_of(groups, model.encoder[0].weight) == pytest.approx((0.1 * 0.8 / 8, 0.01))
    assert settings_of(groups, model.encoder[1].bias) == pytest.approx((0.1 * 0.8 / 8, 0.0))
    assert settings_of(groups, model.encoder[4].body[0].weight) == pytest.approx((0.1 * 0.8 / 2, 0.01))
    assert settings_of(groups, model.head[-1].weight) == (0.1, 0.01)


@pytest.mark.parametrize(
    ("name", "depth"), [("efficientnet_lite0", 9), ("pretrained_segmenter", 8), ("unet", 4)]
)
def test_every_encoder_has_layers(name, depth):
    options = {} if name == "unet" else {"weights": "none"}
    layers = encoder_layers(builder(name)(3, 3, **options))
    assert sorted(set(layers.values())) == list(range(depth))
