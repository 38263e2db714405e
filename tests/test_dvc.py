"""dvc.yaml against the pipelines it runs, and what `dvc repro` runs again after which change."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import chdir
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import dvc.cli
import pytest
import yaml
from click.testing import CliRunner

from cv_pipelines.cli import cli
from cv_pipelines.experiments import find_ensembles, find_experiments, find_sources, groups_of
from cv_pipelines.pipeline_registry import register_pipelines
from cv_pipelines.stages import dvc_yaml

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value")  # of DVC itself
PROJECT = Path(__file__).resolve().parents[1]
COPIED = (
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvcignore",
    ".gitignore",
    ".telemetry",
    "dvc.yaml",
    "pyproject.toml",
    "conf",
    "src",
)

# Stands in for `kedro`: notes what it was asked for and writes the outputs of that stage. They depend on the
# stage's own parameters file alone, so a test sees whether DVC compares contents or mere times.
STAND_IN = """#!{python} -IS
import hashlib, json, os, sys
from pathlib import Path
words = sys.argv[1:]
name = words[2] if words[0] == "run" else "tour" if words[1] == "results" else "_".join(words[1:])
stage = json.loads(Path({plan!r}).read_text())[name]
work = Path("data/06_models", name, "work")
with open({log!r}, "a") as log:
    log.write(name + (" resumes" if work.exists() else "") + "\\n")
if os.environ.get("FAILS") == name:
    work.mkdir(parents=True)
    sys.exit(1)
if work.exists():
    work.rmdir()
text = "".join(Path(file).read_text() for file in stage["params"])
for out in stage["outs"]:
    path = Path(out)
    path = path if path.suffix else path / "part"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(hashlib.sha256((out + text).encode()).hexdigest())
"""


# DVC reads and writes its YAML anew for every stage: five experiments show all that sixteen would.
SOURCES = {"camvid", "digits"}
EXPERIMENTS = {
    *("autoencoder_digits", "classification_digits", "classification_digits_pretrained", "gan_digits"),
    "segmentation_camvid",
}
FOLDER = "conf/base/parameters/experiments"


@cache
def stages(project=PROJECT):
    return yaml.safe_load((project / "dvc.yaml").read_text(encoding="utf8"))["stages"]


def paths(entries):
    """The paths of a stage's `deps`, `outs`, `metrics` or `params`, with or without options."""
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def plan(declared):
    """Stage to the files it must write: what it declares, and below folders what others ask of it."""
    wanted = {path for stage in declared.values() for path in paths(stage.get("deps", []))}
    found = {}
    for name, stage in declared.items():
        outs = paths(stage.get("outs", []) + stage.get("metrics", []))
        inside = [path for path in wanted if any(path.startswith(f"{out}/") for out in outs)]
        found[name] = {"outs": sorted({*outs, *inside}), "params": paths(stage.get("params", []))}
    return found


def copy_project(target):
    for name in COPIED:
        source, copied = PROJECT / name, target / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copied, ignore=shutil.ignore_patterns("__pycache__", "local"))
        else:
            shutil.copy(source, copied)
    for layer in sorted((PROJECT / "data").iterdir()):
        (target / "data" / layer.name).mkdir(parents=True)
    (target / "conf" / "local").mkdir()


