"""Nodes whose function is told first what it works for: an experiment, a source, a study."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial, wraps
from types import CodeType
from typing import Any


def told(function: Callable[..., Any], *first: Any) -> Callable[..., Any]:
    """Bind the first arguments of a node's function.

    What comes back is a function, with the name, the docstring, the source and the file of the one given: of
    a `functools.partial`, kedro-viz would show no code.
    """

    @wraps(function)
    def bound(*args: Any, **kwargs: Any) -> Any:
        """Replaced by the docstring of the function given."""
        return function(*first, *args, **kwargs)

    # Kedro checks a node's inputs by it.
    bound.__signature__ = inspect.signature(partial(function, *first))  # type: ignore[attr-defined]
    place = inspect.unwrap(function).__code__
    code: CodeType = bound.__code__  # type: ignore[attr-defined]
    own = {"co_filename": place.co_filename, "co_firstlineno": place.co_firstlineno}
    bound.__code__ = code.replace(**own)  # type: ignore[attr-defined]
    return bound
