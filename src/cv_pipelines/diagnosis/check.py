"""One thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "missing"]
"""As it should be; some things will not work; nothing will work before it is mended."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: of it.
        status: how it is.
        told: what was seen.
        mend: the command or the deed that mends it; "" where nothing has to be.
    """

    name: str
    status: Status
    told: str
    mend: str = ""
