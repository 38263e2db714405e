"""Class activation maps: against Zhou's map, by hand, and on every classifier there is."""

import pytest
import torch
from torch import nn

from cv_pipelines.error_analysis.grad_cam import Layer, depths, explained_layer, grad_cam, map_layers
from cv_pipelines.models import builder


class Pooled(nn.Module):
    """Two convolutions, global average pooling, one linear layer: the network of Zhou et al. 2016."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1))
        self.linear = nn.Linear(5, 3)

    def forward(self, x):
        return self.linear(self.features(x).mean(dim=(2, 3)))


@pytest.fixture
def pooled():
    torch.manual_seed(0)
    return Pooled().eval()


def test_behind_global_pooling_it_is_the_map_of_zhou(pooled):
    x, classes = torch.randn(4, 3, 7, 6), torch.tensor([[0, 1], [2, 0], [1, 1], [0, 2]])
    maps = grad_cam(pooled, x, classes, "features")
    with torch.no_grad():
        zhou = torch.einsum("kc,nchw->nkhw", pooled.linear.weight, pooled.features(x))
    wanted = zhou[torch.arange(4)[:, None], classes].relu() / (7 * 6)
    torch.testing.assert_close(maps.cams, wanted)


def test_by_hand():
    # one channel that copies the image, and a head that weighs its four pixels: the weight is their mean
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Flatten(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[2].weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 2.0], [-1.0, -1.0, 0.0, 0.0]]))
    x = torch.tensor([[[[1.0, -1.0], [2.0, 0.0]]]])
    maps = grad_cam(model, x, torch.tensor([[0, 1]]), "0", ["0"])
    assert maps.cams[0, 0].tolist() == [[2.0, 0.0], [4.0, 0.0]]  # weight 2
    assert maps.cams[0, 1].tolist() == [
        [0.0, 0.5],
        [0.0, 0.0],
    ]  # weight -1/2: only the dark pixel speaks for it
    assert maps.features["0"].tolist() == x.tolist()


def test_a_sample_is_explained_alike_alone_and_among_others(pooled):
    x, classes = torch.randn(3, 3, 6, 6), torch.tensor([[0], [1], [2]])
    together = grad_cam(pooled, x, classes, "features").cams
    alone = torch.cat([grad_cam(pooled, x[i : i + 1], classes[i : i + 1], "features").cams for i in range(3)])
    torch.testing.assert_close(together, alone)


def test_the_model_is_left_as_it_was(pooled):
    before = {name: value.clone() for name, value in pooled.state_dict().items()}
    with torch.inference_mode():
        grad_cam(pooled, torch.randn(1, 3, 6, 6), torch.tensor([[0]]), "features")
    assert all(torch.equal(before[name], value) for name, value in pooled.state_dict().items())
    assert all(parameter.grad is None for parameter in pooled.parameters())
    assert not any(module._forward_hooks for module in pooled.modules())


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("residual_cnn", (1, 16, 16), {"channels": [4, 8, 8], "blocks": 1}),
        ("inception_1d", (6, 64), {"filters": 2, "blocks": 2}),
        ("efficientnet_lite0", (3, 64, 64), {"weights": "none"}),
    ],
)
def test_every_classifier_has_maps(name, shape, options):
    torch.manual_seed(0)
    model = builder(name)(shape[0], 3, **options).eval()
    x = torch.randn(2, *shape)
    layers = map_layers(model, x[:1])
    layer = explained_layer(layers)
    maps = grad_cam(
        model, x, torch.tensor([[0, 1], [2, 1]]), layer.name, [one.name for one in depths(layers)]
    )
    assert maps.cams.shape == (2, 2, *layer.positions)
    assert (maps.cams >= 0).all()
    assert maps.cams.isfinite().all()
    assert [tuple(maps.features[one.name].shape[2:]) for one in depths(layers)] == [
        one.positions for one in depths(layers)
    ]
    assert min(layer.positions) >= 4 or len({one.positions for one in layers}) == 1


def test_of_layers_the_last_that_is_fine_enough_is_explained():
    layers = [Layer("a", (8, 8)), Layer("b", (4, 4)), Layer("c", (2, 2))]
    assert explained_layer(layers).name == "b"
    assert explained_layer(layers[2:]).name == "c"
    with pytest.raises(ValueError, match="no layer"):
        explained_layer([])


def test_depths_are_the_last_of_each_resolution():
    layers = [Layer(n, p) for n, p in zip("abcdefg", [(8,), (8,), (4,), (4,), (3,), (2,), (2,)], strict=True)]
    assert [one.name for one in depths(layers)] == ["b", "e", "g"]
    assert [one.name for one in depths(layers[:3])] == ["b", "c"]
    assert depths([]) == []


def test_a_model_that_flattens_first_has_no_maps():
    assert map_layers(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), torch.randn(1, 1, 4, 4)) == []
