"""One step of a training in a process of its own, to see what memory it takes: nothing else is left behind.

`python -m cv_pipelines.training.probe <folder>`, with the job that `save_job` left there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from cv_pipelines.training.job import Job, load_job, save_job

PATIENCE = 900.0
"""Seconds that a step may take, with all that is imported before it."""


def probe(job: Job, patience: float = PATIENCE) -> dict[str, Any]:
    """Do one step, forward and backward, at an experiment's batch size.

    Args:
        job: the experiment.
        patience: seconds.

    Returns:
        `batch_size`, `device`, whether it `fits`, `seconds` of the step, `peak` bytes of the device (on a
        CPU, of the process, `libraries` of them before there was a model), and `limit`, the bytes there are;
        or `error`, where the step failed for another reason.
    """
    train = job.config.train.model_copy(update={"workers": 0, "devices": 1, "num_nodes": 1})
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        alone = replace(job, folder=folder / "work", config=job.config.model_copy(update={"train": train}))
        save_job(alone, folder / "job")
        command = [sys.executable, "-m", "cv_pipelines.training.probe", str(folder / "job")]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=patience)
        except subprocess.TimeoutExpired:
            return {"batch_size": train.batch_size, "error": f"no step within {patience:g} s"}
    if done.returncode == 0:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found
    # A process that the system kills for its memory says nothing.
    killed = done.returncode < 0
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    why = {"fits": False} if killed else {"error": last}
    return {"batch_size": train.batch_size, **why}


def step(job: Job) -> dict[str, Any]:
    """Do one step in this process; see `probe`."""
    import torch

    from cv_pipelines.training.finders import one_step
    from cv_pipelines.training.retries import out_of_memory

    libraries = resident()
    began = time.perf_counter()
    try:
        device = one_step(job)
        fits = True
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        fits, device = False, torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = {"batch_size": job.config.train.batch_size, "fits": fits, "seconds": time.perf_counter() - began}
    if device.type == "cuda":
        name, peak = torch.cuda.get_device_name(device), torch.cuda.max_memory_reserved(device)
        limit = torch.cuda.get_device_properties(device).total_memory
        return found | {"device": name, "peak": peak, "limit": limit}
    return found | {"device": "cpu", "peak": resident(), "libraries": libraries, "limit": memory()}


def resident() -> int:
    """Return the most bytes of memory that this process has held so far."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def memory() -> int:
    """Return the bytes of memory of this machine."""
    import os

    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(step(load_job(Path(sys.argv[1]))))}\n")
