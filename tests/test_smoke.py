"""The whole tour with `--env smoke` on a copy of the project: what a user finds on disk and in MLflow."""

import contextlib
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cv_pipelines.experiments import find_experiments

PROJECT = Path(__file__).resolve().parents[1]
TOUR = {name: e for name, e in find_experiments(PROJECT / "conf").items() if e.tour}
KEYS = {"experiment", "task", "values", "contract", "fingerprint", "seconds", "device"}
CONTRACT = {"source", "split", "n", "protocol"}
COCO_NAMES = (
    *("map", "map_50", "map_75", "map_small", "map_medium", "map_large"),
    *("ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large"),
)
LABELS = {"accuracy", "top5_accuracy", "macro_f1", "nll", "ece"}
VALUES = {
    "activity": LABELS | {"worst_subject_accuracy"},
    "autoencoder": {"mse", "psnr", "ssim"},
    "classification": LABELS,
    "detection": {*COCO_NAMES, "area_precision", "area_recall", "area_iou"},
    "gan": {"fid_classification_digits", "kid_classification_digits", "precision", "recall"},
    "landmarks": {"mean_error", "pck_10", "pck_20", "presence_accuracy"},
    "segmentation": {"miou", "pixel_accuracy", "mean_accuracy", "iou/sky", "iou/road"},
}


@dataclass
class Tour:
    project: Path
    uri: str
    output: str

    def kedro(self, *arguments):
        environment = os.environ | {
            "PYTHONPATH": str(
                self.project / "src"
            ),  # the copy's package, whose settings find the copy's data
            "MLFLOW_TRACKING_URI": self.uri,
            "COLUMNS": "160",
        }
        environment.pop("CV_PIPELINES_RAW", None)
        command = [sys.executable, "-m", "kedro", "run", "--env", "smoke", *arguments]
        return subprocess.run(
            command, cwd=self.project, env=environment, capture_output=True, text=True, check=False
        )

    def json(self, path):
        return json.loads((self.project / "data/smoke" / path).read_text(encoding="utf8"))


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(PROJECT / "src", project / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PROJECT / "conf", project / "conf", ignore=shutil.ignore_patterns("local"))
    (project / "conf" / "local").mkdir()
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(PROJECT / name, project)
    tour = Tour(project, f"sqlite:///{project}/tracking.db", "")
    done = tour.kedro()
    assert done.returncode == 0, done.stdout + done.stderr
    tour.output = done.stdout
    return tour


@pytest.fixture(scope="module")
def runs(tour):
    """All MLflow runs by name."""
    client = MlflowClient(tour.uri)
    experiment = client.get_experiment_by_name("cv_pipelines_smoke")
    found = client.search_runs([experiment.experiment_id])
    named = {run.info.run_name: run for run in found}
    assert len(named) == len(found)
    return named


def test_the_terminal_shows_a_line_a_node_and_a_table(tour):
    lines = re.findall(r"(\d+) of (\d+): (\w+\.\w+)", tour.output)
    assert [int(number) for number, _, _ in lines] == list(range(1, len(lines) + 1))
    assert {int(total) for _, total, _ in lines} == {len(lines)}
    assert {f"{name}.draw_report" for name in TOUR} <= {node for _, _, node in lines}
    chatter = [
        line for line in tour.output.splitlines() if re.search(r"Loading data|Saving data|Tip|TPU|GPU", line)
    ]
    assert chatter == []
    assert "WARNING" not in tour.output
    table = tour.output[tour.output.index("Results") :]
    assert all(re.search(rf"│ {name} +│ {e.task} +│", table) for name, e in TOUR.items())
    assert str(tour.project / "data/smoke/08_reporting/index.html") in table


@pytest.mark.parametrize("name", sorted(TOUR))
def test_metrics_have_the_documented_form(tour, name):
    metrics = tour.json(f"08_reporting/{name}/metrics.json")
    assert metrics.keys() >= KEYS
    assert (metrics["experiment"], metrics["task"]) == (name, TOUR[name].task)
    assert metrics["values"].keys() >= VALUES[TOUR[name].task]
    assert any(value is not None for value in metrics["values"].values())
    assert all(value is None or math.isfinite(value) for value in metrics["values"].values())
    assert metrics["contract"].keys() >= CONTRACT
    assert metrics["contract"]["split"] == "test"
    assert metrics["contract"]["source"] == TOUR[name].source
    assert metrics["contract"]["n"] > 0
    assert re.fullmatch(r"[0-9a-f]{32}", metrics["fingerprint"])
    assert metrics["seconds"] > 0


