"""What the C library does with memory that a training frees."""

from __future__ import annotations

import ctypes
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
