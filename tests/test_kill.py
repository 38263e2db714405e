"""A data pipeline and packing killed at random moments, then run to their end: the same as undisturbed."""

import itertools
import logging
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cv_pipelines.data.packing import pack

logger = logging.getLogger(__name__)

PROJECT = Path(__file__).resolve().parents[1]
SOURCE = "sample_voc"
KILLS = 50
GROUP = 5
"""Kills in a row before a run is let to its end and what it left is compared."""

STEP = re.compile(rf"\d of \d: {SOURCE}\.(\w+)")

SERVER = f"""
import os, sys
from pathlib import Path
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
import torch, plotly, cv_pipelines.sources.voc, cv_pipelines.data.datasets, cv_pipelines.plots.data_report
bootstrap_project(Path.cwd())
for log in sys.stdin:
    pid = os.fork()
    if pid == 0:
        file = os.open(log.strip(), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        with KedroSession.create(project_path=Path.cwd()) as session:
            session.run(pipeline_names=["data_{SOURCE}"])
        os._exit(0)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""
"""Runs the pipeline each time it is told the name of a log, so that seconds of imports are spent once."""


class Copy:
    """The project's configuration in a folder of its own, so that what is made stays there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(PROJECT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
        shutil.copytree(PROJECT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", ".telemetry"):
            shutil.copy(PROJECT / name, folder)
        (folder / "conf" / "local").mkdir()

    def start(self, *command: str) -> subprocess.Popen:
        environment = os.environ | {"PYTHONPATH": str(self.folder / "src"), "COLUMNS": "200"}
        environment.pop("CV_PIPELINES_RAW", None)
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if "kedro" in command else None,
            text=True,
        )

    def finish(self) -> str:
        """Run as a user does."""
        running = self.start("-m", "kedro", "run", "--pipelines", f"data_{SOURCE}")
        output, _ = running.communicate(timeout=600)
        assert running.returncode == 0, output
        return output

    def tables(self) -> dict[str, pd.DataFrame]:
        found = sorted((self.folder / "data").rglob("*.parquet"))
        return {path.relative_to(self.folder).as_posix(): pd.read_parquet(path) for path in found}


class Server:
    """A process that runs the pipeline of a copy again and again."""

    def __init__(self, copy: Copy) -> None:
        self.process = copy.start("-c", SERVER)
        self.log = copy.folder / "log"

    def start(self) -> int:
        self.log.unlink(missing_ok=True)
        self.process.stdin.write(f"{self.log}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def ended(self) -> int:
        """Wait for the run and return its status."""
        return int(self.process.stdout.readline())

    def kill(self, step: int, pause: float) -> str:
        """Run the pipeline, kill it some seconds after it began a step, and say which step that met."""
        pid = self.start()
        while len(self.begun()) < step and alive(pid):
            time.sleep(0.002)
        time.sleep(pause)
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
        status = self.ended()
        assert status in {0, signal.SIGKILL}
        return ["before the first step", *self.begun()][-1] if status else "after the end"

    def finish(self) -> list[float]:
        """Run the pipeline to its end; returns the seconds before the first step and of each step."""
        pid = self.start()
        at, ended = [time.monotonic()], False
        while not ended:
            time.sleep(0.002)
            ended = not alive(pid)  # before the log is looked at: its last lines are not to be missed
            at += [time.monotonic()] * (len(self.begun()) + 1 - len(at))
        assert self.ended() == 0, self.log.read_text()
        at.append(time.monotonic())
        return [after - before for before, after in itertools.pairwise(at)]

    def begun(self) -> list[str]:
        return STEP.findall(self.log.read_text() if self.log.exists() else "")

    def close(self) -> None:
        self.process.communicate(timeout=20)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def compare(found: Copy, expected: dict[str, pd.DataFrame]) -> None:
    tables = found.tables()
    assert tables.keys() == expected.keys()
    for name, table in expected.items():
        pd.testing.assert_frame_equal(tables[name], table, obj=name)
    unfinished = {".tmp", ".drawing", ".writing"}
    assert [path for path in (found.folder / "data").rglob("*") if path.suffix in unfinished] == []


@pytest.mark.slow
def test_a_data_pipeline_killed_at_any_moment_ends_as_an_undisturbed_one(tmp_path):
    whole, broken = Copy(tmp_path / "whole"), Copy(tmp_path / "broken")
    steps = STEP.findall(whole.finish())
    expected = whole.tables()
    server, rng, fell = Server(broken), random.Random(0), Counter()
    seconds = server.finish()
    assert len(seconds) == len(steps) + 1
    while fell.total() - fell["after the end"] < KILLS:
        step, fresh = rng.randrange(len(seconds)), fell.total() % GROUP == 0
        if fresh:  # what is read is loaded later on, so reading is met only here
            compare(broken, expected)
            shutil.rmtree(broken.folder / "data")
            step = 1
        fell[server.kill(step, rng.random() ** 2 * seconds[step])] += 1
        if fell.total() % GROUP == 0:
            server.finish()
    server.close()
    broken.finish()
    compare(broken, expected)
    logger.info("kills of a data pipeline: %s", dict(fell))
    assert len(set(steps) & set(fell)) >= len(steps) - 1


@pytest.mark.slow
def test_packing_killed_at_any_moment_ends_as_undisturbed(tmp_path):
    rng, cache = random.Random(0), tmp_path / "cache"
    names = [f"{k}.jpg" for k in range(300)]
    for k, name in enumerate(names):
        noise = np.random.default_rng(k).integers(0, 255, (90 + k % 20, 120, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / name)
    how = {"side": 100, "limit": 1 << 30}
    whole = pack(tmp_path / "whole", tmp_path, names, names, **how)
    context, fell = multiprocessing.get_context("fork"), Counter()
    started = time.monotonic()
    pack(tmp_path / "again", tmp_path, names, names, **how)
    length = time.monotonic() - started
    while fell.total() - fell["after the end"] < KILLS:
        writer = context.Process(target=pack, args=(cache, tmp_path, names, names), kwargs=how)
        writer.start()
        time.sleep(rng.random() * length * 1.1)
        writer.kill()
        writer.join()
        left = {path.suffix for path in cache.iterdir() if path.is_dir()} if cache.exists() else set()
        met = "writing" if ".writing" in left else "with the entry in place" if left else "before the entry"
        fell[met if writer.exitcode else "after the end"] += 1
        if fell.total() % GROUP == 0 or "" in left:
            found = pack(cache, tmp_path, names, names, **how)  # would wait for ever, were the lock stuck
            np.testing.assert_array_equal(found.pixels, whole.pixels)
            np.testing.assert_array_equal(found.index, whole.index)
            assert len([path for path in cache.iterdir() if path.is_dir()]) == 1
            shutil.rmtree(cache)
    logger.info("kills of packing: %s", dict(fell))
    assert fell["writing"] > KILLS / 2
