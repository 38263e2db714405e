"""Ensembles as a user meets them: what the docs show, what is said before a run, and whole runs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

from cv_pipelines.errors import ConfigError
from cv_pipelines.experiments import find_ensembles, find_experiments, find_sources
from cv_pipelines.pipeline_registry import check_names
from cv_pipelines.provenance import Provenance
from cv_pipelines.training.validation import check_ensemble, check_experiment
from cv_pipelines.validation import check_sections

PROJECT = Path(__file__).resolve().parents[1]
PAGE = (PROJECT / "docs" / "ensembles.md").read_text(encoding="utf8")


def shown():
    """The sections of the YAML blocks of the page."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    return {name: section for block in blocks for name, section in yaml.safe_load(block).items()}


@pytest.mark.parametrize("name", sorted(shown()))
def test_what_the_page_shows_is_valid(name, tmp_path):
    section = shown()[name]
    shutil.copytree(PROJECT / "conf/base/parameters/experiments", tmp_path / "base/parameters/experiments")
    folder = tmp_path / "base/parameters/ensembles"
    folder.mkdir()
    (folder / f"{name}.yml").write_text(yaml.safe_dump({name: section}))
    experiments = find_experiments(tmp_path)
    found = find_ensembles(tmp_path, experiments)[name]
    parameters = {}
    for file in (tmp_path / "base/parameters/experiments").glob("*.yml"):
        parameters |= yaml.safe_load(file.read_text(encoding="utf8"))
    sources = find_sources(PROJECT / "conf")
    members = {m: check_experiment(m, parameters[m], sources) for m in found.members}
    assert check_ensemble(name, section, members).members == section["members"]


def test_the_page_shows_the_ensemble_of_the_project():
    file = PROJECT / "conf/base/parameters/ensembles/ensemble_digits.yml"
    assert shown()["ensemble_digits"] == yaml.safe_load(file.read_text(encoding="utf8"))["ensemble_digits"]


def test_an_ensemble_has_a_name_of_its_own():
    experiments = find_experiments(PROJECT / "conf")
    (ensemble, *_) = find_ensembles(PROJECT / "conf", experiments).values()
    check_names(experiments, ["digits"], {"mine": ensemble}, {}, {})
    for taken in ("craft_adam", "classification", "digits", "data_digits", "training_craft", "everything"):
        with pytest.raises(ConfigError, match=rf"^{taken}: an ensemble may not be named like a task"):
            check_names(experiments, ["digits"], {taken: ensemble}, {}, {})


