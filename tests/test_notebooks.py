"""The notebooks run on the results of a tour, and say so where there are none."""

import json
import re
import shutil
from pathlib import Path

import nbformat
import plotly.graph_objects as go
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from cv_pipelines.experiments import find_experiments

PROJECT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
TWELVE = [
    *("map", "map_50", "map_75", "map_small", "map_medium", "map_large"),
    *("ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large"),
]
MAIN = {
    "activity": "accuracy",
    "autoencoder": "psnr",
    "classification": "accuracy",
    "gan": "fid_classification_digits",
    "landmarks": "mean_error",
    "segmentation": "miou",
}


def values_of(task):
    """Scores that are told apart when they are shown."""
    if task == "detection":
        scores = {name: (place + 1) / 100 for place, name in enumerate(TWELVE)}
        return scores | {"map_small": None}
    return {MAIN[task]: 0.75}


def write_results(project):
    """Write what the tour leaves behind, as far as notebooks read it."""
    for name, experiment in find_experiments(project / "conf").items():
        values = values_of(experiment.task)
        if name == "classification_digits_pretrained":
            values = {"accuracy": 0.8125}
        metrics = {
            "experiment": name,
            "task": experiment.task,
            "values": values,
            "spread": {score: 0.0156 for score in values},
            "seeds": {"0": values, "1": values},
            "contract": {"source": experiment.source, "split": "test", "n": 8},
            "fingerprint": "0",
            "seconds": 1.5,
            "device": "cpu",
        }
        folder = project / "data/08_reporting" / name
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(metrics))
        for figure in ("gallery", "score_figure", "curves"):
            go.Figure(go.Scatter(x=[0, 1], y=[1, 2]), {"title": f"{name} {figure}"}).write_json(
                folder / f"{figure}.json"
            )


@pytest.fixture
def project(tmp_path):
    """A copy of the project without results."""
    for name in ("conf", "src", "notebooks"):
        ignored = shutil.ignore_patterns("__pycache__", "local", ".ipynb_checkpoints")
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=ignored)
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(PROJECT / name, tmp_path)
    (tmp_path / "conf/local").mkdir()
    return tmp_path


def execute(project, name):
    notebook = nbformat.read(project / "notebooks" / name, as_version=4)
    resources = {"metadata": {"path": str(project / "notebooks")}}
    return NotebookClient(notebook, timeout=300, resources=resources).execute()


def shown(notebook):
    """All that the notebook displays, as one text without colours."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = json.dumps([output.get("data", {}) for output in outputs], ensure_ascii=False)
    return re.sub(r"\\u001b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_committed_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert [cell for cell in code if cell.outputs or cell.execution_count] == []


def test_the_tour_is_shown(project):
    write_results(project)
    text = shown(execute(project, "01_tour.ipynb"))
    tour = [name for name, e in find_experiments(PROJECT / "conf").items() if e.tour]
    assert [name for name in tour if name not in text] == []
    assert "0.8125" in text
    assert "0.0156" in text
    for figure in (
        "detection_sample gallery",
        "classification_digits score_figure",
        "classification_digits curves",
    ):
        assert figure in text
    for place, name in enumerate(TWELVE):
        assert f">{name}<" in text
        assert name == "map_small" or f">{(place + 1) / 100:.3f}<" in text
    assert ">n/a<" in text


def test_a_tour_that_has_not_been_run_is_named(project):
    with pytest.raises(CellExecutionError, match=r"The tour has not been run yet .*run `make run` first"):
        execute(project, "01_tour.ipynb")


@pytest.mark.slow
def test_own_pictures_are_read_and_trained_on(project):
    text = shown(execute(project, "02_own_data.ipynb"))
    assert "one/broken.png" in text
    assert "not an image" in text
    assert "train.epoch: unknown key (value 3)" in text
    assert load_metrics(project, "my_first")["values"]["accuracy"] > 0.5
    assert load_metrics(project, "my_first")["contract"]["classes"] == ["one", "two", "zero"]


@pytest.mark.slow
def test_a_report_is_read(project):
    text = shown(execute(project, "03_read_a_report.ipynb"))
    metrics = load_metrics(project, "reading_digits")
    assert set(metrics["seeds"]) == {"0", "1"}
    assert f">{metrics['values']['accuracy']:.4f}<" in text
    assert '"source": "digits"' in text or "'source': 'digits'" in text


@pytest.mark.slow
def test_one_thing_is_changed_and_compared(project):
    text = shown(execute(project, "04_change_one_thing.ipynb"))
    assert "params.model.channels" in text
    assert "params.train.epochs" not in text  # the same in both
    both = [load_metrics(project, name)["values"]["accuracy"] for name in ("thin_digits", "wide_digits")]
    assert all(f">{value:.3f}<" in text for value in both)


def load_metrics(project, experiment):
    return json.loads((project / "data/08_reporting" / experiment / "metrics.json").read_text())
