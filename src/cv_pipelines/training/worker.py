"""One rank of a training: `python -m cv_pipelines.training.worker <folder>`, as torchrun starts it."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
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
    threading.Thread(target=_end_with, args=(os.getppid(), _launcher()), daemon=True).start()
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


def _launcher() -> int | None:
    """Return the process that the ranks of this machine work for, where there is one."""
    given = os.environ.get("CV_PIPELINES_PARENT")
    return int(given) if given else None


def _end_with(torchrun: int, launcher: int | None) -> None:
    """End this process once torchrun or what started it is gone: nobody would take what it makes."""
    while os.getppid() == torchrun and (launcher is None or _alive(launcher)):
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]))
