"""The ranks of a training: which of its processes this one is, its share of the data, what all agree on.

Where a training has one process, every function is a plain one: nothing is sent, nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.utils.data import BatchSampler, Sampler

from cv_pipelines.data.datasets import EpochSampler
from cv_pipelines.errors import ConfigError

T = TypeVar("T")

PATIENCE = timedelta(hours=2)
"""How long ranks wait for what one of them does alone, such as scoring a large validation split."""

_objects: list[Any] = []
"""The group over which objects are sent, where there is one; gradients have that of the GPUs."""


def world() -> int:
    """Return how many ranks there are; 1 for a training in one process."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Return this process's number, from 0."""
    return distributed.get_rank() if world() > 1 else 0


@contextmanager
def joined(gpu: int | None) -> Iterator[None]:
    """Join the other ranks, whom the environment names as torchrun sets it, and leave them at the end.

    Args:
        gpu: this rank's GPU; None for a training on CPUs.
    """
    if gpu is not None:
        torch.cuda.set_device(gpu)
    device = None if gpu is None else torch.device("cuda", gpu)
    distributed.init_process_group("gloo" if gpu is None else "nccl", timeout=PATIENCE, device_id=device)
    _objects.append(distributed.new_group(backend="gloo", timeout=PATIENCE))
    try:
        yield
        wait()  # nobody leaves while another one still reads from it
    finally:
        _objects.pop()
        distributed.destroy_process_group()


def wait() -> None:
    """Wait until all ranks have come here."""
    if world() > 1:
        distributed.barrier(_group())


def _group() -> Any:
    return _objects[-1] if _objects else None


def first(make: Callable[[], T]) -> T:
    """Let rank 0 do something alone; every rank is given what came of it."""
    if world() == 1:
        return make()
    held = [make() if rank() == 0 else None]
    distributed.broadcast_object_list(held, src=0, group=_group())
    value: Any = held[0]
    return value


def gathered(value: T) -> list[T]:
    """Return the values of all ranks, in their order, on every rank."""
    if world() == 1:
        return [value]
    found: list[Any] = [None] * world()
    distributed.all_gather_object(found, value, group=_group())
    return found


def brought(value: T) -> list[T]:
    """Return the values of all ranks, in their order, on rank 0, and nothing on the others."""
    if world() == 1:
        return [value]
    found: list[Any] | None = [None] * world() if rank() == 0 else None
    distributed.gather_object(value, found, dst=0, group=_group())
    return found or []


def any_rank(flag: bool) -> bool:
    """Whether something holds for any of the ranks; the same answer on all."""
    if world() == 1:
        return flag
    votes = torch.tensor(int(flag))
    distributed.all_reduce(votes, distributed.ReduceOp.MAX, group=_group())
    return bool(votes)


def total(value: float) -> float:
    """Return the sum over all ranks, on every rank."""
    if world() == 1:
        return value
    found = torch.tensor(value, dtype=torch.float64)
    distributed.all_reduce(found, group=_group())
    return float(found)


def part(items: Sequence[T], number: int, parts: int) -> Sequence[T]:
    """Return one of some consecutive parts, whose lengths differ by one at most."""
    return items[number * len(items) // parts : (number + 1) * len(items) // parts]


class RankBatches(Sampler[list[tuple[int, int]]]):
    """This rank's part of each batch that one process would train on: the same samples, in the same order.

    Args:
        sampler: gives the samples of an epoch; Lightning tells it the epoch.
        batch: samples of a step, over all ranks.
        drop_last: leave out a last batch that is smaller.
        number: of this rank, from 0.
        ranks: how many there are.

    Raises:
        ConfigError: a batch has fewer samples than there are ranks.
    """

    def __init__(self, sampler: EpochSampler, batch: int, drop_last: bool, number: int, ranks: int) -> None:
        self.sampler, self.batch, self.drop_last = sampler, batch, drop_last
        self.number, self.ranks = number, ranks
        smallest = min(batch, batch if drop_last else len(sampler) % batch or batch)
        if smallest < ranks:
            raise ConfigError(
                f"train.batch_size: {len(sampler)} samples in batches of {batch} leave one of {smallest}, "
                f"less than a sample for each of {ranks} ranks; take fewer devices or another batch_size"
            )

    def __len__(self) -> int:
        return len(self.sampler) // self.batch if self.drop_last else -(-len(self.sampler) // self.batch)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        keys: Any = self.sampler  # typed as if samplers gave whole numbers alone
        whole: Any = BatchSampler(keys, self.batch, self.drop_last)
        for batch in whole:
            yield list(part(batch, self.number, self.ranks))

    def size(self, step: int) -> int:
        """Return the samples of an epoch's batch over all ranks, counted from 0."""
        return min(self.batch, len(self.sampler) - step * self.batch)


def validation_batches(length: int, batch: int, number: int, ranks: int) -> list[list[int]]:
    """Divide samples among ranks so that each is in one batch of one rank; none is there twice.

    All ranks have equally many batches, as sharded models need, and their parts follow each other in order.

    Args:
        length: how many samples there are.
        batch: samples of a step, over all ranks; a rank's batch may have one more than its share of it.
        number: of the rank whose batches are asked for.
        ranks: how many there are.

    Raises:
        ConfigError: there are fewer samples than ranks.
    """
    if length < ranks:
        raise ConfigError(f"train.devices: {length} validation samples are less than one for each of {ranks}")
    own = part(range(length), number, ranks)
    count = -(-(length // ranks) // max(batch // ranks, 1))
    return [list(part(own, step, count)) for step in range(count)]
