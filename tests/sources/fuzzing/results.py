"""What became of many damaged inputs."""

from __future__ import annotations

import json
import resource
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field


@dataclass
class Results:
    """Counts of one case and mode.

    Attributes:
        read: inputs that gave tables.
        refused: inputs that gave a typed error.
        finds: what was damaged, and the traceback, of those that gave anything else.
        slowest: seconds of CPU of the slowest reading.
        seconds: of CPU, of all.
        peak: megabytes that the process held at most.
    """

    read: int = 0
    refused: int = 0
    finds: list[str] = field(default_factory=list)
    slowest: float = 0.0
    seconds: float = 0.0
    peak: int = 0

    def __post_init__(self) -> None:
        self._started = time.process_time()

    @property
    def inputs(self) -> int:
        """How many were tried."""
        return self.read + self.refused + len(self.finds)

    def add(self, attempt: Callable[[], str], named: Callable[[], str]) -> None:
        """Try an input and count what comes of it.

        Args:
            attempt: gives "read" or "refused", or raises.
            named: says what the input was.
        """
        started = time.process_time()
        try:
            outcome = attempt()
        except Exception:
            self.finds.append(f"{named()}\n{traceback.format_exc()}")
        else:
            self.read += outcome == "read"
            self.refused += outcome == "refused"
        self.slowest = max(self.slowest, time.process_time() - started)

    def as_json(self) -> str:
        """Take the time and the memory, and give all as JSON."""
        self.seconds = time.process_time() - self._started
        self.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        return json.dumps(asdict(self))
