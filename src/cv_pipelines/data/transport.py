"""Batches on their way from loader workers to the training process, through memory that is used again.

PyTorch makes a file in shared memory for every tensor that a worker sends. The system clears its pages, and
both processes meet each of them anew, which took as long as reading the images from a packed cache. Here
a worker keeps a few such pieces of memory, each with room for a batch, and writes to one again as soon as
nothing in the training process looks at it any more.
"""

from __future__ import annotations

import itertools
import multiprocessing
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from cv_pipelines.data.memory import share_what_is_there

PIECES = 8
"""Pieces that a worker keeps: batches fetched ahead, that in training, and a few that somebody holds."""

ALIGNED = 64
"""Bytes that each tensor begins at a multiple of; the first byte of a piece says whether it is in use."""


class Transport:
    """Collates samples; where it is a loader's worker that does, the batch travels through reused memory.

    A batch that finds no piece free goes PyTorch's way, so one may be held for as long as one likes.

    Args:
        collate: makes a batch of samples: tensors in dicts and lists, which may be nested.
    """

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate
        self.key = next(_keys)
        self._pieces: list[Tensor] = []
        self._mapped: dict[int, dict[int, Tensor]] = {}
        _transports[self.key] = self

    def __reduce__(self) -> Any:
        """Travel to a worker that is not forked without what the training process has mapped."""
        return _in_worker, (self.collate, self.key)

    def __call__(self, items: list[Any]) -> Any:
        """Collate some samples."""
        batch = self.collate(items)
        if get_worker_info() is None:
            return batch
        parts: list[_Part] = []
        tensors: list[Tensor] = []
        form = _taken_apart(batch, parts, tensors)
        piece = self._free(parts[-1].end) if parts else None
        if piece is None:
            return batch
        for part, tensor in zip(parts, tensors, strict=True):
            part.of(piece.numpy()[part.start : part.end]).copy_(tensor)
        piece[0] = 1
        return _Message((self.key, multiprocessing.current_process().pid, piece, form))

    def _free(self, size: int) -> Tensor | None:
        """Return a piece of so many bytes or more that nothing looks at; None if there is none to be had."""
        idle = [piece for piece in self._pieces if not piece[0]]
        for piece in idle:
            if size <= len(piece) <= 2 * size:
                return piece
        if len(self._pieces) == PIECES:
            if not idle:
                return None
            self._pieces = [piece for piece in self._pieces if piece is not idle[0]]
        shared = torch.zeros(size, dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]
        self._pieces.append(shared)
        return self._pieces[-1]

    def keep(self, worker: int, piece: Tensor) -> None:
        """Keep a worker's piece mapped for the next batch in it; let go those of workers that have ended."""
        if worker not in self._mapped:
            alive = {child.pid for child in multiprocessing.active_children()}
            self._mapped = {pid: pieces for pid, pieces in self._mapped.items() if pid in alive}
        pieces = self._mapped.setdefault(worker, {})
        pieces[piece.data_ptr()] = piece
        if len(pieces) > PIECES:  # the worker has given one up for a larger one
            del pieces[next(iter(pieces))]


def with_workers(count: int, collate: Callable[[list[Any]], Any]) -> dict[str, Any]:
    """Return the arguments of a `DataLoader` that let it and its workers share their memory.

    Args:
        count: of the workers; with 0 the process loads by itself.
        collate: see `Transport`.
    """
    return {
        "num_workers": count,
        "worker_init_fn": share_what_is_there,
        "collate_fn": Transport(collate),
    }


_keys = itertools.count()
_transports: weakref.WeakValueDictionary[int, Transport] = weakref.WeakValueDictionary()
"""Those of this process; what they have mapped goes with them."""


def _in_worker(collate: Callable[[list[Any]], Any], key: int) -> Transport:
    transport = Transport(collate)
    transport.key = key
    return transport


@dataclass(frozen=True)
class _Part:
    """Where in a piece a tensor lies, and how."""

    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    order: tuple[int, ...]  # of its axes in memory, the slowest first

    @property
    def end(self) -> int:
        """Where the next one may begin, in bytes."""
        size = int(np.prod(self.shape)) * self.dtype.itemsize
        return -(-(self.start + size) // ALIGNED) * ALIGNED

    def of(self, room: np.ndarray) -> Tensor:
        """View the tensor in `piece[start:end]`, which it keeps alive."""
        laid = [self.shape[axis] for axis in self.order]
        values = torch.from_numpy(room)[: int(np.prod(self.shape)) * self.dtype.itemsize]
        return values.view(self.dtype).view(laid).permute([self.order.index(k) for k in range(len(laid))])


class _Message:
    """What a worker sends in place of a batch; the batch is made as it is read."""

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self.arguments = arguments

    def __reduce__(self) -> Any:
        return _read, self.arguments


def _taken_apart(value: Any, parts: list[_Part], tensors: list[Tensor]) -> Any:
    """Put a part in the place of each plain tensor of a batch, and gather the tensors."""
    if type(value) is dict:
        return {key: _taken_apart(item, parts, tensors) for key, item in value.items()}
    if type(value) is list:
        return [_taken_apart(item, parts, tensors) for item in value]
    if type(value) is not Tensor or value.layout != torch.strided or value.device.type != "cpu":
        return value
    order = sorted(range(value.ndim), key=value.stride, reverse=True)
    start = parts[-1].end if parts else ALIGNED
    parts.append(_Part(start, tuple(value.shape), value.dtype, tuple(order)))
    tensors.append(value)
    return parts[-1]


def _parts(value: Any) -> Iterator[_Part]:
    """Yield the parts of a batch that was taken apart."""
    if isinstance(value, _Part):
        yield value
    elif type(value) in (dict, list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _parts(item)


def _read(key: int, worker: int, piece: Tensor, form: Any) -> Any:
    """View a batch in a piece of a worker's memory."""
    transport = _transports.get(key)
    if transport is not None:
        transport.keep(worker, piece)
    whole = piece.numpy()
    others: list[None] = [None] * (sum(1 for _ in _parts(form)) - 1)
    return _put_together(form, whole, others)


def _put_together(value: Any, whole: np.ndarray, others: list[None]) -> Any:
    if type(value) is dict:
        return {key: _put_together(item, whole, others) for key, item in value.items()}
    if type(value) is list:
        return [_put_together(item, whole, others) for item in value]
    if not isinstance(value, _Part):
        return value
    room = whole[value.start : value.end]
    weakref.finalize(room, _let_go, whole, others).atexit = False
    return value.of(room)


def _let_go(whole: np.ndarray, others: list[None]) -> None:
    """Note that a tensor of a batch is gone; with the last one its piece is free.

    Tensors may go in several threads: `pop` is done by one at a time, and just one finds nothing left.
    """
    try:
        others.pop()
    except IndexError:
        whole[0] = 0
