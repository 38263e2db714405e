"""What people see in a real browser: two runs compared in MLflow's own pages, the graph in kedro-viz's."""

import importlib.util
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from docsite.browser import found, opened
from docsite.graph import add_graph
from mlflow import MlflowClient
from PIL import Image

from cv_pipelines.pipelines.train.nodes import train_model
from docsite import screens

PROJECT = Path(__file__).resolve().parents[2]
PAIR = ["classification_digits", "classification_digits_scratch"]
CHANGED = [f"{name}.train.epochs=4" for name in PAIR] + [f"{PAIR[1]}.train.optimizer.lr=0.001"]
SCORES = {"accuracy", "top5_accuracy", "macro_f1", "nll", "ece"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(found() is None, reason="needs Chromium or Chrome on this machine"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="needs playwright"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with two short trainings."""
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(PROJECT / "src", project / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PROJECT / "conf", project / "conf", ignore=shutil.ignore_patterns("local"))
    (project / "conf" / "local").mkdir()
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(PROJECT / name, project)
    with pytest.MonkeyPatch.context() as patch:
        # For what is started from here on: of the copy, and its short trainings.
        patch.setenv("PYTHONPATH", str(project / "src"))
        patch.setenv("KEDRO_ENV", "smoke")
        for name in ("MLFLOW_TRACKING_URI", "CV_PIPELINES_RAW"):
            patch.delenv(name, raising=False)
        command = [sys.executable, "-m", "kedro", "run", "--pipelines", ",".join(PAIR)]
        command += ["--params", ",".join(CHANGED)]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        yield project


@pytest.fixture
def page():
    """A page, of which nothing was asked that is not on this machine."""
    with opened(1500, 950) as page:
        yield page
        assert page.refused == []


@pytest.fixture(scope="module")
def runs(project):
    """MLflow's experiment and the ids of the two runs."""
    return screens.newest_runs(project, PAIR)


@pytest.fixture(scope="module")
def mlflow(project):
    with screens.mlflow_server(project) as address:
        yield address


@pytest.fixture(scope="module")
def graph(project, tmp_path_factory):
    """The static build, as the site has it."""
    html = tmp_path_factory.mktemp("html")
    add_graph(project, html)
    with screens.file_server(html / "viz") as address:
        yield address


def picture_of(page, folder):
    """Take a picture; it shows more than an empty page."""
    page.screenshot(path=folder / "page.png")
    colours = Image.open(folder / "page.png").convert("RGB").getcolors(1 << 24)
    assert len(colours) > 50


def curves(project, metric):
    """Points of each run's curve, from what the trainings have left."""
    found = {}
    for name in PAIR:
        history = pd.read_parquet(project / f"data/smoke/06_models/{name}/history.parquet")
        rows = history[history["name"] == metric]
        found[name] = (rows["epoch"].tolist(), pytest.approx(rows["value"].tolist()))
    return found


def lines(figure):
    """Points of each curve of a figure, by its name."""
    return {one["name"]: (one["x"], one["y"]) for one in figure["traces"] if one["type"] == "scatter"}


def test_the_curves_of_all_runs_of_a_metric_lie_in_one_chart(project, mlflow, runs, page, tmp_path):
    screens.open_charts(page, mlflow, runs[0])
    page.get_by_placeholder("Search metric charts").fill("train_loss")
    page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot').length === 1")
    page.wait_for_function("() => document.querySelector('.js-plotly-plot').data.length >= 2")
    (figure,) = screens.drawn(page)
    assert lines(figure) == curves(project, "train_loss")
    picture_of(page, tmp_path)


def test_two_runs_are_compared(project, mlflow, runs, page, tmp_path):
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    first, second = (client.get_run(run).data for run in runs[1])
    assert set(first.metrics) == set(second.metrics) >= SCORES | {"train_loss", "val_accuracy", "lr"}
    screens.open_comparison(page, mlflow, *runs)
    text = page.inner_text("body")
    assert all(f"\n{name}\n" in text for name in [*first.metrics, *PAIR])
    page.get_by_text("Show diff only").first.click()
    table = page.locator("table").nth(1)
    page.wait_for_function("() => !document.body.innerText.includes('model.blocks')")
    shown = {row.split("\t")[0].strip() for row in table.inner_text().splitlines() if "\t" in row} - {""}
    keys = first.params.keys() | second.params.keys()
    assert shown == {key for key in keys if first.params.get(key) != second.params.get(key)}
    assert {"train.optimizer.lr", "train.batch_size", "inputs.labels_per_class"} <= shown
    assert "train.seeds" not in shown  # only one file says it; it is the same
    picture_of(page, tmp_path)
    page.get_by_role("link", name="val_accuracy", exact=True).first.click()
    page.locator(".js-plotly-plot").first.wait_for()
    page.wait_for_function("() => document.querySelector('.js-plotly-plot').data.length >= 2")
    assert lines(screens.drawn(page)[0]) == curves(project, "val_accuracy")


def test_a_run_shows_its_data_and_its_report(project, mlflow, runs, page, tmp_path):
    experiment, (run, _) = runs
    screens.open_run(page, mlflow, experiment, run)
    page.get_by_text("+2").click()
    inputs = MlflowClient(f"sqlite:///{project / 'mlflow.db'}").get_run(run).inputs.dataset_inputs
    assert len(inputs) == 3
    for one in inputs:
        page.get_by_text(f"digits ({one.dataset.digest})").first.wait_for()
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("errors.html").first.wait_for()
    page.get_by_text("report.html").first.click()
    report = page.frame_locator("iframe").first
    report.get_by_role("heading", name=PAIR[0]).wait_for()
    accuracy = json.loads((project / f"data/smoke/08_reporting/{PAIR[0]}/metrics.json").read_text())["values"]
    body = report.locator("body").inner_text()
    assert f"{accuracy['accuracy']:.4f}" in body
    assert "Predictions" in body
    assert report.locator(".js-plotly-plot").count() > 2
    picture_of(page, tmp_path)


def test_the_graph_shows_layers_and_opens_namespaces(graph, page, tmp_path):
    name = PAIR[0]
    screens.open_graph(page, graph, name)
    layers = page.locator(".pipeline-layer-name").all_inner_texts()
    assert layers == ["intermediate", "model_input", "models", "reporting"]
    nodes = page.locator(".pipeline-node__text")
    assert {name, "digits"} <= set(nodes.all_text_contents())
    assert "train_model" not in nodes.all_text_contents()
    screens.open_graph(page, graph, name, expandAllPipelines="true")
    page.locator(".pipeline-node__text", has_text="train_model").wait_for(state="attached")
    assert {"read_source", "train_model", "predict", "score", "draw_report"} <= set(nodes.all_text_contents())
    assert "model_output" in page.locator(".pipeline-layer-name").all_inner_texts()
    picture_of(page, tmp_path)


def test_a_node_shows_its_code_and_its_parameters(graph, page, tmp_path):
    name = PAIR[0]
    ids = screens.node_ids(graph)
    screens.open_graph(page, graph, name, sid=ids[f"{name}.train_model"])
    code = screens.show_code(page).inner_text()
    assert re.sub(r"\s", "", code) == re.sub(r"\s", "", inspect.getsource(train_model))
    picture_of(page, tmp_path)
    screens.open_graph(page, graph, name, sid=ids[f"params:{name}"])
    panel = page.locator(".pipeline-metadata")
    panel.locator(".icon-container").nth(1).click()
    panel.get_by_text("classification", exact=False).first.wait_for()
    assert all(f'"{key}"' in panel.inner_text() for key in ("task", "source", "model", "augment", "train"))


def test_a_table_a_figure_and_a_gallery_are_shown(project, graph, page, tmp_path):
    name = PAIR[0]
    ids = screens.node_ids(graph)
    screens.open_graph(page, graph, name, sid=ids["digits.manifest"])
    rows = screens.expand_preview(page).locator("table").inner_text().splitlines()
    manifest = pd.read_parquet(project / "data/smoke/05_model_input/digits/manifest.parquet")
    assert rows[0].split() == list(manifest.columns)
    assert [row.split()[0] for row in rows[1:]] == manifest["sample_id"].head(20).tolist()
    for kind, images in (("score_figure", 0), ("gallery", 12)):
        screens.open_graph(page, graph, name, sid=ids[f"{name}.{kind}"])
        screens.expand_preview(page)
        saved = json.loads((project / f"data/smoke/08_reporting/{name}/{kind}.json").read_text())
        figure = screens.drawn(page)[-1]
        assert [one["type"] for one in figure["traces"]] == [
            one.get("type", "scatter") for one in saved["data"]
        ]
        assert figure["images"] == len(saved["layout"].get("images", [])) == images
    picture_of(page, tmp_path)
