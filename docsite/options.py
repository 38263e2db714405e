"""Options that a name brings with it: keyword-only arguments of readers, models, tasks and the like."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

from docsite.docstrings import docstring_of
from docsite.markdown import table
from docsite.values import allowed, shown_default

HEAD = ("option", "value", "default", "meaning")


def options_of(function: Callable[..., Any], documented: Any = None) -> str:
    """Make the table of a function's options, or say that there are none.

    Args:
        function: whose keyword-only arguments are the options.
        documented: whose docstring tells their meaning; the function if not given.
    """
    hints = get_type_hints(function, include_extras=True)
    meanings = docstring_of(documented or function).meanings
    rows = [
        (f"`{key}`", allowed(hints.get(key, Any)), shown_default(p.default), meanings.get(key, ""))
        for key, p in inspect.signature(function).parameters.items()
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    return table(HEAD, rows) if rows else "No options."
