"""Asking what may never answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

ResultT = TypeVar("ResultT")


def within(seconds: float, call: Callable[[], ResultT]) -> ResultT:
    """Call something in a thread of its own, and wait for its answer only so long.

    Raises:
        TimeoutError: there is none yet; the thread is left to itself and does not keep the process alive.
        Exception: what the call raised.
    """
    answers: list[ResultT] = []
    errors: list[Exception] = []

    def ask() -> None:
        """Call, and keep the answer or the error for the thread that waits."""
        try:
            answers.append(call())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return answers[0]
