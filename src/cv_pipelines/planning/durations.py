"""How long nodes took lately on this machine: noted by every run, read by plans."""

from __future__ import annotations

import json
from pathlib import Path

from cv_pipelines.files import write_text

KEPT = 5
"""Durations of a node that are kept, the latest ones."""

FILE = "durations.json"


def read_durations(reporting: Path) -> dict[str, list[float]]:
    """Return what is noted: the seconds of each node's latest runs, in order; nothing where nothing is.

    Args:
        reporting: the folder of the reports, in which the note lies.
    """
    try:
        found = json.loads((reporting / FILE).read_text(encoding="utf8"))
        return {str(node): [float(one) for one in seconds] for node, seconds in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def note_durations(reporting: Path, seconds: dict[str, float]) -> None:
    """Add the durations of one run to those of the runs before.

    Of two runs that end in the same moment one may be forgotten.

    Args:
        reporting: the folder of the reports.
        seconds: of each node that has saved all its results.
    """
    known = read_durations(reporting)
    known |= {node: [*known.get(node, []), round(one, 3)][-KEPT:] for node, one in seconds.items()}
    write_text(reporting / FILE, json.dumps(known, indent=1, sort_keys=True) + "\n")
