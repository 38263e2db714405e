"""The `run:` steps of the workflow, as they stand in its file, in clean clones: what a week of nights does.

Each night is a new `git clone` of one repository, with results on a local DVC remote and runs and models on
a real MLflow server. What GitHub gives is stood in for: `gh` by a script that notes its calls, variables and
secrets by a table. What `make setup` installs is stood in for by this interpreter's own environment:
`.venv/bin` links to it, and `.venv/installed` is fresh, so that make finds nothing to install.
"""

import json
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from sklearn.datasets import load_digits

PROJECT = Path(__file__).resolve().parents[2]
WORKFLOWS = PROJECT / ".github/workflows"
COPIED = (
    *(".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore", ".telemetry", ".github"),
    *("Makefile", "conf", "dvc.yaml", "pyproject.toml", "requirements.lock", "src"),
)
CONFIGURED = {
    "parameters/sources/tiny.yml": {
        "tiny": {
            "reader": "idx",
            "root": "${globals:raw}/tiny",
            "validation": {"by": "sample", "share": 0.2},
            "limits": {"drift": 0.3},
        }
    },
    "parameters/experiments/tiny_cnn.yml": {
        "tiny_cnn": {
            "task": "classification",
            "source": "tiny",
            "model": {"name": "residual_cnn", "channels": [8, 16], "blocks": 1},
            "train": {
                "epochs": 6, "batch_size": 32, "device": "cpu", "optimizer": {"name": "adamw", "lr": 0.01},
            },
        }
    },
    "parameters/promotions/promote_tiny.yml": {"promote_tiny": {"candidate": "tiny_cnn", "worse": {}}},
    "retrain.yml": {"promotions": ["promote_tiny"]},
}  # fmt: skip
MODEL = "classification.tiny"

GH = """#!{python} -IS
import json, sys
from pathlib import Path
state = Path({state!r})
known = json.loads(state.read_text()) if state.exists() else {{"calls": [], "pr": [], "issue": []}}
kind, verb, *words = sys.argv[1:]
given = {{word[2:]: value for word, value in zip(words, words[1:]) if word.startswith("--")}}
body = Path(given["body-file"]).read_text() if "body-file" in given else ""
known["calls"].append({{"what": f"{{kind}} {{verb}}", "title": given.get("title", ""), "body": body}})
if verb == "list":
    print(json.dumps(known[kind]))
elif verb == "create":
    known[kind].append({{"number": len(known["calls"]), "title": given["title"]}})
    print("https://localhost/" + kind)
elif verb == "close":
    known[kind] = [one for one in known[kind] if str(one["number"]) != words[0]]
state.write_text(json.dumps(known))
"""


def steps_of(workflow, job):
    """A job's environment and its steps that run something."""
    found = yaml.safe_load((WORKFLOWS / f"{workflow}.yml").read_text(encoding="utf8"))["jobs"][job]
    return found.get("env", {}), [step for step in found["steps"] if "run" in step]


def targets_of_the_makefile():
    return re.findall(r"^([\w%-]+):", (PROJECT / "Makefile").read_text(encoding="utf8"), flags=re.MULTILINE)


@pytest.mark.parametrize("file", sorted(WORKFLOWS.glob("*.yml")), ids=lambda file: file.stem)
def test_every_step_of_a_workflow_is_a_make_target(file):
    known = targets_of_the_makefile()
    for job in yaml.safe_load(file.read_text(encoding="utf8"))["jobs"].values():
        for command in [step["run"] for step in job["steps"] if "run" in step]:
            assert re.fullmatch(r"make [\w-]+", command), command
            target = command.removeprefix("make ")
            assert target in known or re.sub(r"-\w+$", "-%", target) in known, command


