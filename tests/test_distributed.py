"""The examples of docs/distributed.md: schedulers have stand-ins, commands are parsed by the command line."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
import yaml
from kedro.framework.cli.project import run as kedro_run
from mlflow import MlflowClient
from torch.distributed.run import get_args_parser

from cv_pipelines.cli import cv
from cv_pipelines.config import ExperimentConfig
from cv_pipelines.experiments import find_experiments, find_sources
from cv_pipelines.training.placement import Layout, layout_of
from cv_pipelines.training.validation import check_experiment

PROJECT = Path(__file__).resolve().parents[1]
PAGE = (PROJECT / "docs" / "distributed.md").read_text(encoding="utf8")
EXPERIMENT = "detection_coco"


def block(language, words):
    """The example of a language that holds some words."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    (found,) = [text for text in blocks if words in text]
    return found


def understood(command):
    """Parse a `kedro …` command with the command line it is for; return its name and what it was given."""
    program, name, *rest = command
    assert program == "kedro"
    if name == "run":
        return "run", kedro_run.make_context("run", rest, resilient_parsing=False).params
    assert name == "cv"
    return rest[0], cv.commands[rest[0]].make_context(rest[0], rest[1:]).params


def check_pair(first, other):
    name, given = understood(first)
    assert name == "run"
    assert given["namespaces"] == [EXPERIMENT]
    assert EXPERIMENT in given["pipelines"]
    name, joined = understood(other)
    assert (name, joined["experiment"], joined["env"]) == ("worker", EXPERIMENT, given["env"])
    assert (PROJECT / "conf" / given["env"]).is_dir()


def merged(section, more):
    return (
        {
            key: merged(section[key], value) if isinstance(value, dict) and key in section else value
            for key, value in {**section, **more}.items()
        }
        if isinstance(more, dict)
        else more
    )


def test_eight_gpus_of_one_machine():
    section = yaml.safe_load((PROJECT / f"conf/base/parameters/experiments/{EXPERIMENT}.yml").read_text())
    shown = yaml.safe_load(block("yaml", "devices: 8"))
    whole = merged(section[EXPERIMENT], shown[EXPERIMENT])
    config = check_experiment("docs", whole, find_sources(PROJECT / "conf"))
    assert isinstance(config, ExperimentConfig)
    assert layout_of(config.train) == Layout(8, 1)
    assert whole["model"] == section[EXPERIMENT]["model"]
    for line in block("bash", "PET_NPROC_PER_NODE=2").splitlines():
        words = shlex.split(line, comments=True)
        assert understood(words[words.index("kedro") :])[1]["env"] == "gpu"


TOLD = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"
STAND_INS = {
    "scontrol": 'printf "node0\\nnode1\\n"',
    "srun": 'shift; SLURM_PROCID=0 "$@"; SLURM_PROCID=1 "$@"',
    "kedro": f'{shlex.quote(sys.executable)} -c "{TOLD}" "$@"',
}


