"""A study as a user runs it: killed, shared by two processes, run again; what lies on disk and in MLflow."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

PROJECT = Path(__file__).resolve().parents[1]
TRIALS = 6
STUDY = f"""
search:
  experiment: classification_digits
  trials: {TRIALS}
  sampler: random
  space:
    train.optimizer.lr: {{low: 1.0e-3, high: 1.0e-1, log: true}}
    model.channels: [[4], [4, 8]]
"""
QUICK = "classification_digits: {model: {channels: [4, 8]}, train: {epochs: 4, checkpoint_every: 1}}"


class Copy:
    """The project in a folder of its own with a small study."""

    def __init__(self, folder):
        self.folder = folder
        shutil.copytree(PROJECT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
        shutil.copytree(PROJECT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", ".telemetry"):
            shutil.copy(PROJECT / name, folder)
        for kind, text in (("studies", STUDY), ("experiments", QUICK)):
            path = folder / "conf/local/parameters" / kind / "mine.yml"
            path.parent.mkdir(parents=True)
            path.write_text(text, encoding="utf8")
        self.reports = folder / "data/08_reporting/search"
        self.work = folder / "data/06_models/search/work"

    def start(self, *names):
        others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        paths = [str(self.folder / "src"), *(path for path in others if path)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"}
        environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{self.folder}/tracking.db"}
        command = [sys.executable, "-m", "kedro", "run", "--pipelines", *names]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, running):
        output, _ = running.communicate(timeout=1200)
        assert running.returncode == 0, output
        return output

    def trials(self):
        return pd.read_parquet(self.reports / "trials.parquet")

    def states(self):
        try:
            with sqlite3.connect(self.work / "study.db") as database:
                return [state for (state,) in database.execute("SELECT state FROM trials ORDER BY number")]
        except sqlite3.OperationalError:  # not made yet
            return []


@pytest.mark.slow
def test_a_study_is_killed_shared_and_ends_as_an_undisturbed_one(tmp_path):
    whole, broken = Copy(tmp_path / "whole"), Copy(tmp_path / "broken")
    told = whole.finish(whole.start("search"))
    assert f"search: {TRIALS} complete" in told
    assert "Run it       kedro run --pipeline search_best" in told

    first = broken.start("search")
    while not list(broken.work.glob("trial_2/seed_0/last.ckpt")):
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert broken.states() == ["COMPLETE", "COMPLETE", "RUNNING"]

    both = [broken.start("search") for _ in range(2)]
    said = [broken.finish(running) for running in both]
    assert broken.states() == ["COMPLETE"] * TRIALS
    assert any("trial 2 was left by" in text for text in said)
    assert any("taking up the interrupted training" in text for text in said)
    again = broken.finish(broken.start("search"))
    assert re.search(r"trial \d+ \(of", said[0] + said[1])
    assert not re.search(r"trial \d+ \(of", again)

    same = ["number", "state", "value", "params", "curve"]
    pd.testing.assert_frame_equal(broken.trials()[same], whole.trials()[same])
    winner = yaml.safe_load((broken.folder / "conf/local/parameters/experiments/search_best.yml").read_text())
    assert list(winner) == ["search_best"]
    assert "Plotly.newPlot" in (broken.reports / "report.html").read_text()

    client = MlflowClient(f"sqlite:///{broken.folder}/tracking.db")
    found = client.search_runs([client.get_experiment_by_name("cv_pipelines").experiment_id])
    trials = [run for run in found if run.data.tags["cv_pipelines.kind"] == "trial"]
    assert sorted(run.info.run_name for run in trials) == [f"search_trial_{n}" for n in range(TRIALS)]
    assert {run.info.status for run in trials} == {"FINISHED"}
    table = broken.trials()
    best = int(table["number"][table["value"].idxmax()])
    crowned = [run.info.run_name for run in trials if "cv_pipelines.best" in run.data.tags]
    assert crowned == [f"search_trial_{best}"]

    broken.finish(broken.start("search_best"))  # the winner is a pipeline of its own
    history = pd.read_parquet(broken.folder / "data/06_models/search_best/history.parquet")
    assert history[history["name"] == "val_accuracy"]["value"].max() == table["value"].max()
