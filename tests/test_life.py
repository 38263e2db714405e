"""Plan, reproduce and doctor as a user meets them: in a small project of its own, from the command line."""

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from sklearn.datasets import load_digits

from cv_pipelines.stages import dvc_yaml

pytestmark = pytest.mark.slow  # every command is a process that imports torch
PROJECT = Path(__file__).resolve().parents[1]
COPIED = (
    *(".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore", ".telemetry", "conf/base", "conf/smoke"),
    *("conf/logging.yml", "pyproject.toml", "requirements.lock", "src"),
)
SOURCE = {
    "tiny": {"reader": "idx", "root": "${globals:raw}/tiny", "validation": {"by": "sample", "share": 0.2}}
}
EXPERIMENT = {
    "tiny_cnn": {
        "task": "classification",
        "source": "tiny",
        "model": {"name": "residual_cnn", "channels": [4, 8], "blocks": 1},
        "train": {"epochs": 1, "batch_size": 32, "device": "cpu", "optimizer": {"name": "adamw", "lr": 0.01}},
    }
}
RESIDUAL = "src/cv_pipelines/models/residual.py"
HALVED = """
_init = ResidualCnn.__init__


def _halved(self, *args, **options):
    _init(self, *args, **options)
    for parameter in self.parameters():
        parameter.data *= 0.5


ResidualCnn.__init__ = _halved
"""
STEPS = [
    *("tiny.read_source", "tiny.prepare"),
    *("tiny_cnn.train_model", "tiny_cnn.predict", "tiny_cnn.score", "tiny_cnn.draw_report"),
]


class Project:
    """A copy of the project with one source of raw files and one small experiment, in a git repository."""

    def __init__(self, place):
        self.folder, self.raw = place / "project", place / "raw"
        for name in COPIED:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
            ignored = {"ignore": shutil.ignore_patterns("__pycache__")} if copy is shutil.copytree else {}
            copy(PROJECT / name, self.folder / name, **ignored)
        for kind, section in (("sources", SOURCE), ("experiments", EXPERIMENT)):
            self.write(f"conf/base/parameters/{kind}/tiny.yml", yaml.safe_dump(section))
        self.write("dvc.yaml", dvc_yaml(self.folder / "conf"))
        (self.folder / "conf/local").mkdir()
        write_digits(self.raw / "tiny")
        self.git("init", "--quiet")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "start")

    def git(self, *words):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost", *words]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True).stdout

    def kedro(self, *words, code=0, **given):
        environment = os.environ | {
            "PYTHONPATH": str(self.folder / "src"),
            "CV_PIPELINES_RAW": str(self.raw),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "160",
        }
        environment.pop("MLFLOW_TRACKING_URI", None)
        command = [sys.executable, "-m", "kedro", *words]
        done = subprocess.run(
            command, cwd=self.folder, env=environment | given, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def plan(self, *words, code=0):
        """The plan of the experiment as JSON; that it changes nothing is checked every time."""
        before = self.listing()
        asked = ("cv", "plan", "--env", "smoke", "--pipeline", "tiny_cnn", "--json", *words)
        found = json.loads(self.kedro(*asked, code=code))
        assert self.listing() == before
        found["by"] = {f"{step['namespace']}.{step['name']}": step for step in found["steps"]}
        return found

    def doctor(self, *words, code=0, **given):
        found = json.loads(self.kedro("cv", "doctor", "--env", "smoke", "--json", *words, code=code, **given))
        return {check["name"]: check for check in found}

    def listing(self):
        """Every file and folder with its size and time, but for what Python compiles."""
        return {
            str(path): (path.lstat().st_size if path.is_file() else 0, path.lstat().st_mtime_ns)
            for top in (self.folder, self.raw)
            for path in [top, *top.rglob("*")]
            if "__pycache__" not in path.parts and not any(path.glob("__pycache__"))
        }

    def write(self, path, text):
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text, encoding="utf8")

    def replace(self, path, old, new):
        """Replace text in a file; return what it was."""
        text = (self.folder / path).read_text(encoding="utf8")
        assert old in text
        self.write(path, text.replace(old, new, 1))
        return text

    @contextmanager
    def edited(self, path, old, new):
        """Replace text in a file for a while."""
        text = self.replace(path, old, new)
        try:
            yield
        finally:
            self.write(path, text)


