"""The server of MLflow answers for models of this project; a bad request is told why, and does no harm."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import requests

from cv_pipelines.data.encoding import decode_png
from cv_pipelines.inference.requests import request_of
from cv_pipelines.io.package import write_package

START = 240
"""Seconds that a server may take to start on a busy machine."""

JSON = {"Content-Type": "application/json"}
pytestmark = pytest.mark.slow


@contextmanager
def served(folder, log):
    """Start `mlflow models serve`; gives a function that posts to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local", "-p", str(port)]
    command = [sys.executable, "-m", *words, "--host", "127.0.0.1"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # uvicorn's
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(START):
            assert process.poll() is None, Path(log.name).read_text()
            try:
                if requests.get(f"{address}/ping", timeout=5).ok:
                    break
            except requests.ConnectionError:
                time.sleep(1)
        yield lambda body, headers=JSON: requests.post(
            f"{address}/invocations",
            data=body if isinstance(body, bytes) else json.dumps(body),
            headers=headers,
            timeout=120,
        )
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.fixture
def server(checkpoint, sources, tmp_path):
    """Serves a task's model."""

    @contextmanager
    def start(task, **options):
        write_package(checkpoint(task, **options), sources[task], tmp_path / task)
        with (tmp_path / f"{task}.log").open("wb") as log, served(tmp_path / task, log) as post:
            yield post

    return start


def picture(data, index=0):
    return base64.b64encode(request_of(data, index)).decode()


def test_pictures(server, sources):
    good = {"dataframe_records": [{"image": picture(sources["classification"], k)} for k in range(3)]}
    big = base64.b64encode(np.random.default_rng(0).bytes(75 * 2**20)).decode()
    bad = {
        "not an image": ({"dataframe_records": [{"image": base64.b64encode(b"text").decode()}]}, JSON),
        "at most 33,554,432 are taken": ({"dataframe_records": [{"image": big}]}, JSON),
        "Model is missing inputs ['image']": ({"dataframe_records": [{"picture": "aGk="}]}, JSON),
        "missing inputs": ({"dataframe_records": []}, JSON),
        "Failed to convert column image": ({"dataframe_records": [{"image": 7}]}, JSON),
        "exactly one of the input fields": ({"images": []}, JSON),
        "valid JSON formatted string": (b"{half", JSON),
        "only supports the following content types": (b"abc", {"Content-Type": "image/png"}),
    }
    with server("classification") as post:
        first = post(good)
        assert first.status_code == 200, first.text
        answers = first.json()["predictions"]
        assert [set(one) for one in answers] == [{"label", "confidence", "probabilities"}] * 3
        for told, (body, headers) in bad.items():
            answer = post(body, headers)
            assert 400 <= answer.status_code < 500, (told, answer.status_code, answer.text[:500])
            assert told in answer.text, (told, answer.text[:1000])
            assert len(answer.text) < 20_000, told
        assert post(good).json()["predictions"] == answers
        both = post({"inputs": {"image": [good["dataframe_records"][0]["image"]]}})
        assert both.json()["predictions"] == answers[:1]


def test_windows(server, sources):
    window = sources["activity"].read(0).numpy().tolist()
    bad = {
        "does not match expected shape": [window[:5]],
        "no finite numbers": [[[None, *row[1:]] for row in window]],
        "could not convert string to float": [[["a", *row[1:]] for row in window]],
        "Failed to enforce schema": [],
        "inhomogeneous shape": [window, window[:2]],
    }
    with server("activity") as post:
        good = post({"inputs": [window, window]})
        assert good.status_code == 200, good.text
        assert [one["label"] in ("slow", "fast") for one in good.json()["predictions"]] == [True, True]
        for told, given in bad.items():
            answer = post({"inputs": given})
            assert answer.status_code == 400, (told, answer.status_code, answer.text[:500])
            assert told in answer.text, (told, answer.text[:1000])
        untyped = post(b"{}", {"Content-Type": None})
        assert untyped.status_code >= 400, untyped.text  # 500, by MLflow 3.17
        assert post({"inputs": [window]}).json()["predictions"] == good.json()["predictions"][:1]


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_boxes_and_masks(task, server, sources):
    options = {"model_options": {"score_threshold": 0.0, "max_detections": 5}} if task == "detection" else {}
    with server(task, **options) as post:
        answer = post({"dataframe_split": {"columns": ["image"], "data": [[picture(sources[task])]]}})
        assert answer.status_code == 200, answer.text
        (one,) = answer.json()["predictions"]
        if task == "detection":
            assert len(one["boxes"]) == 5
            assert set(one["boxes"][0]) == {"label", "score", "x", "y", "w", "h"}
        else:
            mask = decode_png(base64.b64decode(one["mask"]))
            assert mask.shape == (one["height"], one["width"]) == (16, 16)
        tiny = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
        assert post({"dataframe_records": [{"image": tiny}]}).status_code == 400
