"""One rank of a training: `python -m cv_pipelines.training.worker <folder>`, as torchrun starts it."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from cv_pipelines.errors import CvPipelinesError

if TYPE_CHECKING:
    from cv_pipelines.training.job import Job


def main(work: Path) -> None:
    """Train as one of the ranks that torchrun's environment names; rank 0 leaves what came of it.

    Args:
        work: the job's working folder; `work/job` holds the job.
    """
    if (work / "error.json").exists():
        return  # that error would come again: ending well keeps torchrun from starting the ranks anew
    if "CV_PIPELINES_LAUNCHED" in os.environ:
        threading.Thread(target=_end_with_input, daemon=True).start()
    number = int(os.environ["RANK"])
    logging.basicConfig(
        level=logging.INFO if number == 0 else logging.ERROR, format=f"rank {number}: %(message)s"
    )
    if number:
        warnings.simplefilter("ignore")  # the first rank warns for all
    try:
        _train(work)
    except CvPipelinesError as error:
        write_json(work / "error.json", [type(error).__name__, str(error)])
        raise


def _train(work: Path) -> None:
    from cv_pipelines.data.memory import keep_freed_memory
    from cv_pipelines.data.ranks import joined, rank
    from cv_pipelines.training.checkpoints import save_checkpoints
    from cv_pipelines.training.fit import fit_seeds
    from cv_pipelines.training.job import load_job

    keep_freed_memory()
    job = load_job(work / "job")
    with joined(_gpu(job)):
        checkpoints, history = fit_seeds(job)
        if rank() == 0:
            history_file = work / "result" / "history.parquet"
            history_file.parent.mkdir(exist_ok=True)
            history.to_parquet(history_file)
            save_checkpoints(work / "result" / "checkpoint", checkpoints)


def _gpu(job: Job) -> int | None:
    from cv_pipelines.training.placement import gpus

    return int(os.environ["LOCAL_RANK"]) if gpus(job.config.train) else None


def write_json(path: Path, content: object) -> None:
    """Write a file whole or not at all; ranks that write the same one do not meet."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.writing")
    fresh.write_text(json.dumps(content), encoding="utf8")
    fresh.replace(path)


def _end_with_input() -> None:
    """End this process once what launched it is gone, and with it the other end of the pipe.

    Nobody would take what it makes; and the next start of the same command is to find its folder for itself.
    """
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
