"""The first weights of a model that starts from nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor, nn

Distribution = Literal["normal", "uniform"]
LAYERS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)


def he(
    weight: Tensor, *, distribution: Distribution = "normal", mode: Literal["fan_in", "fan_out"] = "fan_in"
) -> None:
    """Keep the variance of activations through ReLUs (He et al. 2015 §2.2): deviation sqrt(2 / fan).

    Args:
        weight: (out, in, …), filled in place.
        distribution: what is drawn from.
        mode: `fan_in` keeps the variance forward, `fan_out` that of the gradient.
    """
    fill = nn.init.kaiming_normal_ if distribution == "normal" else nn.init.kaiming_uniform_
    fill(weight, mode=mode, nonlinearity="relu")


def xavier(weight: Tensor, *, distribution: Distribution = "uniform") -> None:
    """Keep it through linear or tanh layers (Glorot & Bengio 2010 §4.2.1): variance 2 / (fan_in + fan_out).

    Args:
        weight: (out, in, …), filled in place.
        distribution: what is drawn from.
    """
    fill = nn.init.xavier_normal_ if distribution == "normal" else nn.init.xavier_uniform_
    fill(weight)


def normal(weight: Tensor, *, std: Annotated[float, Field(gt=0)] = 0.01) -> None:
    """Draw from N(0, std²) whatever the layer's size, as Krizhevsky et al. 2012 §5 did.

    Args:
        weight: filled in place.
        std: deviation.
    """
    nn.init.normal_(weight, 0.0, std)


INITIALISERS: dict[str, Callable[..., None]] = {"he": he, "normal": normal, "xavier": xavier}


def initialise(model: nn.Module, name: str, options: dict[str, Any]) -> None:
    """Draw the weights of all convolutions and linear layers from torch's state; biases become 0.

    Norms keep their scale 1 and shift 0.

    Args:
        model: changed in place.
        name: a key of `INITIALISERS`.
        options: its keyword arguments.
    """
    for layer in model.modules():
        if isinstance(layer, LAYERS):
            weight = layer.weight.detach()
            # A transposed convolution holds (in, out, …); as fans go, it maps like the others.
            transposed = isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d)
            INITIALISERS[name](weight.transpose(0, 1) if transposed else weight, **options)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
