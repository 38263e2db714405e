"""`kedro cv predict` and `kedro cv export`: what the docs show works, and what is refused says why."""

import json
import re
import shlex
import shutil
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from cv_pipelines.cli import cv
from cv_pipelines.commands import results
from cv_pipelines.inference import pictures
from cv_pipelines.io.tracking import Tracker, TrackingConfig
from cv_pipelines.pipelines import source_data
from cv_pipelines.training.checkpoints import save_checkpoints

DOCS = Path(__file__).parents[2] / "docs"
TASKS = {
    "classification_digits": "classification",
    "detection_sample": "detection",
    "activity_sample": "activity",
}
# models of MLflow are asked for by name in tests/promotion
COMMANDS = {
    name: re.findall(
        r"^kedro cv ((?!.*(?:models|runs):/)[^#\n]*)",
        (DOCS / f"{name}.md").read_text(encoding="utf8"),
        re.MULTILINE,
    )
    for name in ("predict", "export")
}


def blocks(name):
    return re.findall(r"```python\n(.*?)```", (DOCS / f"{name}.md").read_text(encoding="utf8"), re.DOTALL)


@pytest.fixture
def project(checkpoint, sources, tmp_path, monkeypatch):
    """A folder with models and things to predict, as the docs name them; gives what runs a command there."""
    for name, task in TASKS.items():
        saved = checkpoint(task)
        saved = replace(saved, meta=saved.meta.model_copy(update={"experiment": name}))
        folder = tmp_path / "data" / "06_models" / name / "checkpoint"
        folder.parent.mkdir(parents=True)
        save_checkpoints(folder, {0: saved})
    rng = np.random.default_rng(0)
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for name in ("one.png", "two.jpg", "more/three.png"):
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "broken.png").write_bytes(b"broken")
    writer = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 64))
    for _ in range(11):
        writer.write(rng.integers(0, 255, (64, 64, 3), np.uint8))
    writer.release()
    pd.DataFrame(rng.normal(size=(80, 6)), columns=list("abcdef")).to_csv(tmp_path / "walk.csv", index=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "fetch", lambda url: encoded(rng))
    monkeypatch.setattr(source_data, "stored_source", lambda *_: sources["classification"])
    monkeypatch.setattr(results, "source_parameters", lambda *_: {})
    return lambda *words: CliRunner().invoke(cv, list(words), obj=SimpleNamespace(project_path=str(tmp_path)))


