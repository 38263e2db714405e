"""Processes that share work: who they are, and whether they are still there."""

from __future__ import annotations

import os
import socket


def worker() -> str:
    """Return the name of this process: `machine:number`."""
    return f"{socket.gethostname()}:{os.getpid()}"


def gone(name: str) -> bool:
    """Whether a process of this machine is no more; of other machines nothing is known, so False."""
    host, _, pid = name.rpartition(":")
    return host == socket.gethostname() and not alive(int(pid))


def alive(pid: int) -> bool:
    """Whether this machine has a process of a number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
