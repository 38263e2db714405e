"""Training with as many processes as an experiment asks for: one in place, several under torchrun.

The parent alone (whoever calls `launch`) knows Kedro and MLflow. It leaves the job as files below the job's
working folder; the ranks read it, train, and leave what they gave there.

    <work>/job/           config, tables, first weights
    <work>/seed_<n>/      states and live figures, as of a training in one process
    <work>/result/        checkpoints and history, there once all is done
    <work>/error.json     what ended the training, so that it is not tried again in vain
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from cv_pipelines.config.train import Train
from cv_pipelines.errors import CvPipelinesError, LaunchError
from cv_pipelines.training.checkpoints import Checkpoint, load_checkpoints
from cv_pipelines.training.fit import fit
from cv_pipelines.training.job import Job, save_job
from cv_pipelines.training.placement import Layout, check_devices, check_layout, layout_of

logger = logging.getLogger(__name__)

LAUNCHED = "CV_PIPELINES_LAUNCHED"
"""Environment variable that tells ranks that their input ends with the process that launched them."""
SETTINGS = {LAUNCHED: "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""What ranks find in their environment. Without the second, ranks that were started again may be told the
addresses of those before them (pytorch/pytorch issue 135712)."""

GRACE = 60.0
"""Seconds for torchrun to end its ranks (it gives them 30) before it is killed."""


def launch(job: Job) -> tuple[dict[int, Checkpoint], pd.DataFrame]:
    """Train every seed of an experiment, with as many processes as it asks for.

    The states of the trainings are left where they are, for who has yet to save what they gave.

    Args:
        job: what to fit.

    Returns:
        A checkpoint a seed, and the history: `seed`, `epoch`, `name`, `value`, a row a figure.

    Raises:
        ConfigError: the experiment cannot be trained by so many ranks.
        LaunchError: the ranks could not meet, or died once more than `train.max_restarts` allows.
    """
    layout = layout_of(job.config.train)
    if layout.ranks == 1:
        return fit(job, keep=True)
    check_layout(job.config, layout)
    for left in ("result", "error.json"):
        _remove(job.folder / left)
    save_job(job, job.folder / "job")
    run_ranks(job.experiment, job.config.train, job.folder, layout)
    result = job.folder / "result"
    return load_checkpoints(result / "checkpoint"), pd.read_parquet(result / "history.parquet")


def join(experiment: str, train: Train, folder: Path, patience: float) -> None:
    """Train on this machine together with the one that launches the experiment; leave all results to that.

    Args:
        experiment: its name.
        train: how it is fitted, as the other machine has it.
        folder: the experiment's working folder, which all machines share.
        patience: seconds to wait for the other machine, whose pipeline may do other things first.

    Raises:
        LaunchError: `train` asks for one machine, or the other one does not come.
        CvPipelinesError: what a rank raised.
    """
    layout = layout_of(train)
    if layout.nodes == 1:
        raise LaunchError(f"{experiment}: train.num_nodes: 1: there is no other machine to join")
    await_host(folder / "job" / "job.json", patience)
    run_ranks(experiment, train, folder, layout, host=False)


def run_ranks(experiment: str, train: Train, folder: Path, layout: Layout, host: bool = True) -> None:
    """Run this machine's ranks to their end.

    Args:
        experiment: its name.
        train: how it is fitted.
        folder: its working folder, with the job.
        layout: processes and machines.
        host: whether the ranks of other machines meet at this one.

    Raises:
        LaunchError: they ended without a result.
        CvPipelinesError: what one of them raised.
    """
    check_devices(train, layout)
    command = torchrun(experiment, train.max_restarts, folder, layout, host)
    logger.info("%s: %d nodes × %d devices", experiment, layout.nodes, layout.devices)
    # torchrun's own variables are in the layout; left there they would count twice.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PET_")}
    status = _run(command, environment | SETTINGS)
    raise_error(folder)
    if status:
        raise LaunchError(
            f"{experiment}: the ranks of this machine ended with status {status}; what they said is above. "
            "The same command goes on where the state was last kept"
        )


def torchrun(experiment: str, restarts: int, folder: Path, layout: Layout, host: bool) -> list[str]:
    """Return the command that starts this machine's ranks.

    Raises:
        LaunchError: there are several machines, and no MASTER_ADDR that says where they meet.
    """
    if layout.nodes == 1:
        meeting = ["--standalone"]
    else:
        address, port = meeting_point()
        conf = f"is_host={str(host).lower()},join_timeout=3600"
        meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint={address}:{port}", f"--rdzv-conf={conf}"]
        meeting += [f"--rdzv-id={experiment}", f"--nnodes={layout.nodes}"]
    return [
        *(sys.executable, "-m", "torch.distributed.run", *meeting),
        f"--nproc-per-node={layout.devices}",
        f"--max-restarts={restarts}",
        *("-m", "cv_pipelines.training.worker", str(folder)),
    ]


def meeting_point() -> tuple[str, int]:
    """Return the address and port where the ranks of several machines meet.

    Raises:
        LaunchError: MASTER_ADDR is not set.
    """
    address = os.environ.get("MASTER_ADDR") or os.environ.get("PET_MASTER_ADDR")
    port = os.environ.get("MASTER_PORT") or os.environ.get("PET_MASTER_PORT") or "29500"
    if not address:
        raise LaunchError("train.num_nodes: several machines meet at MASTER_ADDR (and MASTER_PORT): set it")
    return address, int(port)


def await_host(job: Path, patience: float) -> None:
    """Wait until the first machine is ready to train, which may come long after its pipeline began.

    Args:
        job: a file that is there by then.
        patience: seconds.

    Raises:
        LaunchError: nobody answers at the meeting point.
    """
    address, port = meeting_point()
    until = time.monotonic() + patience
    while True:
        if job.exists() and _answers(address, port):
            return
        if time.monotonic() > until:
            raise LaunchError(f"no training at {address}:{port} with {job} after {patience:g} s")
        time.sleep(2)


def _answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=5).close()
    except OSError:
        return False
    return True


def raise_error(folder: Path) -> None:
    """Raise what a rank has left.

    Raises:
        CvPipelinesError: of the type and with the message that the rank had.
    """
    note = folder / "error.json"
    if note.exists():
        name, text = json.loads(note.read_text(encoding="utf8"))
        kinds = {kind.__name__: kind for kind in _below(CvPipelinesError)}
        raise kinds.get(name, LaunchError)(text)


def _below(kind: type[CvPipelinesError]) -> list[type[CvPipelinesError]]:
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in _below(child))]


def _run(command: list[str], environment: dict[str, str]) -> int:
    """Run a command to its end; whatever ends the wait (Ctrl-C, SIGTERM) ends the command too."""
    # A session of its own: Ctrl-C comes to this process alone, which then ends the ranks in order. However
    # this process ends, the pipe does, too, which torchrun hands down to the ranks as their input.
    with subprocess.Popen(command, env=environment, start_new_session=True, stdin=subprocess.PIPE) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
