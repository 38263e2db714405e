"""A hundred thousand points of a curve on their way to MLflow: our journal beside `mlflow.log_metric`.

Both log to a new SQLite database. The peer logs 1,000 points; its time for all is reckoned from that, as a
loop of single calls would take more than half an hour.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow

from _harness import Row, report
from cv_pipelines.io.tracking import Tracker, TrackingConfig

POINTS, CALLS = 100_000, 1_000


def ours(folder: Path) -> tuple[float, float]:
    """Time the tracker: until all is in the journal and a training goes on, and until all has arrived."""
    address = f"sqlite:///{folder / 'ours.db'}"
    tracker = Tracker(TrackingConfig(tracking_uri=address, experiment="speed"), folder)
    tracker.begin("speed", ["curves"])
    tracker.start("curves", {})
    rows = [(0, step, "train_loss", 1 / (step + 1)) for step in range(POINTS)]
    started = time.perf_counter()
    tracker.record("curves", rows)
    noted = time.perf_counter() - started
    tracker.end("curves", "FINISHED")
    taken = time.perf_counter() - started
    found = tracker.client.search_runs([tracker.experiment_id])[0]
    arrived = tracker.client.get_metric_history(found.info.run_id, "train_loss")
    if len(arrived) != POINTS:
        raise SystemExit(f"{len(arrived)} points arrived")
    return noted, taken


def peer(folder: Path) -> float:
    """Time single calls, for as many points."""
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'peer.db'}")
    mlflow.set_experiment("speed")
    with mlflow.start_run():
        started = time.perf_counter()
        for step in range(CALLS):
            mlflow.log_metric("train_loss", 1 / (step + 1), step=step)
        return (time.perf_counter() - started) * POINTS / CALLS


def main() -> None:
    """Run both sides and print the ratio."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    logging.disable(logging.WARNING)
    with TemporaryDirectory() as folder:
        (noted, arrived), single = ours(Path(folder)), peer(Path(folder))
    what, name = "100,000 points logged", "mlflow.log_metric"
    rows = [
        Row(f"{what}, until the training goes on", "s", noted, single, name, 100),
        Row(f"{what}, until all have arrived", "s", arrived, single, name),
    ]
    report("training_tracking", rows)


if __name__ == "__main__":
    main()
