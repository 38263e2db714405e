"""What a result was made from: parameters, digests of inputs and code, versions; and what differs."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict

SHOWN = 5
"""Differences of one kind that are named one by one."""


class Provenance(BaseModel):
    """What a result was made from.

    Attributes:
        parameters: that have an effect, flat, in clear.
        inputs: digest of each part of the data, fingerprint of what the training started from.
        code: digest of each module that matters, by its path in the package.
        versions: of the libraries that those modules import and that compute.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    parameters: dict[str, Any] = {}
    inputs: dict[str, str] = {}
    code: dict[str, str] = {}
    versions: dict[str, str] = {}

    @property
    def fingerprint(self) -> str:
        """Digest of all of it, 32 hexadecimal digits: equal ones were made from the same."""
        return digest(self.model_dump(mode="json"))


def digest(value: Any) -> str:
    """Digest what can be told in JSON; 32 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def differences(then: Provenance, now: Provenance) -> list[str]:
    """Say in words what two provenances differ in; nothing where they are the same.

    Args:
        then: of the result that is there.
        now: of the one that would be made.
    """
    one, other = (json.loads(p.model_dump_json()) for p in (then, now))
    parameters = [
        f"`{key}` changed {_shown(one['parameters'], key)} → {_shown(other['parameters'], key)}"
        for key in changed_keys(one["parameters"], other["parameters"])
    ]
    inputs = [
        _input(key, one["inputs"], other["inputs"]) for key in changed_keys(one["inputs"], other["inputs"])
    ]
    versions = [
        f"{key} {one['versions'].get(key, 'none')} → {other['versions'].get(key, 'none')}"
        for key in changed_keys(one["versions"], other["versions"])
    ]
    return [*few(parameters), *inputs, *_code(one["code"], other["code"]), *few(versions)]


def changed_keys(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return the keys whose values differ, or that only one has; in order."""
    missing = object()
    return sorted(key for key in one | other if one.get(key, missing) != other.get(key, missing))


def _shown(values: dict[str, Any], key: str) -> str:
    if key not in values:
        return "none"
    text = json.dumps(values[key])
    return text if len(text) <= 60 else text[:57] + "..."


def _input(key: str, one: dict[str, str], other: dict[str, str]) -> str:
    if key not in other:
        return f"{key} is not used any more"
    return f"{key} changed" if key in one else f"{key} is new"


def _code(one: dict[str, str], other: dict[str, str]) -> list[str]:
    files = changed_keys(one, other)
    if not files:
        return []
    more = f" and {len(files) - SHOWN} more files" if len(files) > SHOWN else ""
    return [f"code of {', '.join(files[:SHOWN])}{more} changed"]


def few(told: list[str]) -> list[str]:
    """Return the first of what is told, and how many more there are."""
    return told if len(told) <= SHOWN else [*told[:SHOWN], f"and {len(told) - SHOWN} more"]