def git(folder, *words):
    named = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    done = subprocess.run(["git", *named, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_tiny(folder, images, labels, n_train):
    """The digits as idx files: the first ones are train, the last 300 test."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", slice(0, n_train)), ("t10k", slice(-300, None))):
        pixels, classes = images[part].astype(np.uint8), labels[part].astype(np.uint8)
        head = struct.pack(">IIII", 2051, len(pixels), 8, 8)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 2049, len(classes)) + classes.tobytes()
        )


class World:
    """The repository, its remote storage, GitHub's `gh`, and the machine of each night."""

    def __init__(self, folder, tracking):
        self.folder, self.tracking, self.nights = folder, tracking, 0
        self.origin, self.people = folder / "origin.git", folder / "people"
        gh = folder / "bin/gh"
        gh.parent.mkdir()
        gh.write_text(GH.format(python=sys.executable, state=str(folder / "gh.json")))
        gh.chmod(0o755)
        git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(self.origin))
        self.clone(self.people)
        for name in COPIED:
            source, copied = PROJECT / name, self.people / name
            copied.parent.mkdir(parents=True, exist_ok=True)
            ignored = shutil.ignore_patterns("__pycache__", "local")
            shutil.copytree(source, copied, ignore=ignored) if source.is_dir() else shutil.copy(
                source, copied
            )
        layers = [
            f"data/{path.name}" for path in (PROJECT / "data").iterdir() if (path / ".gitkeep").exists()
        ]
        for kept in ["conf/local", *layers]:
            (self.people / kept).mkdir(parents=True)
            (self.people / kept / ".gitkeep").touch()
        for name, content in CONFIGURED.items():
            (self.people / "conf/base" / name).write_text(yaml.safe_dump(content))
        self.python("-m", "dvc", "remote", "add", "--default", "store", str(folder / "store"))

    def clone(self, target):
        git(self.folder, "clone", "--quiet", str(self.origin), str(target))
        (target / ".venv").mkdir()
        (target / ".venv/bin").symlink_to(Path(sys.executable).parent)

    def environment(self, folder):
        return os.environ | {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(folder / "src"),
            "HOME": str(self.folder),
            "DVC_SITE_CACHE_DIR": str(folder / ".site"),
            "DO_NOT_TRACK": "1",
        }

    def python(self, *words):
        done = subprocess.run(
            [sys.executable, *words], cwd=self.people, env=self.environment(self.people), capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def publish_data(self, message, *arguments):
        """Somebody puts a version of the raw files under DVC, and merges that."""
        write_tiny(self.people / "data/01_raw/tiny", *arguments)
        self.python("-m", "dvc", "add", "--quiet", "data/01_raw/tiny")
        self.python("-m", "kedro", "cv", "dvc")
        self.python("-m", "dvc", "push", "--quiet", "data/01_raw/tiny.dvc")
        git(self.people, "add", "--all")
        git(self.people, "commit", "--quiet", "--message", message)
        git(self.people, "push", "--quiet", "origin", "HEAD:main")

    def merge(self):
        """Somebody merges the pull request."""
        git(self.people, "fetch", "--quiet", "origin")
        git(self.people, "merge", "--quiet", "--no-edit", "origin/retraining")
        git(self.people, "push", "--quiet", "origin", "HEAD:main")

    def night(self):
        """Run the workflow in a clean clone."""
        self.nights += 1
        folder = self.folder / f"night_{self.nights}"
        self.clone(folder)
        (folder / ".venv/installed").touch()
        given, steps = steps_of("retrain", "retrain")
        variables = {"vars.MLFLOW_TRACKING_URI": self.tracking, "github.token": "token"}
        job = {
            name: re.sub(r"\$\{\{ (\S+) \}\}", lambda found: variables.get(found[1], ""), value)
            for name, value in given.items()
        }
        environment = self.environment(folder) | {name: value for name, value in job.items() if value}
        environment["GITHUB_STEP_SUMMARY"] = str(folder / "step_summary.md")
        calls = len(self.calls())
        start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        codes, log = {}, ""
        for step in steps:
            if "if" not in step and any(codes.values()):
                continue
            assert step.get("if") in (None, "${{ !cancelled() }}")
            done = subprocess.run(
                ["bash", "-e", "-c", step["run"]], cwd=folder, env=environment, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, check=False,
            )  # fmt: skip
            codes[step["run"].removeprefix("make ").removeprefix("retrain-")] = done.returncode
            log += done.stdout
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        return Night(
            folder, codes, log, self.calls()[calls:], time.perf_counter() - start,
            now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime,
        )  # fmt: skip

    def calls(self):
        state = self.folder / "gh.json"
        return json.loads(state.read_text())["calls"] if state.exists() else []


class Night:
    """What a run of the workflow did."""

    def __init__(self, folder, codes, log, calls, wall, cpu):
        self.folder, self.codes, self.log, self.wall, self.cpu = folder, codes, log, wall, cpu
        self.calls = {call["what"]: call for call in calls if not call["what"].endswith("list")}
        self.record = json.loads((folder / "build/retrain/record.json").read_text())
        self.summary = (folder / "build/retrain/summary.md").read_text()

    @property
    def failed(self):
        return [name for name, code in self.codes.items() if code]

    def state(self, kind, name):
        return self.record[kind][name]["state"]


@pytest.fixture
def tracking(tmp_path):
    """A real MLflow server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri, folder = f"http://127.0.0.1:{port}", tmp_path / "tracking"
    folder.mkdir()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=5).close()
            break
        except OSError:
            time.sleep(1)
    yield uri
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def check_promoted(night):
    assert night.failed == [], night.log
    assert night.state("sources", "tiny") == "new"
    assert night.state("experiments", "tiny_cnn") == "trained"
    assert night.state("promotions", "promote_tiny") == "promoted"


def check_nothing_done(night):
    assert night.failed == [], night.log
    kinds = (("sources", "tiny"), ("experiments", "tiny_cnn"), ("promotions", "promote_tiny"))
    assert {night.state(*one) for one in kinds} == {"unchanged"}
    assert "Running stage" not in night.log
    assert night.calls == {}
    assert "# Retraining: up to date" in night.summary
    assert night.cpu < 60  # not by the clock, which whatever else runs on this machine slows down


def check_told_of_promotion(night):
    told = night.calls["pr edit"]["body"]
    assert "## promote_tiny: promoted" in told
    assert "| figure | champion | this one | difference |" in told
    assert told == (night.folder / "step_summary.md").read_text()
    reports = night.folder / "build/retrain/reports"
    assert (reports / "promote_tiny/decision.html").exists()
    assert "tiny_cnn/report.html" in (reports / "index.html").read_text()


def check_refused(night):
    assert night.failed == ["promote"], night.log
    assert night.state("experiments", "tiny_cnn") == "trained"
    assert night.state("promotions", "promote_tiny") == "refused"
    assert night.calls.keys() == {"issue create"}
    assert night.calls["issue create"]["title"] == "Retraining: model refused"
    assert "Exit status 3" in night.summary


def check_gate(night):
    assert night.failed == ["data"], night.log
    assert night.state("sources", "tiny") == "gate"
    assert night.state("experiments", "tiny_cnn") == night.state("promotions", "promote_tiny") == "skipped"
    assert night.calls.keys() == {"issue create", "issue close"}
    assert night.calls["issue create"]["title"] == "Retraining: data refused"
    assert "limits.drift is passed by brightness" in night.summary
    assert "Exit status 4" in night.summary


@pytest.mark.slow  # five nights, each of a dozen processes
def test_nights_of_retraining(tmp_path, tracking):
    digits = load_digits()
    images, labels = digits.images * 15, digits.target
    world = World(tmp_path, tracking)
    client = MlflowClient(tracking)

    def champion():
        return int(client.get_model_version_by_alias(MODEL, "champion").version)

    # Nothing is there, so all is made, and the first model that works is put to use.
    world.publish_data("first data", images, labels, 60)
    night = world.night()
    check_promoted(night)
    assert (champion(), night.calls.keys()) == (1, {"pr create"})

    # The pull request still waits; the branch that it is of says that nothing has changed.
    check_nothing_done(world.night())

    # More data: trained again, better, promoted; the open pull request is brought up to date, then merged.
    world.publish_data("more data", images, labels, 1400)
    night = world.night()
    check_promoted(night)
    check_told_of_promotion(night)
    assert (champion(), night.calls.keys()) == (2, {"pr edit"})
    world.merge()

    # Labels in disorder: nothing that a data report could see, but the model is worse.
    mixed = np.concatenate([np.random.default_rng(0).permutation(labels[:1400]), labels[1400:]])
    world.publish_data("bad labels", images, mixed, 1400)
    check_refused(world.night())
    assert champion() == 2

    # Images that look otherwise: nothing is trained on them.
    world.publish_data("negatives", 240 - images, labels, 1400)
    check_gate(world.night())
    assert champion() == 2
