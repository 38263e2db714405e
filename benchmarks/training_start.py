"""From the command to the first step: `kedro run` of an experiment with data prepared, and a bare script.

    python benchmarks/training_start.py [--rounds 5]

Both processes end with their first step. What is asked is a difference in seconds, not a ratio.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from _harness import Row, report

PROJECT = Path(__file__).parent.parent
MOST = 6.0

END = """
import os, sys
from torch.optim.optimizer import register_optimizer_step_post_hook
register_optimizer_step_post_hook(lambda *_: os._exit(0))
"""

BARE = (
    END
    + """
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

x, y = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(y))
model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10))
optimizer = torch.optim.AdamW(model.parameters())
for images, labels in DataLoader(data, 64, shuffle=True):
    loss = cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
)

OURS = END + "from kedro.framework.cli.cli import main\nmain()"
RUN = ["run", "--pipeline", "classification_digits"]
SIDES = {
    "bare": [BARE],
    "training alone": [OURS, *RUN, "--from-nodes", "classification_digits.train_model"],
    "with its data read and checked anew": [OURS, *RUN],
}


def copied(folder: Path) -> Path:
    """Copy what a run needs of the project, and prepare its data."""
    project = folder / "project"
    for name in ("src", "conf"):
        shutil.copytree(PROJECT / name, project / name, ignore=shutil.ignore_patterns("local", "__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", project)
    (project / "conf/local").mkdir()
    subprocess.run(
        [sys.executable, "-m", "kedro", *RUN, "--to-nodes", "digits.enforce_limits"],
        cwd=project,
        env=environment(project),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return project


def environment(project: Path) -> dict[str, str]:
    """Return the variables of a process that runs a project's copy, tracking in a file of its own."""
    return os.environ | {
        "PYTHONPATH": str(project / "src"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{project / 'mlflow.db'}",
        "DO_NOT_TRACK": "1",
    }


def seconds_to_first_step(command: list[str], project: Path) -> float:
    """Time a process until it ends with its first step."""
    shutil.rmtree(project / "data/06_models", ignore_errors=True)
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", *command],
        cwd=project,
        env=environment(project),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"a run failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - started


def main() -> None:
    """Run all in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with TemporaryDirectory() as folder:
        project = copied(Path(folder))
        turns = [
            {name: seconds_to_first_step(command, project) for name, command in SIDES.items()}
            for _ in range(rounds + 1)  # the first one warms the disk
        ][1:]
    bare = median(turn["bare"] for turn in turns)
    rows = []
    for name in list(SIDES)[1:]:
        more = median(turn[name] - turn["bare"] for turn in turns)
        print(f"{name}: {more:.1f} s more than a bare script (asked: at most {MOST:.0f})")
        rows.append(Row(f"start to first step, {name}", "s", bare + more, bare, "a bare script"))
    report("training_start", rows)


if __name__ == "__main__":
    main()
