"""Batch, group or no normalisation, and stochastic depth, in the models that offer them."""

import pytest
import torch
from torch import nn

from cv_pipelines.models import builder
from cv_pipelines.models.normalisation import group_count

MODELS = {
    "conv_autoencoder": ({"channels": [4, 8], "blocks": 1, "code": 2}, (2, 3, 16, 16)),
    "inception_1d": ({"filters": 2, "kernels": [3, 5], "blocks": 2, "pool_after": [1]}, (2, 6, 32)),
    "residual_cnn": ({"channels": [4, 8], "blocks": 1}, (2, 3, 16, 16)),
    "unet": ({"channels": [4, 8]}, (2, 3, 16, 16)),
}
NORMS = {"batch": (nn.BatchNorm1d, nn.BatchNorm2d), "group": (nn.GroupNorm,), "none": ()}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("norm", NORMS)
def test_a_model_has_only_the_norm_that_is_asked_for(name, norm):
    options, shape = MODELS[name]
    model = builder(name)(shape[1], 3, norm=norm, **options)
    norms = [m for m in model.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm))]
    assert all(isinstance(layer, NORMS[norm]) for layer in norms)
    assert bool(norms) == (norm != "none")
    biased = [m for m in model.modules() if isinstance(m, (nn.Conv1d, nn.Conv2d)) and m.kernel_size[0] > 1]
    assert all((layer.bias is not None) == (norm == "none") for layer in biased[:-1])
    model(torch.randn(shape)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_without_a_batch_norm_a_sample_does_not_depend_on_its_batch():
    model = builder("residual_cnn")(3, 3, norm="group", **MODELS["residual_cnn"][0]).train()
    x = torch.randn(4, 3, 16, 16)
    assert torch.allclose(model(x)[:1], model(x[:1]), atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "groups"), [(4, 1), (16, 4), (24, 6), (96, 24), (128, 32), (256, 32), (7, 1)]
)
def test_groups_divide_the_channels(channels, groups):
    assert group_count(channels) == groups


@pytest.mark.parametrize("name", ["inception_1d", "residual_cnn"])
def test_deeper_blocks_are_skipped_more_often_and_none_in_prediction(name):
    options, shape = MODELS[name]
    model = builder(name)(shape[1], 3, stochastic_depth=0.5, **{**options, "blocks": 2})
    chances = [block.depth.p for block in model.encoder if hasattr(block, "depth")]
    assert chances == pytest.approx([0.5 * (i + 1) / len(chances) for i in range(len(chances))])
    x = torch.randn(shape).repeat(8, *[1] * (len(shape) - 1))
    torch.manual_seed(0)
    first = model.train()(x)
    torch.manual_seed(0)
    assert torch.equal(first, model(x))  # drawn from torch's state, which every step seeds
    assert not torch.equal(first, model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_a_skipped_block_is_its_shortcut():
    block = builder("residual_cnn")(4, 3, channels=[4], blocks=1).encoder[3]
    block.depth.p = 1.0
    x = torch.rand(2, 4, 8, 8)
    assert torch.equal(block.train()(x), x)