def encoded(rng):
    buffer = BytesIO()
    Image.fromarray(rng.integers(0, 255, (16, 16), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_commands_and_the_python_of_the_docs_on_predicting(project, tmp_path, capsys):
    assert len(COMMANDS["predict"]) == 6
    for command in COMMANDS["predict"]:
        done = project(*shlex.split(command))
        assert done.exit_code == 0, (command, done.output)
    counts = {
        folder.name: len(pd.read_parquet(folder / "samples")) for folder in (tmp_path / "results").iterdir()
    }
    assert counts == {"photos": 3, "one": 1, "boxes": 3, "film": 3, "web": 1, "walk": 4}
    assert len(list((tmp_path / "results" / "boxes" / "pictures").rglob("*.jpg"))) == 3
    for block in blocks("predict"):
        exec(block, {})
    shown = capsys.readouterr().out
    assert "more/three.png" in shown
    assert "not an image" in shown


def test_the_commands_and_the_python_of_the_docs_on_exporting(project, tmp_path, capsys):
    assert len(COMMANDS["export"]) == 3
    for command in COMMANDS["export"]:
        done = project(*shlex.split(command))
        assert done.exit_code == 0, (command, done.output)
    assert (tmp_path / "data/06_models/classification_digits/export/classification_digits.onnx").exists()
    names = {path.name.removeprefix("classification_digits.") for path in (tmp_path / "exported").iterdir()}
    assert names == {"onnx", "onnx.json", "int8.onnx", "pt2", "pt2.json"}
    project("predict", "classification_digits", "photos/one.png", "--to", "here")
    for block in blocks("export"):
        exec(block, {})
    label = pd.read_parquet(tmp_path / "here" / "predictions")["label"].iat[0]
    assert capsys.readouterr().out.split() == [label]


def test_the_table_says_what_came_out_and_where(project):
    done = project("predict", "classification_digits", "photos", "--to", "out")
    assert "classification_digits: folder of images, 4 inputs" in done.output
    for name, count in (("predictions", 3), ("samples", 3), ("quarantine", 1)):
        assert re.search(rf"{name} .* {count} .* out/{name} ", done.output), done.output
    again = project("predict", "classification_digits", "photos", "--to", "out")
    assert "4 inputs, 4 of them earlier" in again.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["predict", "missing", "photos"],
            "Error: no trained model 'missing'; there are: activity_sample, class",
        ),
        (["predict", "classification_digits", "photos", "--seed", "7"], "no seed 7; there are 0"),
        (["predict", "classification_digits", "nowhere"], "Error: nowhere: there is no such file or folder"),
        (["predict", "activity_sample", "photos"], "Error: photos: no sensor table in it"),
        (["predict", "classification_digits", "walk.csv"], "(classification) reads images"),
        (["predict", "activity_sample", "walk.csv", "--pictures"], "there are no pictures to draw on"),
        (
            ["predict", "classification_digits", "photos/broken.png"],
            "nothing could be predicted; out/quarantine says",
        ),
        (["predict", "classification_digits", "photos", "--batch-size", "0"], "0 is not in the range x>=1"),
        (
            ["export", "detection_sample", "--int8"],
            "Error: detection_sample: --int8: what 8 bits cost a detector is not measured",
        ),
        (["export", "classification_digits", "--int8", "--format", "torch"], "--int8 writes an ONNX file"),
        (["export", "missing"], "no trained model 'missing'"),
    ],
)
def test_what_is_refused_says_why(project, words, told):
    done = project(*words, *(["--to", "out"] if words[0] == "predict" else []))
    assert done.exit_code != 0
    assert told in re.sub(r"\s+", " ", done.output)


def test_a_damaged_checkpoint_is_named(project, tmp_path):
    folder = tmp_path / "data/06_models/classification_digits/checkpoint/seed_0"
    (folder / "best.safetensors").write_bytes(b"half")
    done = project("predict", "classification_digits", "photos", "--to", "out")
    assert "unreadable checkpoint" in done.output
    shutil.rmtree(folder)
    assert "no checkpoint" in project("predict", "classification_digits", "photos", "--to", "out").output


def test_the_terminal_and_the_json_of_an_export_agree(project, tmp_path):
    done = project("export", "classification_digits", "--to", "exported")
    report = json.loads((tmp_path / "exported/classification_digits.onnx.json").read_text())
    assert report["largest_difference"] <= 1e-4
    assert f"{report['samples_compared']} inputs compared" in done.output


def test_a_model_is_logged_with_its_run_once_and_predicts_by_the_name_of_that_run(
    project, tmp_path, monkeypatch
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker = Tracker(TrackingConfig(tracking_uri="sqlite:///m.db", experiment="x"), tmp_path)
    monkeypatch.setattr(results, "tracker_of", lambda *_: tracker)
    done = [project("log-model", "classification_digits") for _ in range(2)]
    assert done[0].exit_code == 0, done[0].output
    assert done[0].output.splitlines()[-1] == done[1].output.splitlines()[-1]  # MLflow talks before
    model, run = re.findall(r"models:/(m-\w+), of runs:/(\w+)", done[0].output)[0]
    assert tracker.client.get_logged_model(model).source_run_id == run
    by_run = project("predict", f"runs:/{run}", "photos", "--to", "by_run")
    assert by_run.exit_code == 0, by_run.output
    project("predict", "classification_digits", "photos", "--to", "by_name")
    tables = [pd.read_parquet(tmp_path / folder / "predictions") for folder in ("by_run", "by_name")]
    assert tables[0]["label"].tolist() == tables[1]["label"].tolist()
