"""Batch norms that see the whole batch of a training whose samples are divided among several processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Total(torch.autograd.Function):
    """The sum of a tensor over all ranks; each rank's part has the sum of all gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Add up."""
        del ctx
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Add up what each rank's loss makes of the sum."""
        del ctx
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total


class OnGpus(nn.SyncBatchNorm):
    """PyTorch's own."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, …) by the statistics of the whole batch in training, else by the running ones."""
        return _then(self, super().forward(x))


class OnCpus(_BatchNorm):
    """The same for CPUs, which PyTorch's own refuses: mean and variance of all ranks' samples."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, …) by the statistics of the whole batch in training, else by the running ones."""
        return _then(self, self._normalised(x) if self.training else super().forward(x))

    def _check_input_dim(self, input: Tensor) -> None:
        """Take any number of axes."""

    def _normalised(self, x: Tensor) -> Tensor:
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        values = x.float()
        count = Total.apply(torch.tensor(float(x.numel() // x.shape[1])))
        mean = Total.apply(values.sum(axes)) / count
        centred = values - mean.view(shape)
        variance = Total.apply(centred.square().sum(axes)) / count
        self._note(mean.detach(), variance.detach() * count / (count - 1).clamp_min(1))
        normal = centred * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            normal = normal * self.weight.view(shape)
        if self.bias is not None:
            normal = normal + self.bias.view(shape)
        return normal.to(x.dtype)

    def _note(self, mean: Tensor, variance: Tensor) -> None:
        """Take a batch into the running statistics, as batch norms do."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1.0 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def _then(norm: _BatchNorm, x: Tensor) -> Tensor:
    """Do what timm lets a batch norm do beside: drop, activate."""
    for child in norm.children():
        x = child(x)
    return x


def synchronise(model: nn.Module, gpu: bool) -> nn.Module:
    """Put synchronised batch norms in the place of a model's plain ones; weights and names stay.

    Args:
        model: that is changed, unless it is a norm itself.
        gpu: whether it will be trained on GPUs.
    """
    if isinstance(model, _BatchNorm):
        return _synchronised(model, OnGpus if gpu else OnCpus)
    for name, child in model.named_children():
        setattr(model, name, synchronise(child, gpu))
    return model


def _synchronised(norm: _BatchNorm, kind: type[OnGpus] | type[OnCpus]) -> _BatchNorm:
    twin = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    twin.weight, twin.bias = norm.weight, norm.bias
    twin.running_mean, twin.running_var = norm.running_mean, norm.running_var
    twin.num_batches_tracked = norm.num_batches_tracked
    for name, child in norm.named_children():
        twin.add_module(name, child)
    return twin.train(norm.training)
