"""The command line: it lists pipelines at once, and refuses a wrong parameters file before anything runs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[1]
HEAVY = (
    "torch",
    "torchvision",
    "lightning",
    "pandas",
    "mlflow",
    "sklearn",
    "plotly",
    "timm",
    "pycocotools",
    "optuna",
)
PROBE = """
import sys
from cv_pipelines.pipeline_registry import register_pipelines
assert len(register_pipelines()) > 20
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""
OPTIMIZER = "optimizer: {lr: 0.01}"
BAD = {
    "unknown key": (
        "classification_digits: {train: {epoch: 3}}",
        ["classification_digits: train.epoch: unknown key (value 3)"],
    ),
    "unknown section": (
        "classification_digits: {modle: x}",
        ["classification_digits: modle: unknown key (value 'x'); allowed are augment, cache, embedder"],
    ),
    "wrong type": (
        "classification_digits: {train: {epochs: many}}",
        ["classification_digits: train.epochs: Input should be a valid integer (value 'many')"],
    ),
    "out of range": (
        "classification_digits: {train: {batch_size: 0}}",
        ["classification_digits: train.batch_size: Input should be greater than 0 (value 0)"],
    ),
    "unknown model": (
        "classification_digits: {model: {name: resnet_900}}",
        ["classification_digits: model.name: unknown name 'resnet_900'; allowed are", "residual_cnn", "unet"],
    ),
    "unknown option of the model": (
        "classification_digits: {model: {depth: 3}}",
        ["classification_digits: model: depth: unknown key (value 3); allowed are blocks, channels"],
    ),
    "unknown task": (
        "classification_digits: {task: clasification}",
        ["classification_digits: task: unknown name 'clasification'; allowed are activity, autoencoder"],
    ),
    "unknown augmentation": (
        "classification_digits: {augment: {name: mixdown}}",
        ["classification_digits: augment.name: unknown name 'mixdown'; allowed are"],
    ),
    "unknown option of the loss": (
        "classification_digits: {loss: {gamma: 2}}",
        ["classification_digits: loss: gamma: unknown key (value 2); allowed are label_smoothing"],
    ),
}
BAD_SOURCE = (
    "digits: {reader: mnist}",
    "digits: reader: unknown name 'mnist'; allowed are camvid, coco, digits",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project, so that conf/local and data are the tests' own."""
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(PROJECT / "src", project / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PROJECT / "conf", project / "conf", ignore=shutil.ignore_patterns("local"))
    (project / "conf" / "local").mkdir()
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(PROJECT / name, project)
    return project


@pytest.fixture
def local(project):
    """A function that writes a file of conf/local/parameters; they are gone after the test."""
    folder = project / "conf" / "local" / "parameters"

    def write(kind, text):
        path = folder / kind / "mine.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf8")

    yield write
    shutil.rmtree(folder, ignore_errors=True)


def python(project, *arguments):
    environment = os.environ | {"PYTHONPATH": str(project / "src"), "COLUMNS": "200"}
    environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{project}/tracking.db"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def test_listing_pipelines_needs_no_heavy_library(project):
    done = python(project, "-c", PROBE)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & set(HEAVY) == set()


def test_the_registry_lists_every_kind_of_pipeline(project):
    done = python(project, "-m", "kedro", "registry", "list")
    assert done.returncode == 0, done.stderr
    listed = set(done.stdout.replace("-", " ").split())
    assert {"__default__", "everything", "detection", "classification_digits", "data_digits"} <= listed


def test_an_experiment_in_conf_local_is_a_pipeline(project, local):
    local("experiments", f"mine: {{task: classification, source: digits, train: {{{OPTIMIZER}}}}}")
    done = python(project, "-m", "kedro", "registry", "describe", "mine")
    assert done.returncode == 0, done.stderr
    assert "mine.train_model" in done.stdout
    assert "digits.read_source" in done.stdout


SILENT = """
import cv_pipelines.settings
from mlflow.telemetry.utils import is_telemetry_disabled
print(is_telemetry_disabled())
"""


@pytest.mark.slow  # imports MLflow
def test_mlflow_tells_its_makers_nothing(project, monkeypatch):
    for name in ("CI", "DO_NOT_TRACK", "GITHUB_ACTIONS", "MLFLOW_DISABLE_TELEMETRY", "PYTEST_CURRENT_TEST"):
        monkeypatch.delenv(name, raising=False)  # each silences it, too
    assert python(project, "-c", SILENT).stdout.split() == ["True"]


