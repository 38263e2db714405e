"""Where a classifier looks: class activation maps by gradients (Selvaraju et al. 2017), feature maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

SMALLEST_SIDE = 4
"""Positions a side (or in time) that a layer's maps should have: a coarser one says little of places."""


@dataclass(frozen=True)
class Layer:
    """A module whose output is a map.

    Attributes:
        name: as in `named_modules`.
        positions: shape of the map, (h, w) or (t,).
    """

    name: str
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Maps:
    """What a model computed for N samples.

    Attributes:
        cams: (N, K, *positions) float32, 0 or more: the maps of the K classes asked for, in units of logits.
        features: layer to its (N, channels, *positions) float32 output.
    """

    cams: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)


def map_layers(model: nn.Module, x: Tensor) -> list[Layer]:
    """Return the modules whose output is a map of more than one position, in the order they end.

    Args:
        model: in evaluation mode.
        x: (1, C, *positions), a sample.
    """
    with torch.no_grad(), _recorded(model, [name for name, _ in model.named_modules() if name]) as kept:
        model(x)
    return [
        Layer(name, tuple(output.shape[2:])) for name, output in kept.items() if output.shape[2:].numel() > 1
    ]


def explained_layer(layers: Sequence[Layer]) -> Layer:
    """Choose the last layer whose maps are `SMALLEST_SIDE` a side, or the last one.

    Raises:
        ValueError: there is none.
    """
    if not layers:
        raise ValueError("no layer of the model gives a map, so nothing says where it looks")
    fine = [layer for layer in layers if min(layer.positions) >= SMALLEST_SIDE]
    return (fine or layers)[-1]


def depths(layers: Sequence[Layer], count: int = 3) -> list[Layer]:
    """Choose up to `count` layers from the input to the output, each the last one of its resolution."""
    last = list({layer.positions: layer for layer in layers}.values())
    steps = [round(i * (len(last) - 1) / max(count - 1, 1)) for i in range(count)]
    return [last[i] for i in sorted(set(steps))] if last else []


def grad_cam(model: nn.Module, x: Tensor, classes: Tensor, layer: str, features: Sequence[str] = ()) -> Maps:
    """Compute the gradient-weighted class activation maps of some classes.

    The weight of a channel is the mean over all positions of the gradient of the class's logit by the
    channel's map; the map is the positive part of the weighted sum of the channels (Selvaraju et al. 2017,
    eq. 1 and 2). Behind the layer a model may do what it will; where that is global average pooling and one
    linear layer, this is the map of Zhou et al. 2016, divided by the number of positions.

    Args:
        model: in evaluation mode; its weights and their gradients are left as they are.
        x: (N, C, *positions) float.
        classes: (N, K) int64.
        layer: name of the module whose maps are weighted.
        features: names of modules whose outputs are returned, too.
    """
    with torch.inference_mode(False), torch.enable_grad(), _recorded(model, [layer, *features]) as kept:
        logits = model(x.clone().requires_grad_())
        maps = kept[layer]
        cams = []
        for column in classes.clone().T:
            score = logits.gather(1, column[:, None]).sum()  # samples do not depend on each other
            (gradient,) = torch.autograd.grad(score, maps, retain_graph=True)
            weights = gradient.flatten(2).mean(dim=2)
            cams.append(torch.einsum("nc,nc...->n...", weights, maps).relu())
    found = {name: kept[name].detach().float().cpu() for name in features}
    return Maps(torch.stack(cams, dim=1).detach().float().cpu(), found)


@contextmanager
def _recorded(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Keep the outputs of modules that are (N, C, *positions), in the order they end."""
    kept: dict[str, Tensor] = {}

    def keep(name: str, output: object) -> None:
        """Keep an output; of a module that runs twice the last one."""
        if isinstance(output, Tensor) and output.ndim >= 3 and output.is_floating_point():
            kept.pop(name, None)
            kept[name] = output

    modules = dict(model.named_modules())
    handles = [
        modules[name].register_forward_hook(lambda module, given, output, name=name: keep(name, output))
        for name in dict.fromkeys(names)
    ]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()
