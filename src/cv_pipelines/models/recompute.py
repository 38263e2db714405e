"""Gradient checkpointing (Chen et al. 2016): blocks compute their inside again instead of keeping it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from cv_pipelines.models.inception import InceptionBlock
from cv_pipelines.models.residual import ResidualBlock
from cv_pipelines.models.unet import DoubleConv

BLOCKS = (DepthwiseSeparableConv, DoubleConv, InceptionBlock, InvertedResidual, ResidualBlock)


def recompute_blocks(model: nn.Module) -> int:
    """Let the blocks of a model keep their input alone; return how many there are.

    Weights come out the same to the last bit, with less memory and about a third more time: draws (dropout)
    are repeated, and batch norms take a batch into their statistics once.
    """
    blocks = [module for module in model.modules() if isinstance(module, BLOCKS)]
    for block in blocks:
        block.forward = partial(_forward, block, type(block).forward)  # type: ignore[method-assign]
    return len(blocks)


def _forward(block: nn.Module, inside: Any, *inputs: Any) -> Any:
    run = partial(inside, block)
    if not (block.training and torch.is_grad_enabled()):
        return run(*inputs)
    return checkpoint(run, *inputs, use_reentrant=False, context_fn=partial(_contexts, block))


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _statistics_kept(block)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Keep batch norms that see a batch for the second time from counting it twice."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training]
    before = [(norm.momentum, _copy(norm.num_batches_tracked)) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:  # PyTorch leaves the block by an exception as soon as it has what it needs
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None and count is not None:
                norm.num_batches_tracked.copy_(count)


def _copy(count: Tensor | None) -> Tensor | None:
    return None if count is None else count.clone()