CHECK = """
import json, sys
from pathlib import Path
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
project = Path.cwd()
bootstrap_project(project)
for kind, text in json.load(sys.stdin):
    path = project / "conf/local/parameters" / kind / "mine.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    try:
        with KedroSession.create(project_path=project) as session:
            session.run(pipeline_names=["classification_digits"])
        answer = "it ran"
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    print(json.dumps(answer))
    path.unlink()
"""


@pytest.fixture(scope="module")
def answers(project):
    """What a run says to each bad file; one process for all, as it takes seconds to import torch."""
    (project / "conf" / "local").mkdir(exist_ok=True)
    files = [("experiments", text) for text, _ in BAD.values()] + [("sources", BAD_SOURCE[0])]
    environment = os.environ | {
        "PYTHONPATH": str(project / "src"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{project}/t.db",
    }
    done = subprocess.run(
        [sys.executable, "-c", CHECK], cwd=project, env=environment, input=json.dumps(files),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('"')]
    return dict(zip([*BAD, "source"], lines, strict=True))


@pytest.mark.parametrize("defect", BAD)
def test_a_bad_experiment_is_refused_with_file_key_value_and_what_is_allowed(answers, defect):
    answer = answers[defect]
    assert answer.startswith("ClickException: conf/local/parameters/experiments/mine.yml: ")
    assert all(part in answer for part in BAD[defect][1]), answer


def test_a_bad_source_is_refused_too(answers):
    assert answers["source"].startswith(
        "ClickException: conf/local/parameters/sources/mine.yml: " + BAD_SOURCE[1]
    )


def test_all_defects_are_told_at_once_before_any_node_and_the_exit_code_says_so(project, local):
    local("experiments", "classification_digits: {train: {epochs: many, batch_size: 0}}")
    local("sources", "digits: {sampel: 3}")
    done = python(project, "-m", "kedro", "run", "--pipelines", "classification_digits")
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "experiments/mine.yml: classification_digits: train.epochs: " in output
    assert "experiments/mine.yml: classification_digits: train.batch_size: " in output
    assert "sources/mine.yml: digits: sampel: unknown key (value 3)" in output
    assert " of 9: " not in output
    assert not (project / "data").exists()
    assert not (project / "tracking.db").exists()


def test_a_file_that_cannot_be_read_is_named(project, local):
    local("experiments", "classification_digits: [unclosed")
    done = python(project, "-m", "kedro", "registry", "list")
    assert done.returncode != 0
    assert "mine.yml: not YAML" in done.stdout + done.stderr


def test_the_augmentation_gallery_needs_a_prepared_source(project):
    done = python(project, "-m", "kedro", "cv", "augment-gallery", "digits")
    assert done.returncode != 0
    assert "Error: digits: not prepared, run `kedro run --pipelines data_digits` first" in done.stderr


@pytest.mark.slow  # prepares a source and starts kedro twice
def test_the_augmentation_gallery_of_a_prepared_source(project):
    done = python(project, "-m", "kedro", "run", "--pipelines", "data_digits")
    assert done.returncode == 0, done.stderr
    done = python(project, "-m", "kedro", "cv", "augment-gallery", "digits", "--out", "here/gallery.html")
    assert done.returncode == 0, done.stderr
    assert "Gallery: here/gallery.html" in done.stdout
    page = (project / "here" / "gallery.html").read_text(encoding="utf8")
    assert "Augmentations: digits" in page
    shutil.rmtree(project / "data")


@pytest.mark.slow  # prepares a source and starts kedro twice
def test_anchors_of_a_prepared_source_are_printed_as_a_parameters_file_takes_them(project):
    done = python(project, "-m", "kedro", "cv", "anchors", "sample_coco")
    assert "Error: sample_coco: not prepared" in done.stderr
    done = python(project, "-m", "kedro", "run", "--pipelines", "data_sample_coco")
    assert done.returncode == 0, done.stderr
    done = python(project, "-m", "kedro", "cv", "anchors", "sample_coco", "--size", "128", "--count", "6")
    assert done.returncode == 0, done.stderr
    shapes = yaml.safe_load(done.stdout.splitlines()[0])["anchors"]
    assert len(shapes) == 6
    assert all(0.15 * 128 < side < 0.45 * 128 for shape in shapes for side in shape)
    assert "best recall, sides' ratio 4 (yolo_v5)    1.000" in done.stdout
    shutil.rmtree(project / "data")