def write_digits(folder):
    """Real digits as idx files: 200 to train on, 100 to test on."""
    digits = load_digits()
    folder.mkdir(parents=True)
    for name, part in (("train", slice(0, 200)), ("t10k", slice(200, 300))):
        pixels, classes = digits.images[part].astype(np.uint8), digits.target[part].astype(np.uint8)
        head = struct.pack(">IIII", 2051, len(pixels), 8, 8)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        head = struct.pack(">II", 2049, len(classes))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(head + classes.tobytes())


def states(plan):
    return [plan["by"][name]["state"] for name in STEPS]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A project in which nothing ran."""
    return Project(tmp_path_factory.mktemp("fresh"))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose experiment was run by the command that the plan named."""
    made = Project(tmp_path_factory.mktemp("life"))
    made.first = made.plan()
    made.kedro(*made.first["command"].split()[1:])
    return made


def test_before_anything_ran_the_plan_says_what_would_run_and_why(project):
    plan = project.first
    assert states(plan) == ["run"] * 6
    assert [plan["by"][name]["reasons"] for name in STEPS[:3]] == [
        ["not read yet"],
        ["not prepared yet"],
        ["not trained yet"],
    ]
    assert plan["command"] == "kedro run --env smoke --pipeline tiny_cnn"
    assert plan["missing"] == []
    assert plan["disk"]["free"] > 0
    assert plan["disk"]["unknown"] == ["tiny.read_source", "tiny_cnn.train_model"]
    assert (plan["time"]["minutes"], sorted(plan["time"]["unknown"])) == (None, sorted(STEPS))


def test_the_plan_in_words_names_steps_reasons_disk_time_and_the_command(fresh):
    said = fresh.kedro("cv", "plan", "--env", "smoke", "--pipeline", "tiny_cnn")
    assert "not trained yet" in said
    assert "0 of 6 steps are up to date" in said
    assert "Disk " in said
    assert "Time      unknown for tiny.read_source, tiny.prepare" in said
    assert "Run       kedro run --env smoke --pipeline tiny_cnn\n" in said


def test_a_probe_needs_a_prepared_source(fresh):
    assert fresh.plan("--probe")["probes"] == {"tiny_cnn": {"error": "its source is not prepared yet"}}


def test_after_the_run_all_is_up_to_date(project):
    plan = project.plan()
    assert states(plan) == ["fresh"] * 6
    assert (plan["command"], plan["time"], plan["disk"]["needed"]) == (
        None,
        {"minutes": 0, "unknown": []},
        0,
    )


def test_a_changed_parameter_is_named_with_the_time_and_the_memory_that_it_costs(project):
    project.replace("conf/base/parameters/experiments/tiny.yml", "lr: 0.01", "lr: 0.02")
    plan = project.plan("--probe")
    assert plan["by"]["tiny_cnn.train_model"]["reasons"] == ["`train.optimizer.lr` changed 0.01 → 0.02"]
    assert states(plan) == ["fresh"] * 2 + ["run"] * 4
    assert plan["by"]["tiny_cnn.train_model"]["basis"] == "median of 1 earlier training on cpu"
    assert plan["by"]["tiny_cnn.predict"]["basis"] == "as in the latest run here"
    assert plan["time"]["minutes"] > 0
    assert plan["time"]["unknown"] == []
    assert plan["disk"]["needed"] > 0
    probe = plan["probes"]["tiny_cnn"]
    assert (probe["fits"], probe["batch_size"], probe["device"]) == (True, 32, "cpu")
    assert 0 < probe["libraries"] <= probe["peak"] < probe["limit"]
    # What it names is all that is needed, and no more.
    assert not any(node.startswith("tiny.") for node in plan["command"].split()[-1].split(","))
    project.git("commit", "--quiet", "--all", "--message", "faster")
    project.kedro(*plan["command"].split()[1:])
    assert states(project.plan()) == ["fresh"] * 6


def test_code_that_matters_makes_stale_and_other_code_does_not(project):
    with project.edited(RESIDUAL, "\n\n\nclass", "\n\nLIMIT = 3\n\n\nclass"):
        plan = project.plan()
        assert plan["by"]["tiny_cnn.train_model"]["reasons"] == ["code of models/residual.py changed"]
        assert states(plan) == ["fresh"] * 2 + ["run"] * 4
    with (
        project.edited(RESIDUAL, "\n\n\nclass", "\n\n# a remark\n\n\nclass"),
        project.edited("src/cv_pipelines/plots/style.py", "h1 { margin: 0;", "h1 { margin: 2px;"),
        project.edited("src/cv_pipelines/models/unet.py", "\n\n\nclass", "\n\nLIMIT = 3\n\n\nclass"),
    ):
        assert states(project.plan()) == ["fresh"] * 6


