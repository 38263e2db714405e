"""What acts on a training between its steps."""

import pytest
import torch
from torch import nn

from cv_pipelines.training.callbacks import Lasso
from cv_pipelines.training.fit import Job, fit


def test_lasso_adds_the_sign_of_matrices_to_their_gradient():
    layer = nn.Linear(2, 1)
    nn.init.constant_(layer.weight, -3.0)
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    Lasso(0.25).on_before_optimizer_step(None, None, torch.optim.SGD(layer.parameters(), 0.1))
    assert layer.weight.grad.tolist() == [[0.75, 0.75]]
    assert layer.bias.grad.tolist() == [1.0]


def test_l1_makes_weights_small(image_source, experiment, tmp_path):
    def size(l1):
        config = experiment("classification", train={"l1": l1, "select": "last", "optimizer": {"lr": 0.02}})
        state = fit(Job("toy", config, image_source, tmp_path / str(l1)))[0][0].state
        return sum(v.abs().sum().item() for v in state.values() if v.ndim > 1)

    assert size(1.0) < 0.9 * size(0.0)


def test_first_weights_are_those_asked_for(image_source, experiment, tmp_path):
    train = {"epochs": 1, "optimizer": {"lr": 1e-9}}
    config = experiment("classification", train, init_weights={"name": "normal", "std": 0.001})
    state = fit(Job("toy", config, image_source, tmp_path / "fit"))[0][0].state
    assert state["encoder.3.body.0.weight"].std().item() == pytest.approx(0.001, rel=0.2)
    assert state["head.3.bias"].abs().max().item() < 1e-6
