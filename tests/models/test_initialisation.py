"""First weights: their spread is that of the paper, whatever the layer."""

import pytest
import torch
from torch import nn

from cv_pipelines.models import builder
from cv_pipelines.models.initialisation import INITIALISERS, initialise

LAYERS = {
    "linear": (nn.Linear(300, 200), 300, 200),
    "convolution": (nn.Conv2d(30, 20, 3), 270, 180),
    "signal": (nn.Conv1d(60, 40, 5), 300, 200),
    "transposed": (nn.ConvTranspose2d(30, 20, 3), 270, 180),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_the_deviation_is_that_of_the_paper(kind, distribution):
    layer, fan_in, fan_out = LAYERS[kind]
    torch.manual_seed(0)
    for name, options, wanted in (
        ("he", {"distribution": distribution}, (2 / fan_in) ** 0.5),
        ("he", {"distribution": distribution, "mode": "fan_out"}, (2 / fan_out) ** 0.5),
        ("xavier", {"distribution": distribution}, (2 / (fan_in + fan_out)) ** 0.5),
        ("normal", {"std": 0.3}, 0.3),
    ):
        initialise(layer, name, options)
        assert layer.weight.std().item() == pytest.approx(wanted, rel=0.05)
        bounded = layer.weight.abs().max().item() <= wanted * 3**0.5 + 1e-6
        assert bounded == (distribution == "uniform" and name != "normal")
        assert (layer.bias == 0).all()


@pytest.mark.parametrize("name", INITIALISERS)
def test_it_depends_on_the_seed_alone_and_norms_stay(name):
    found = []
    for _ in range(2):
        model = builder("residual_cnn")(1, 3, channels=[4, 8], blocks=1)
        torch.manual_seed(7)
        initialise(model, name, {})
        found.append(model.state_dict())
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])
    assert (found[0]["encoder.1.weight"] == 1).all()


def test_he_keeps_the_signal_through_layers_where_small_weights_lose_it():
    spread = {}
    for name in ("he", "normal"):
        torch.manual_seed(0)
        net = nn.Sequential(*(layer for _ in range(10) for layer in (nn.Linear(256, 256), nn.ReLU())))
        initialise(net, name, {})
        spread[name] = net(torch.randn(64, 256)).std().item()
    assert 0.3 < spread["he"] < 3
    assert spread["normal"] < 1e-6