def test_a_raw_file_that_is_gone_is_named(project):
    file = project.raw / "tiny/train-images-idx3-ubyte"
    kept = file.rename(project.raw / "kept")
    try:
        plan = project.plan(code=1)
        assert plan["missing"] == [f"tiny: {file} is gone since it was read"]
        assert plan["by"]["tiny.read_source"]["reasons"] == ["source changed: .: 1 file gone"]
    finally:
        kept.rename(file)
    folder = file.parent.rename(project.raw / "elsewhere")
    try:
        plan = project.plan(code=1)
        assert states(plan) == ["missing"] * 6
        assert plan["missing"] == [f"tiny: no folder {file.parent}; does CV_PIPELINES_RAW name the raw data?"]
    finally:
        folder.rename(file.parent)
    assert states(project.plan()) == ["fresh"] * 6


def latest_run(project):
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "cv_pipelines_smoke"]
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])[0]


def test_a_run_of_code_in_no_commit_is_reproduced_and_an_altered_figure_is_not(project):
    clean = latest_run(project)
    text = (project.folder / RESIDUAL).read_text(encoding="utf8")
    project.write(RESIDUAL, text + HALVED)
    project.kedro("run", "--env", "smoke", "--pipeline", "tiny_cnn", "--namespaces", "tiny_cnn")
    project.write(RESIDUAL, text)
    run = latest_run(project)
    assert (clean.data.tags["dirty"], run.data.tags["dirty"]) == ("false", "true")
    assert clean.data.tags["fingerprint"] != run.data.tags["fingerprint"]
    before = project.git("status", "--porcelain"), project.git("worktree", "list")

    found = json.loads(project.kedro("cv", "reproduce", run.info.run_id, "--env", "smoke", "--json"))
    assert (found["passed"], found["tolerance"], found["largest_difference"]) == (True, 0, 0)
    assert found["changes_applied"]
    assert found["made_from_other"] == []
    assert found["fingerprints"] == [run.data.tags["fingerprint"]] * 2
    assert {row["name"]: row["now"] for row in found["metrics"]}["nll"] == run.data.metrics["nll"]
    assert (project.git("status", "--porcelain"), project.git("worktree", "list")) == before

    (file,) = (project.folder / "mlartifacts").rglob(f"{run.info.run_id}/artifacts/metrics.json")
    metrics = json.loads(file.read_text(encoding="utf8"))
    metrics["values"]["accuracy"] += 0.0625
    file.write_text(json.dumps(metrics), encoding="utf8")
    said = project.kedro("cv", "reproduce", run.info.run_id, "--env", "smoke", code=1)
    assert "FAIL       1 of 5 figures differ; the largest difference is 0.0625" in said
    (row,) = [line for line in said.splitlines() if "accuracy" in line and "top5" not in line]
    assert "-0.0625" in row
    assert "differs" in row


def test_the_doctor_finds_a_sound_project_sound(fresh):
    found = fresh.doctor()
    assert {name for name, check in found.items() if check["status"] == "missing"} == set()
    for name in ("parameters", "raw data", "source tiny", "git", "DVC", "dvc.yaml", "MLflow"):
        assert found[name]["status"] == "ok", found[name]


def test_the_doctor_names_the_command_that_mends_each_defect(fresh):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    away = {"CV_PIPELINES_RAW": str(fresh.raw / "none"), "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    with fresh.edited("dvc.yaml", "tiny_cnn", "tiny_dnn"):
        found = fresh.doctor(**away)
        assert {found[name]["status"] for name in ("raw data", "source tiny", "MLflow", "dvc.yaml")} == {
            "warn"
        }
        assert found["raw data"]["mend"] == "export CV_PIPELINES_RAW=FOLDER"
        assert found["source tiny"]["mend"].startswith(f"put the data set into {fresh.raw}/none/tiny, or")
        assert f"mlflow server --host 127.0.0.1 --port {port}" in found["MLflow"]["mend"]
        assert found["dvc.yaml"]["mend"] == "kedro cv dvc"
        fresh.kedro(*found["dvc.yaml"]["mend"].split()[1:])
        assert fresh.doctor()["dvc.yaml"]["status"] == "ok"
    with fresh.edited("conf/base/parameters/experiments/tiny.yml", "epochs: 1", "epochs: many"):
        found = fresh.doctor(code=1)["parameters"]
        assert found["status"] == "missing"
        assert "conf/base/parameters/experiments/tiny.yml: tiny_cnn: train.epochs" in found["told"]
