"""What a value may be, in words: the types and bounds of pydantic models and of signatures."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections import abc
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

PLAIN = {bool: "true or false", int: "whole number", float: "number", str: "text", Any: "anything"}
SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "multiple_of": "a multiple of"}
LISTS = (list, tuple, set, abc.Sequence, abc.Iterable)
REQUIRED = "**required**"


def allowed(annotation: Any, metadata: abc.Iterable[Any] = ()) -> str:
    """Say what a value of this type may be; sections are links to their heading."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return allowed(arguments[0], [*arguments[1:], *metadata])
    bounds = _bounds(metadata)
    if origin in (typing.Union, types.UnionType):
        kinds = [allowed(kind) for kind in arguments if kind is not type(None)]
        ending = ["none"] if type(None) in arguments else []
        return " or ".join(dict.fromkeys([*kinds, *ending])) + bounds
    if origin is Literal:
        return ", ".join(f"`{code(choice)}`" for choice in arguments)
    if {origin, annotation} & {*LISTS, dict}:
        return _many(annotation, arguments, bounds)
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return f"[section](#{annotation.__name__.lower()})"
    return PLAIN.get(annotation, f"`{getattr(annotation, '__name__', annotation)}`") + bounds


def _many(annotation: Any, arguments: tuple[Any, ...], bounds: str) -> str:
    """Say what a list or a mapping holds."""
    if dict in (annotation, get_origin(annotation)):
        return f"mapping of {allowed(arguments[0])} to {allowed(arguments[1])}" if arguments else "mapping"
    return f"list{bounds}" + (f": {allowed(arguments[0])}" if arguments else "")


def default_of(field: FieldInfo) -> str:
    """Say what a key is if it is not given."""
    if field.is_required():
        return REQUIRED
    return shown_default(field.get_default(call_default_factory=True))


def shown_default(value: Any) -> str:
    """Show a default as it would stand in a parameters file; `REQUIRED` where there is none."""
    if value in (inspect.Parameter.empty, PydanticUndefined):
        return REQUIRED
    if isinstance(value, BaseModel):
        return "its defaults"
    return "none" if value is None else f"`{code(value)}`"


def code(value: Any) -> str:
    """Write a value as in YAML."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=str)


def _bounds(metadata: abc.Iterable[Any]) -> str:
    """Say what the metadata of an annotation demand, with a space before."""
    flat = [part for one in metadata for part in (one.metadata if isinstance(one, FieldInfo) else [one])]
    words = [
        f"{sign} {getattr(part, key)}" for part in flat for key, sign in SIGNS.items() if hasattr(part, key)
    ]
    words += [f"like `{part.pattern}`" for part in flat if getattr(part, "pattern", None)]
    least = [part.min_length for part in flat if isinstance(part, annotated_types.MinLen)]
    most = [part.max_length for part in flat if isinstance(part, annotated_types.MaxLen)]
    if least and least == most:
        words.append(f"of {least[0]}")
    elif least:
        words.append(f"of at least {least[0]}")
    return f" {' and '.join(words)}" if words else ""