def test_the_slurm_script_starts_one_run_and_joins_it(tmp_path):
    script = tmp_path / "job.sh"
    script.write_text(block("bash", "#SBATCH"))
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").touch()
    for name, body in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_SUBMIT_DIR": tmp_path, "SLURM_JOB_NODELIST": "node[0-1]", "SLURM_NNODES": 2}
    slurm |= {"SLURM_GPUS_ON_NODE": 8, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    environment = os.environ | {name: str(value) for name, value in slurm.items()}
    done = subprocess.run(["bash", script], env=environment, capture_output=True, text=True, check=True)
    (first, seen), (other, _) = map(json.loads, done.stdout.splitlines())
    check_pair(["kedro", *first], ["kedro", *other])
    assert (seen["MASTER_ADDR"], seen["MASTER_PORT"]) == ("node0", "29500")
    assert (seen["PET_NNODES"], seen["PET_NPROC_PER_NODE"]) == ("2", "8")


def test_the_manifest_starts_one_run_and_joins_it():
    job = yaml.safe_load(block("yaml", "PyTorchJob"))
    replicas = job["spec"]["pytorchReplicaSpecs"]
    pods = {role: replicas[role]["template"]["spec"] for role in ("Master", "Worker")}
    containers = {role: pod["containers"][0] for role, pod in pods.items()}
    check_pair(containers["Master"]["command"], containers["Worker"]["command"])
    assert replicas["Master"]["replicas"] == 1
    nodes, devices = (str(sum(r["replicas"] for r in replicas.values())), job["spec"]["nprocPerNode"])
    for role, pod in pods.items():
        container = containers[role]
        given = {variable["name"]: variable["value"] for variable in container["env"]}
        assert (given["PET_NNODES"], given["PET_NPROC_PER_NODE"]) == (nodes, devices)
        assert container["name"] == "pytorch"  # the operator looks for this name
        assert str(container["resources"]["limits"]["nvidia.com/gpu"]) == job["spec"]["nprocPerNode"]
        assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    same = ("image", "workingDir", "env", "volumeMounts")
    assert [containers["Master"][key] for key in same] == [containers["Worker"][key] for key in same]


def test_ranks_by_hand_are_understood_by_torchrun():
    words = shlex.split(block("bash", "torchrun --standalone"), comments=True)
    assert words[:2] == ["export", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"]
    found = get_args_parser().parse_args(words[words.index("torchrun") + 1 :])
    assert (found.module, found.training_script) == (True, "cv_pipelines.training.worker")
    assert found.training_script_args == [f"data/06_models/{EXPERIMENT}/work"]


class StandIn:
    """As much of Airflow's DAG and BashOperator as a generated file uses."""

    dags: ClassVar[list] = []

    def __init__(self, **options):
        self.__dict__ |= options
        self.tasks, self.upstream_task_ids = [], set()

    def __enter__(self):
        StandIn.dags.append(self)
        return self

    def __exit__(self, *error):
        pass

    def __rshift__(self, other):
        other.upstream_task_ids.add(self.task_id)


def operator(**options):
    made = StandIn(**options)
    StandIn.dags[-1].tasks.append(made)
    return made


@pytest.fixture
def airflow(monkeypatch):
    """Airflow itself, where it is installed, and a stand-in for it elsewhere."""
    if importlib.util.find_spec("airflow") is not None:
        return
    bash = "airflow.providers.standard.operators.bash"
    parents = ["airflow", *(".".join(bash.split(".")[:n]) for n in range(2, 5))]
    modules = {name: types.ModuleType(name) for name in [*parents, "airflow.sdk", bash]}
    modules["airflow.sdk"].DAG = StandIn
    modules[bash].BashOperator = operator
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


def imported(path):
    spec = importlib.util.spec_from_file_location("generated_dag", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.dag


def test_the_dag_trains_in_a_pool_of_its_own(tmp_path, airflow):
    pytest.importorskip("kedro_airflow", reason="kedro-airflow comes with the extra `dev`")
    name = "classification_digits_pretrained"
    text = block("bash", "kedro airflow create").splitlines()[0]
    command = shlex.split(
        text.replace(EXPERIMENT, name).replace("--target-dir dags", f"--target-dir {tmp_path}")
    )
    assert command[0] == "kedro"
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = tmp_path.glob("*.py")
    dag = imported(file)
    tasks = {task.task_id: task for task in dag.tasks}
    needs = {name, *find_experiments(PROJECT / "conf")[name].needs}
    assert tasks.keys() == {"digits", *needs}
    settings = yaml.safe_load((PROJECT / "conf/base/airflow.yml").read_text())["default"]
    assert settings["gpu_pool"] != settings["pool"]
    assert {task.pool for key, task in tasks.items() if key in needs} == {settings["gpu_pool"]}
    assert tasks["digits"].pool == settings["pool"]
    assert set(tasks[name].upstream_task_ids) == {"digits", "autoencoder_digits"}
    assert set(tasks["digits"].upstream_task_ids) == set()
    for key, task in tasks.items():
        parsed, given = understood(shlex.split(task.bash_command))
        assert (parsed, given["env"], given["namespaces"]) == ("run", "gpu", [key])
        assert name in given["pipelines"]
        assert task.cwd == settings["project"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project whose smallest experiment is trained by two processes."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("conf", "src"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("local", "__pycache__"))
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(PROJECT / name, folder)
    (folder / "conf/local").mkdir()
    parameters = folder / "conf/smoke/parameters.yml"
    values = yaml.safe_load(parameters.read_text())
    values["classification_digits"]["train"] = {
        "epochs": 6,
        "devices": 2,
        "device": "cpu",
        "validate_every": 1,
        "checkpoint_every": 1,
    }
    parameters.write_text(yaml.safe_dump(values))
    return folder


def started(project):
    environment = os.environ | {
        "PYTHONPATH": str(project / "src"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{project}/runs.db",
    }
    command = [sys.executable, "-m", "kedro", "run", "--env", "smoke", "--pipelines", "classification_digits"]
    return subprocess.Popen(
        command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.slow
def test_a_run_of_two_processes_stopped_and_started_again_is_one_run_in_mlflow(project):
    work = project / "data/smoke/06_models/classification_digits/work"
    live = work / "seed_0/live.jsonl"
    first = started(project)
    while not live.exists() or '"epoch": 1' not in live.read_text():
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    told, _ = first.communicate(timeout=120)
    assert first.returncode == 128 + signal.SIGTERM, told
    assert (work / "seed_0/last.ckpt").exists()
    again = started(project)
    told, _ = again.communicate(timeout=600)
    assert again.returncode == 0, told
    assert "taking up the interrupted training" in told
    client = MlflowClient(f"sqlite:///{project}/runs.db")
    experiments = [e.experiment_id for e in client.search_experiments()]
    (run,) = client.search_runs(experiments)
    assert (run.info.run_name, run.info.status) == ("classification_digits", "FINISHED")
    assert run.data.params["train.devices"] == "2"
    assert run.data.tags["device"] == "2 × cpu"
    history = pd.read_parquet(project / "data/smoke/06_models/classification_digits/history.parquet")
    for name, rows in history.groupby("name"):
        points = {entry.step: entry.value for entry in client.get_metric_history(run.info.run_id, name)}
        assert points == pytest.approx(dict(zip(rows["epoch"], rows["value"], strict=True)), nan_ok=True)
    assert history["epoch"].max() == 5
    assert not work.exists()
