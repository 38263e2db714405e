"""All scored experiments as one table, from the `metrics.json` files on disk."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd

from cv_pipelines.tasks import MAIN_SCORES

logger = logging.getLogger(__name__)

COLUMNS = [
    *("experiment", "task", "source", "score_name", "score", "spread", "seconds", "device", "contract_key"),
    *("fingerprint", "report"),
]


def main_score(metrics: dict[str, Any]) -> tuple[str, float | None]:
    """Return the name and value of the score that stands for an experiment's task."""
    wanted = MAIN_SCORES[metrics["task"]]
    for name, value in metrics["values"].items():
        if name == wanted or name.startswith(wanted + "_"):
            return name, value
    # Multi-label classification has no accuracy; its first figure stands for it.
    return next(iter(metrics["values"].items()))


def contract_key(metrics: dict[str, Any]) -> str:
    """Digest a contract: figures are comparable only where this is equal."""
    text = json.dumps(metrics["contract"], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def collect(reporting: Path) -> pd.DataFrame:
    """Gather every `<experiment>/metrics.json` below a folder; damaged files are left out with a warning.

    Returns:
        `COLUMNS`, sorted by task and experiment; `report` is relative to `reporting`.
    """
    rows = []
    for path in sorted(reporting.glob("*/metrics.json")):
        try:
            rows.append(_row(json.loads(path.read_text(encoding="utf8")), path.parent))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
            logger.warning("%s is left out of the leaderboard: %r", path, error)
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(["task", "experiment"], ignore_index=True)


def _row(metrics: dict[str, Any], folder: Path) -> dict[str, Any]:
    name, value = main_score(metrics)
    return {
        "experiment": metrics["experiment"],
        "task": metrics["task"],
        "source": metrics["contract"]["source"],
        "score_name": name,
        "score": value,
        "spread": metrics["spread"].get(name),
        "seconds": metrics["seconds"],
        "device": metrics["device"],
        "contract_key": contract_key(metrics),
        "fingerprint": metrics["fingerprint"],
        "report": f"{folder.name}/report.html" if (folder / "report.html").exists() else None,
    }
