"""What using a model costs, on toy experiments of every kind."""

import pytest
from torch import nn

from cv_pipelines.models import builder
from cv_pipelines.models.origins import ORIGINS
from cv_pipelines.training.costs import measure


@pytest.fixture(scope="module")
def members(sources, experiment, trained):
    tasks = ("classification", "detection", "gan")
    return {task: (experiment(task), sources[task], trained(task)[0][0]) for task in tasks}


@pytest.fixture(scope="module")
def costs(members):
    return measure(members, count=3)


def test_parameters_and_weights_are_those_of_the_checkpoint(members, costs):
    for name, (_, _, checkpoint) in members.items():
        count = sum(p.numel() for p in checkpoint.build().parameters())
        assert costs[name]["parameters"] == count
        assert costs[name]["megabytes"] * 1e6 >= 4 * count
        assert costs[name]["device"] == "cpu"


def test_operations_are_those_of_the_layers(members, costs):
    """By hand: two for each product of every convolution and of the linear layer, on one image."""
    _, data, checkpoint = members["classification"]
    model, total = checkpoint.build(), 0

    def count(module, inputs, output):
        nonlocal total
        total += 2 * output.numel() * module.weight[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    model(data.read(0)[None].float())
    assert costs["classification"]["gigaflops"] * 1e9 == pytest.approx(total)


def test_what_predicts_samples_is_timed(costs):
    assert costs["classification"]["milliseconds"] > 0
    assert costs["detection"]["milliseconds"] > 0
    assert costs["gan"]["milliseconds"] is costs["gan"]["gigaflops"] is None


def test_year_and_novelty_are_the_method_s(costs):
    assert costs["detection"]["model"] == "fcos"
    assert (costs["detection"]["year"], costs["detection"]["novelty"]) == (2019, ORIGINS["fcos"].novelty)
    assert costs["classification"]["year"] is None


def test_every_origin_is_of_a_model_that_can_be_built():
    assert all(callable(builder(name)) for name in ORIGINS)
