"""A data pipeline killed at random moments, then run to its end: the same tables as undisturbed."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

PROJECT = Path(__file__).resolve().parents[1]
SOURCE = "sample_voc"
KILLS = 50


class Copy:
    """The project's configuration in a folder of its own, so that what is made stays there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(PROJECT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
        shutil.copytree(PROJECT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(PROJECT / "pyproject.toml", folder)
        (folder / "conf" / "local").mkdir()

    def start(self) -> subprocess.Popen:
        environment = os.environ | {"PYTHONPATH": str(self.folder / "src")}
        environment.pop("CV_PIPELINES_RAW", None)
        command = [sys.executable, "-m", "kedro", "run", "--pipelines", f"data_{SOURCE}"]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self) -> None:
        running = self.start()
        output, _ = running.communicate(timeout=120)
        assert running.returncode == 0, output

    def tables(self) -> dict[str, pd.DataFrame]:
        found = sorted((self.folder / "data").rglob("*.parquet"))
        return {path.relative_to(self.folder).as_posix(): pd.read_parquet(path) for path in found}


@pytest.mark.slow
def test_a_data_pipeline_killed_at_any_moment_ends_as_an_undisturbed_one(tmp_path):
    whole, broken = Copy(tmp_path / "whole"), Copy(tmp_path / "broken")
    started = time.monotonic()
    whole.finish()
    length = time.monotonic() - started
    rng = random.Random(0)
    for kill in range(KILLS):
        if kill % 10 == 0:
            shutil.rmtree(broken.folder / "data", ignore_errors=True)  # so that every step is met again
        running = broken.start()
        time.sleep(rng.uniform(0.3, 1.0) * length)
        running.send_signal(signal.SIGKILL)
        running.communicate()
    broken.finish()
    expected, found = whole.tables(), broken.tables()
    assert found.keys() == expected.keys()
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table, obj=name)
    left = [path for path in (broken.folder / "data").rglob("*") if path.suffix in {".tmp", ".drawing"}]
    assert left == []
