"""Memory: what the C library does with what a training frees, and what loader workers share."""

from __future__ import annotations

import ctypes
import gc
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Keys of mallopt(3)."""

LARGEST_MMAP_THRESHOLD = 32 << 20
"""The most that glibc accepts on 64-bit machines, in bytes."""


def keep_freed_memory() -> None:
    """Let this process, and workers that it forks later, keep memory that is freed for what comes next.

    glibc gives blocks of some megabytes, as batches of images are, back to the system and takes them anew,
    page by page: a fault each, which took a third of a loader's time. Up to a gigabyte is kept. Does nothing
    where the C library is another.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        library.mallopt(M_TRIM_THRESHOLD, 1 << 30)


def share_what_is_there(worker: int) -> None:
    """Let a loader worker share with its parent what it was forked with, however long it lives.

    Python's garbage collector writes to each object that it looks at, and so copies the page that it is on:
    a hundred megabytes a worker. What is there is taken from its sight.

    Args:
        worker: number of the worker, as loaders give it.
    """
    gc.freeze()
