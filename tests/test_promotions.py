"""Comparisons and promotions as a user meets them: what is said before a run, and whole runs by command."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from click.testing import CliRunner
from mlflow import MlflowClient

from cv_pipelines.cli import cli
from cv_pipelines.config import ExperimentConfig
from cv_pipelines.errors import ConfigError
from cv_pipelines.experiments import find_experiments, find_promotions
from cv_pipelines.promotion.validation import check_promotion

PROJECT = Path(__file__).resolve().parents[1]
TRAIN = {"epochs": 1, "batch_size": 8, "optimizer": {"lr": 0.1}}


def experiment(task="classification", **sections):
    values = {"task": task, "source": "x", "model": {"name": "residual_cnn"}, "train": TRAIN, **sections}
    return ExperimentConfig.model_validate(values)


def test_what_the_pages_show_is_what_the_project_has():
    page = (PROJECT / "docs/promote.md").read_text(encoding="utf8")
    (block,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    file = PROJECT / "conf/base/parameters/promotions/promote_digits.yml"
    assert yaml.safe_load(block) == yaml.safe_load(file.read_text(encoding="utf8"))


@pytest.mark.parametrize(
    ("values", "task", "told"),
    [
        ({"minimun": 1}, "classification", r"mine: minimun: unknown key \(value 1\); allowed are bootstrap"),
        ({"minimum": -0.1}, "classification", r"mine: minimum: .*greater than or equal to 0 \(value -0.1\)"),
        ({"worse": {"subject": 0.1}}, "activity", r"mine: worse.subject.*'class', 'group', 'image_size' or"),
        ({"bootstrap": {"confidence": 1.0}}, "detection", r"mine: bootstrap.confidence: .*less than 1"),
        ({"metric": "miou"}, "detection", r"mine: metric: unknown figure 'miou'; allowed are ar_1, .*map_50"),
        ({}, "gan", r"mine: candidate: 'one' is of task gan.* allowed are activity, autoencoder, class"),
    ],
)
def test_defects_are_told_with_key_value_and_what_is_allowed(values, task, told):
    assert check_promotion("mine", {"candidate": "one"}, experiment()).minimum == 0.0
    with pytest.raises(ConfigError, match=told):
        check_promotion("mine", {"candidate": "one", **values}, experiment(task))


def test_what_was_learned_by_heart_is_not_promoted():
    with pytest.raises(ConfigError, match=r"'one' is scored on its train split.* allowed are .* val or test"):
        check_promotion("mine", {"candidate": "one"}, experiment(evaluate={"split": "train"}))


def test_a_promotion_of_nothing_is_refused(tmp_path):
    folder = tmp_path / "base/parameters/promotions"
    folder.mkdir(parents=True)
    (folder / "mine.yml").write_text("mine: {candidate: nobody}")
    known = find_experiments(PROJECT / "conf")
    with pytest.raises(
        ConfigError, match=r"mine.yml: mine: candidate: no experiment 'nobody'; there are act"
    ):
        find_promotions(tmp_path, known)


def command(project, *words):
    return CliRunner().invoke(cli, ["cv", *words], obj=SimpleNamespace(project_path=project))


def test_comparing_what_never_ran_says_what_to_run(tmp_path):
    done = command(tmp_path, "compare", "one", "two")
    assert done.exit_code == 1
    assert "ComparisonError: one: no results to compare" in done.output
    assert "kedro run --pipeline one" in done.output


LOCAL = """
one: &one
  task: classification
  source: digits
  model: {name: residual_cnn, channels: [4, 8], blocks: 1}
  train: {epochs: 1, batch_size: 32, device: cpu, optimizer: {name: adamw, lr: 0.004}}
two:
  <<: *one
  train: {epochs: 6, batch_size: 32, device: cpu, optimizer: {name: adamw, lr: 0.01}}
other:
  <<: *one
  evaluate: {flip: true}
"""


@pytest.mark.slow
def test_models_are_compared_promoted_refused_and_rolled_back_by_command(tmp_path):
    project = tmp_path / "project"
    shutil.copytree(PROJECT / "src", project / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PROJECT / "conf", project / "conf", ignore=shutil.ignore_patterns("local"))
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(PROJECT / name, project)
    gates = "".join(f"to_{name}: {{candidate: {name}, worse: {{}}}}\n" for name in ("one", "two"))
    for kind, text in (("experiments", LOCAL), ("promotions", gates)):
        folder = project / "conf/local/parameters" / kind
        folder.mkdir(parents=True)
        (folder / "mine.yml").write_text(text)
    uri = f"sqlite:///{project}/tracking.db"

    def kedro(*words):
        environment = os.environ | {"PYTHONPATH": str(project / "src"), "MLFLOW_TRACKING_URI": uri}
        environment["COLUMNS"] = "160"
        done = subprocess.run(
            [sys.executable, "-m", "kedro", *words], cwd=project, env=environment, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    code, said = kedro("run", "--pipelines", "to_one,other")
    assert code == 0, said
    assert "classification.digits, version 1: promoted" in said
    code, said = kedro("run", "--pipelines", "to_two")
    assert code == 0, said
    assert "classification.digits, version 2: promoted" in said
    code, said = kedro("run", "--pipelines", "to_one", "--namespaces", "to_one")
    assert code == 3, said
    assert "PromotionRefusedError: to_one: version 1 of classification.digits was refused; better:" in said

    client = MlflowClient(uri)
    assert client.get_model_version_by_alias("classification.digits", "champion").version == 2
    names = {
        run.info.run_name: run
        for e in client.search_experiments()
        for run in client.search_runs([e.experiment_id])
    }
    assert names["two"].data.tags["cv_pipelines.decision"] == "promoted"
    assert names["one"].data.tags["cv_pipelines.decision"] == "refused"
    assert {run.info.status for run in names.values()} == {"FINISHED"}
    files = {file.path for file in client.list_artifacts(names["two"].info.run_id)}
    assert {"decision.json", "decision.html", "report.html"} <= files
    decision = json.loads((project / "data/08_reporting/to_one/decision.json").read_text())
    assert (decision["outcome"], decision["champion"]["experiment"]) == ("refused", "two")

    code, said = kedro("cv", "compare", "one", "two", "--metric", "nll")
    assert code == 0, said
    assert "two is better than one by nll" in said
    found = json.loads((project / "data/08_reporting/comparisons/one_two.json").read_text())
    assert found["overall"][0]["name"] == "nll"
    code, said = kedro("cv", "compare", "one", "other")
    assert code == 1
    assert (
        "ContractError: one and other were scored under contracts that differ in 'flip': False and True"
        in said
    )

    code, said = kedro("cv", "rollback", "classification.digits")
    assert code == 0, said
    assert "version 2 (two) is not the champion any more; version 1 (one) is the champion again" in said
    assert client.get_model_version_by_alias("classification.digits", "champion").version == 1