@pytest.mark.parametrize(
    "page", [*sorted(TOUR), *(f"data_{s}" for s in sorted({e.source for e in TOUR.values()}))]
)
def test_reports_need_no_other_file_and_no_network(tour, page):
    html = (tour.project / f"data/smoke/08_reporting/{page}/report.html").read_text(encoding="utf8")
    assert html.lstrip().lower().startswith("<!doctype html>")
    loaded = re.findall(r"<(?:script|img|iframe|source)[^>]*?\ssrc=[\"']([^\"']+)", html)
    loaded += re.findall(r"<link[^>]*?\shref=[\"']([^\"']+)", html)
    assert [address for address in loaded if not address.startswith("data:")] == []
    assert "Plotly.newPlot" in html


def test_index_and_leaderboard_list_every_experiment(tour):
    reporting = tour.project / "data/smoke/08_reporting"
    board = pd.read_csv(reporting / "leaderboard.csv")
    assert sorted(board["experiment"]) == sorted(TOUR)
    assert all((reporting / report).is_file() for report in board["report"])
    page = (reporting / "index.html").read_text(encoding="utf8")
    assert all(f'href="{name}/report.html"' in page for name in TOUR)
    for row in board.to_dict("records"):
        values = tour.json(f"08_reporting/{row['experiment']}/metrics.json")["values"]
        assert row["score"] == pytest.approx(values[row["score_name"]])


def test_mlflow_has_one_finished_run_an_experiment_below_one_parent(runs):
    (parent,) = [run for run in runs.values() if run.data.tags["cv_pipelines.kind"] == "pipeline"]
    children = {name: run for name, run in runs.items() if run is not parent}
    assert sorted(children) == sorted(TOUR)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parent.info.run_id}


@pytest.mark.parametrize("name", sorted(TOUR))
def test_a_run_says_what_was_trained_and_how_it_went(tour, runs, name):
    run, client = runs[name], MlflowClient(tour.uri)
    metrics = tour.json(f"08_reporting/{name}/metrics.json")
    for key, value in metrics["values"].items():
        if value is not None:
            assert run.data.metrics[key] == pytest.approx(value)
    assert run.data.params["task"] == TOUR[name].task
    assert run.data.params["train.optimizer.name"] in {"adam", "adamw"}
    assert json.loads(run.data.tags["contract"]) == metrics["contract"]
    assert run.data.tags["fingerprint"] == metrics["fingerprint"]
    assert {"contract_key", "device", "mlflow.source.git.commit"} <= run.data.tags.keys()
    history = pd.read_parquet(tour.project / f"data/smoke/06_models/{name}/history.parquet")
    assert len(history)
    for curve, rows in history[history["seed"] == history["seed"].iat[0]].groupby("name"):
        logged = {entry.step: entry.value for entry in client.get_metric_history(run.info.run_id, curve)}
        assert logged == pytest.approx(dict(zip(rows["epoch"], rows["value"], strict=True)), nan_ok=True)
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"report.html", "metrics.json", "errors.html", "errors.json"} <= files


def test_detection_scores_are_those_of_pycocotools_on_the_saved_files(tour):
    folder = tour.project / "data/smoke/07_model_output/detection_sample"
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "coco_truth.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(folder / "coco_results.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    by_hand = {k: None if v == -1 else v for k, v in zip(COCO_NAMES, evaluation.stats, strict=True)}
    assert by_hand["map_50"] > 0
    values = tour.json("08_reporting/detection_sample/metrics.json")["values"]
    assert {name: values[name] for name in COCO_NAMES} == by_hand


def test_a_second_run_loads_what_the_first_has_read(tour):
    store = tour.project / "data/smoke/02_intermediate/sample_har/arrays"
    before = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in store.iterdir()}
    assert before
    # Reading would fail from here on; a digest of paths, sizes and times does not read.
    (raw,) = (tour.project / "data/smoke/01_raw/sample_har").rglob("y_test.txt")
    text, times = raw.read_bytes(), raw.stat()
    raw.write_bytes(b"?" * len(text))
    os.utime(raw, ns=(times.st_atime_ns, times.st_mtime_ns))
    try:
        done = tour.kedro("--pipelines", "data_sample_har")
    finally:
        raw.write_bytes(text)
        os.utime(raw, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in store.iterdir()} == before


def test_a_node_that_fails_leaves_a_failed_run_and_the_other_results(tour):
    name = "classification_digits_scratch"
    model = tour.project / f"data/smoke/06_models/{name}/checkpoint/seed_0/model.json"
    text = model.read_text(encoding="utf8")
    model.write_text("{", encoding="utf8")
    try:
        done = tour.kedro("--pipelines", name, "--from-nodes", f"{name}.predict")
    finally:
        model.write_text(text, encoding="utf8")
    assert done.returncode != 0
    assert f"{name}/checkpoint/seed_0: unreadable checkpoint" in done.stdout + done.stderr
    client = MlflowClient(tour.uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "cv_pipelines_smoke"]
    latest = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])[0]
    assert (latest.info.run_name, latest.info.status) == (name, "FAILED")
    assert tour.json(f"08_reporting/{name}/metrics.json")["experiment"] == name