EXPERIMENT = """
{name}:
  task: {task}
  source: {source}
  model: {model}
  inputs: {{normalize: packaged}}
  train: {{epochs: {epochs}, batch_size: 16, optimizer: {{lr: 0.005}}, device: cpu, seeds: {seeds}}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with small experiments and ensembles of its own, in the environment smoke."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(PROJECT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PROJECT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(PROJECT / name, folder)
    cnn = "{name: residual_cnn, channels: [4, 8], blocks: 1}"
    small = {"task": "classification", "source": "digits", "epochs": 3}
    fcos = "{name: fcos, weights: none, min_size: 64, max_size: 64, width: 32, score_threshold: 0.02}"
    texts = [
        EXPERIMENT.format(name="one", model=cnn, seeds=[0, 1], **small),
        EXPERIMENT.format(name="two", model=cnn, seeds=[2], **small),
        EXPERIMENT.format(
            name="boxes", model=fcos, seeds=[0, 1], task="detection", source="sample_voc", epochs=2
        ),
    ]
    local = folder / "conf" / "local" / "parameters"
    for kind, text in (
        ("experiments", "".join(texts)),
        (
            "ensembles",
            "both: {members: [one, two], weights: [1, 2]}\nfused: {members: [boxes], evaluate: {flip: true}}",
        ),
    ):
        (local / kind).mkdir(parents=True)
        (local / kind / "mine.yml").write_text(text)
    return folder


def kedro(project, *words, command=("run",)):
    environment = os.environ | {
        "PYTHONPATH": str(project / "src"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{project}/tracking.db",
        "COLUMNS": "160",
    }
    environment.pop("CV_PIPELINES_RAW", None)
    command = [sys.executable, "-m", "kedro", *command, *words]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def test_defects_of_an_ensemble_and_of_its_members_are_told_before_a_run(project):
    files = [project / f"conf/local/parameters/{kind}/mine.yml" for kind in ("experiments", "ensembles")]
    own = {k: v for file in files for k, v in yaml.safe_load(file.read_text()).items()}
    params = own | {"digits": {"reader": "digits"}}
    check_sections(project, params, {"both"})
    params["both"] = own["both"] | {"weights": [1]}
    expected = r"^conf/local/parameters/ensembles/mine\.yml: both: weights: 1 weights for 2 members"
    with pytest.raises(ConfigError, match=expected):
        check_sections(project, params, {"both"})
    # a member that does not take part in this run is checked all the same
    params["two"] = own["two"] | {"lr": 1}
    with pytest.raises(
        ConfigError, match=r"^conf/local/parameters/experiments/mine\.yml: two: lr: unknown key"
    ):
        check_sections(project, params, {"both"})


@pytest.mark.slow
def test_ensembles_run_from_raw_files_to_their_reports(project):
    (project / "conf/local/parameters/sample_voc.yml").write_text(
        "sample_voc: {sample: {n: 24, size: [64, 64]}}"
    )
    done = kedro(project, "--pipelines", "both,fused")
    assert done.returncode == 0, done.stdout + done.stderr
    reporting = project / "data/08_reporting"
    board = pd.read_csv(reporting / "leaderboard.csv").set_index("experiment")
    assert set(board.index) == {"one", "two", "boxes", "both", "fused"}
    assert board["contract_key"]["one"] == board["contract_key"]["both"]
    assert board["contract_key"]["boxes"] != board["contract_key"]["fused"]  # that one looks in a mirror
    table = done.stdout[done.stdout.index("Results") :]
    assert re.search(r"│ both +│ classification +│ accuracy │ +0\.\d{4} +│", table)  # without a spread

    metrics = json.loads((reporting / "both/metrics.json").read_text())
    single = json.loads((reporting / "one/metrics.json").read_text())
    assert metrics["members"]["one"]["seeds"] == single["seeds"]
    assert metrics["members"]["two"]["weight"] == 2.0
    page = (reporting / "both/report.html").read_text(encoding="utf8")
    assert "Beside its members" in page
    assert 'href="../two/report.html"' in page
    results = json.loads((project / "data/07_model_output/fused/coco_results.json").read_text())
    assert {"image_id", "bbox", "score"} <= results[0].keys()

    client = MlflowClient(f"sqlite:///{project}/tracking.db")
    runs = {
        run.info.run_name: run
        for run in client.search_runs([e.experiment_id for e in client.search_experiments()])
    }
    assert runs["both"].info.status == "FINISHED"
    assert runs["both"].data.params["task"] == "classification"
    assert runs["both"].data.metrics["accuracy"] == pytest.approx(metrics["values"]["accuracy"])
    assert runs["both"].data.tags["fingerprint"] == metrics["fingerprint"]
    assert metrics["fingerprint"] == Provenance.model_validate(metrics["provenance"]).fingerprint
    planned = json.loads(kedro(project, "--pipeline", "both", "--json", command=("cv", "plan")).stdout)
    assert {step["state"] for step in planned["steps"]} == {"fresh"}
    with_weights = yaml.safe_load((project / "conf/local/parameters/ensembles/mine.yml").read_text())
    with_weights["both"]["weights"] = [1, 3]
    (project / "conf/local/parameters/ensembles/mine.yml").write_text(yaml.safe_dump(with_weights))
    planned = json.loads(kedro(project, "--pipeline", "both", "--json", command=("cv", "plan")).stdout)
    (needed,) = [step for step in planned["steps"] if step["state"] != "fresh"]
    assert (needed["namespace"], needed["reasons"]) == ("both", ["`weight.two` changed 2.0 → 3.0"])
    assert "report.html" in {file.path for file in client.list_artifacts(runs["both"].info.run_id)}

    # a member's checkpoint of other classes is refused by name; the scores of before stay
    file = project / "data/06_models/two/checkpoint/seed_2/model.json"
    meta = json.loads(file.read_text())
    meta["categories"]["labels"].reverse()
    file.write_text(json.dumps(meta))
    again = kedro(project, "--pipelines", "both", "--namespaces", "both")
    assert again.returncode != 0
    said = " ".join((again.stdout + again.stderr).split())
    assert "ContractError: member two, seed 2 was trained with other 'labels classes'" in said
    assert json.loads((reporting / "both/metrics.json").read_text()) == metrics