class Project:
    """A copy of the project in its own git repository, where a stand-in or the real kedro runs."""

    def __init__(self, folder, kedro):
        self.folder, self.log = folder / "project", folder / "log.txt"
        self.log.touch()
        copy_project(self.folder)
        for kind, kept in (("sources", SOURCES), ("experiments", EXPERIMENTS), ("ensembles", set())):
            for file in (self.folder / "conf/base/parameters" / kind).glob("*.yml"):
                if file.stem not in kept:
                    file.unlink()
        (self.folder / "dvc.yaml").write_text(dvc_yaml(self.folder / "conf"), encoding="utf8")
        self.env = {
            "PATH": f"{kedro}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "DVC_SITE_CACHE_DIR": str(folder / "site"),
            "DO_NOT_TRACK": "1",
        }
        self.git("init", "--quiet")
        self.git("add", ".")
        self.git(
            "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "-m", "start"
        )

    def git(self, *words):
        done = subprocess.run(["git", *words], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout

    def dvc(self, *words, code=0, **env):
        """Run dvc, in this process to spare its start; return the names of the stages that ran."""
        before = len(self.log.read_text().splitlines())
        with chdir(self.folder), patch.dict(os.environ, self.env | env):
            assert dvc.cli.main([*words, "--quiet"]) == code
        return self.log.read_text().splitlines()[before:]

    def edit(self, path, old, new):
        file = self.folder / path
        text = file.read_text(encoding="utf8")
        assert old in text
        file.write_text(text.replace(old, new, 1), encoding="utf8")

    def tune(self, kind, name, section, **values):
        """Change values in the parameters file of a source or an experiment."""
        file = self.folder / f"conf/base/parameters/{kind}s/{name}.yml"
        content = yaml.safe_load(file.read_text(encoding="utf8"))
        content[name][section] |= values
        file.write_text(yaml.safe_dump(content), encoding="utf8")


@pytest.fixture
def project(tmp_path):
    shim = tmp_path / "bin" / "kedro"
    shim.parent.mkdir()
    values = {"python": sys.executable, "plan": str(tmp_path / "plan.json"), "log": str(tmp_path / "log.txt")}
    shim.write_text(STAND_IN.format(**values))
    shim.chmod(0o755)
    made = Project(tmp_path, shim.parent)
    (tmp_path / "plan.json").write_text(json.dumps(plan(stages(made.folder))))
    return made


def test_dvc_yaml_is_what_kedro_cv_dvc_writes():
    written = (PROJECT / "dvc.yaml").read_text(encoding="utf8")
    assert written == dvc_yaml(PROJECT / "conf"), "dvc.yaml is out of date: run `kedro cv dvc`"


def test_every_source_experiment_ensemble_and_group_of_the_registry_has_a_stage():
    local = {
        name for file in (PROJECT / "conf/local").rglob("*.yml") for name in yaml.safe_load(file.read_text())
    }
    experiments = find_experiments(PROJECT / "conf")
    wanted = {f"data_{name}" for name in find_sources(PROJECT / "conf") if name not in local}
    wanted |= {*experiments, *find_ensembles(PROJECT / "conf", experiments)} - local
    wanted |= groups_of({name: one for name, one in experiments.items() if name not in local}).keys()
    assert wanted <= stages().keys()
    assert wanted & pipelines().keys() == wanted


def test_a_new_limit_trains_nothing():
    stage = stages()["classification_digits"]
    keys = [key for entry in stage["params"] for keys in entry.values() for key in keys]
    assert "digits.reader" in keys
    assert {"digits", "digits.limits"} & set(keys) == set()
    assert "digits" in stages()["data_digits"]["params"][0]["conf/base/parameters/sources/digits.yml"]


@pytest.mark.parametrize("tracked", ["data/01_raw/camvid", "data/01_raw/videos"])
def test_raw_files_that_dvc_tracks_are_a_dependency_of_their_own(copied, tracked):
    file = copied / "conf/base/parameters/sources/camvid.yml"
    file.write_text(file.read_text().replace("}/camvid", "}/" + tracked.split("/")[2] + "/inner"))
    untracked = yaml.safe_load(dvc_yaml(copied / "conf"))["stages"]
    assert "data/02_intermediate/camvid.files.json" in untracked["data_camvid"]["deps"]
    (copied / f"{tracked}.dvc").touch()
    found = yaml.safe_load(dvc_yaml(copied / "conf"))["stages"]
    assert untracked.keys() - found.keys() == {"raw_camvid"}
    assert found["data_camvid"]["deps"][-1] == f"{tracked}/inner"


def test_git_sees_the_notes_on_raw_folders_and_not_the_folders():
    """What `dvc add` notes of a raw folder is for git; the folder is not."""
    said = subprocess.run(
        ["git", "check-ignore", "data/01_raw/camvid.dvc", "data/01_raw/camvid/x.png"],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.stdout.split() == ["data/01_raw/camvid/x.png"]


def filepath(dataset):
    """Where the catalog keeps a dataset: `<owner>.<name>` matches the factories `{…}.<name>`."""
    owner, name = dataset.split(".", 1)
    for file in (PROJECT / "conf/base/catalog").glob("*.yml"):
        for pattern, entry in yaml.safe_load(file.read_text(encoding="utf8")).items():
            kind, _, suffix = pattern.partition("}.")
            if suffix == name:
                return entry["filepath"].replace(f"{kind}}}", owner).replace("${globals:data}", "data")
    raise KeyError(dataset)


def covers(declared, path):
    return any(path == entry or path.startswith(f"{entry}/") for entry in declared)


@cache
def pipelines():
    return register_pipelines()


@pytest.mark.parametrize(
    "name", sorted(n for n, stage in stages().items() if stage["cmd"].startswith("kedro run"))
)
def test_a_stage_declares_all_that_its_nodes_read_and_write(name):
    stage = stages()[name]
    words = stage["cmd"].split()
    pipeline = pipelines()[words[words.index("--pipeline") + 1]]
    if "--namespaces" in words:
        pipeline = pipeline.filter(node_namespaces=[words[words.index("--namespaces") + 1]])
    read = {d for d in pipeline.inputs() if not d.endswith((".work", ".store", ".packed"))}
    parameters = {d.removeprefix("params:") for d in read if d.startswith("params:")}
    files = {filepath(d) for d in read if not d.startswith("params:")}
    outs = paths(stage["outs"] + stage.get("metrics", []))
    keys = {key for entry in stage["params"] for keys in entry.values() for key in keys}
    assert {key.split(".")[0] for key in keys} == parameters
    assert {f for f in files if not covers(paths(stage["deps"]), f)} == set()
    assert {d for d in pipeline.all_outputs() if not covers(outs, filepath(d))} == set()


def test_the_tour_waits_for_all_its_experiments():
    tour = {name for name, experiment in find_experiments(PROJECT / "conf").items() if experiment.tour}
    assert {Path(file).parent.name for file in stages()["tour"]["deps"]} == tour
    assert {stages()[name]["cmd"] for name in tour} == {
        f"kedro run --pipeline {n} --namespaces {n}" for n in tour
    }


@pytest.mark.slow
def test_the_tour_runs_once_then_nothing_then_what_an_edit_touches(project):
    first = project.dvc("repro", "tour")
    assert set(first) == {"data_digits", "drift_digits", "tour", *EXPERIMENTS} - {"segmentation_camvid"}
    assert len(first) == 7
    order = {name: place for place, name in enumerate(first)}
    assert (
        order["data_digits"]
        < order["drift_digits"]
        < order["autoencoder_digits"]
        < order["classification_digits_pretrained"]
    )
    assert order["classification_digits"] < order["gan_digits"]
    assert first[-1] == "tour"
    assert project.dvc("repro", "tour") == []
    # Nothing but the lock is left for git: no ignore files in the data folders, no data.
    assert project.git("status", "--porcelain") == "?? dvc.lock\n"

    # One experiment edited: that one, and those that start from its checkpoint.
    project.tune("experiment", "gan_digits", "model", latent=5)
    assert project.dvc("repro", "tour") == ["gan_digits", "tour"]
    project.tune("experiment", "autoencoder_digits", "train", epochs=99)
    assert set(project.dvc("repro", "tour")) == {
        "autoencoder_digits",
        "classification_digits_pretrained",
        "tour",
    }


def test_comments_drawing_code_and_compiled_files_train_nothing(project):
    project.dvc("repro", "classification_digits")
    file = f"{FOLDER}/classification_digits.yml"
    project.edit(file, "classification_digits:", "# a remark\nclassification_digits:")
    project.edit("src/cv_pipelines/plots/gallery.py", '"""', '"""Changed. ')
    compiled = project.folder / "src/cv_pipelines/models/__pycache__"
    compiled.mkdir()
    (compiled / "unet.cpython-311.pyc").write_bytes(b"compiled")
    assert project.dvc("repro", "classification_digits") == []


def test_a_changed_reader_trains_again_only_where_its_tables_change(project):
    project.dvc("repro", "classification_digits")
    project.edit("src/cv_pipelines/sources/digits.py", '"""', '"""Changed. ')
    assert project.dvc("repro", "classification_digits") == ["data_digits"]
    project.tune("source", "digits", "test", share=0.31)
    again = ["data_digits", "drift_digits", "classification_digits"]
    assert project.dvc("repro", "classification_digits") == again


def test_a_broken_training_finds_its_state_again(project):
    ran = project.dvc("repro", "classification_digits", code=255, FAILS="classification_digits")
    assert ran == ["data_digits", "drift_digits", "classification_digits"]
    assert project.dvc("repro", "classification_digits") == ["classification_digits resumes"]


def test_raw_files_are_looked_at_each_time_but_read_only_if_changed(project):
    first = ["raw_camvid", "data_camvid", "segmentation_camvid"]
    assert project.dvc("repro", "segmentation_camvid") == first
    assert project.dvc("repro", "segmentation_camvid") == ["raw_camvid"]


def run_command(project, *words):
    return CliRunner().invoke(cli, ["cv", *words], obj=SimpleNamespace(project_path=project))


@pytest.fixture
def copied(tmp_path):
    copy_project(tmp_path / "project")
    return tmp_path / "project"


def test_raw_notes_every_change_and_names_what_is_missing(copied, tmp_path, monkeypatch):
    monkeypatch.setenv("CV_PIPELINES_RAW", str(tmp_path / "raw"))
    absent = run_command(copied, "raw", "camvid")
    assert absent.exit_code == 1
    assert "camvid: no folder" in absent.output
    assert "CV_PIPELINES_RAW" in absent.output
    folder = tmp_path / "raw" / "camvid"
    folder.mkdir(parents=True)
    notes = []
    for text in ("one", "two!", None):
        if text:
            (folder / "frame.png").write_text(text)
        assert run_command(copied, "raw", "camvid").exit_code == 0
        notes.append((copied / "data/02_intermediate/camvid.files.json").read_text())
    assert notes[0] != notes[1] == notes[2]


def test_raw_refuses_an_unknown_source(copied):
    done = run_command(copied, "raw", "nowhere")
    assert done.exit_code == 1
    assert "no section 'nowhere'" in done.output


def test_dvc_writes_a_stage_for_a_new_experiment_and_none_for_a_local_one(copied):
    assert run_command(copied, "dvc", "--check").exit_code == 0
    new = (copied / FOLDER / "classification_digits.yml").read_text().replace("_digits:", "_mine:")
    local = copied / "conf/local/parameters/experiments"
    local.mkdir(parents=True)
    (local / "mine.yml").write_text(new.replace("_mine:", "_private:"))
    assert run_command(copied, "dvc", "--check").exit_code == 0
    (copied / FOLDER / "mine.yml").write_text(new)
    stale = run_command(copied, "dvc", "--check")
    assert stale.exit_code == 1
    assert "kedro cv dvc" in stale.output
    before = yaml.safe_load((copied / "dvc.yaml").read_text())["stages"]
    assert run_command(copied, "dvc").exit_code == 0
    after = yaml.safe_load((copied / "dvc.yaml").read_text())["stages"]
    assert after.keys() - before.keys() == {"classification_mine"}
    assert run_command(copied, "dvc", "--check").exit_code == 0


def test_results_writes_the_leaderboard_or_says_that_there_is_nothing(copied):
    nothing = run_command(copied, "results")
    assert nothing.exit_code == 1
    assert "no results" in nothing.output
    metrics = {
        "experiment": "classification_digits", "task": "classification", "values": {"accuracy": 0.75},
        "spread": {"accuracy": 0.0}, "contract": {"source": "digits"}, "fingerprint": "f", "seconds": 4.0,
        "device": "cpu",
    }  # fmt: skip
    folder = copied / "data/08_reporting/classification_digits"
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(metrics))
    shown = run_command(copied, "results")
    assert shown.exit_code == 0, shown.output
    assert "0.7500" in shown.output
    board = (copied / "data/08_reporting/leaderboard.csv").read_text()
    assert "classification_digits,classification,digits,accuracy,0.75" in board


@pytest.mark.slow
def test_the_real_pipelines_under_dvc(tmp_path):
    project = Project(tmp_path, Path(sys.executable).parent)
    env = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    project.tune("experiment", "classification_digits", "train", epochs=1)
    project.dvc("repro", "classification_digits", **env)
    weights = project.folder / "data/06_models/classification_digits/checkpoint/seed_0/best.safetensors"
    tables = project.folder / "data/05_model_input/digits/manifest.parquet"
    first, table = weights.stat().st_mtime_ns, tables.stat().st_mtime_ns
    project.dvc("repro", "classification_digits", **env)
    assert weights.stat().st_mtime_ns == first
    project.tune("experiment", "classification_digits", "train", batch_size=48)
    project.dvc("repro", "classification_digits", **env)
    assert weights.stat().st_mtime_ns > first
    assert tables.stat().st_mtime_ns == table
    assert project.git("status", "--porcelain") == f" M {FOLDER}/classification_digits.yml\n?? dvc.lock\n"
