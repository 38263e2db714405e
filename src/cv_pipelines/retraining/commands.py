"""Commands that a retraining runs: shown as they go, and read for what their stages did."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

STAGE = re.compile(r"^Running stage '([^']+)':")
ERROR = re.compile(r"^Error: (?:(\w+Error): )?(.*)")
FAILED = re.compile(r"^ERROR: failed to reproduce(?: stages:)? (.*)")
COMPLAINT = re.compile(r"^(?:ERROR|WARNING): (?!failed to run|Stages? ')(.*)")
"""DVC's own, where a stage did not even start; a stage that failed says itself why."""


@dataclass(frozen=True)
class Failure:
    """Why something failed.

    Attributes:
        kind: class of the error, where this project raised it; else "".
        told: its message.
    """

    kind: str
    told: str


@dataclass(frozen=True)
class Ran:
    """What a command did.

    Attributes:
        status: its exit status.
        stages: of DVC, that were run.
        failures: what each of them (and "", what was none of them) complained of.
        broken: stages that DVC says it failed to reproduce.
    """

    status: int
    stages: list[str]
    failures: dict[str, Failure]
    broken: list[str]

    def why(self, stage: str = "") -> Failure:
        """Return why it failed, or a stage of it."""
        anyhow = Failure("", f"ended with status {self.status}; the log says more")
        return self.failures.get(stage) or self.failures.get("") or anyhow


def run(words: list[str], project: Path) -> Ran:
    """Run a Python module (`dvc`, `kedro`) of this environment in the project, show and read its output.

    If this process is told to stop, so is the command, with all that it started.

    Args:
        words: name of the module and its arguments.
        project: folder of the project.
    """
    # DVC's stages call `kedro`: that of this environment, activated or not.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    process = subprocess.Popen(
        [sys.executable, "-m", *words], cwd=project, env=os.environ | {"PATH": path, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            lines.append(line.rstrip("\n"))
        return read(process.wait(), lines)
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate()  # a training that is told to stop first closes its run
        raise


def read(status: int, lines: list[str]) -> Ran:
    """Find in a command's output which stages ran, and what they complained of.

    Args:
        status: exit status.
        lines: of its output.
    """
    stages: list[str] = []
    failures: dict[str, Failure] = {}
    broken: list[str] = []
    for line in lines:
        if found := STAGE.match(line):
            stages.append(found[1])
        elif found := ERROR.match(line):
            failures[stages[-1] if stages else ""] = Failure(found[1] or "", found[2])
        elif found := FAILED.match(line):
            broken += re.findall(r"'([^']+)'", found[1])
        elif found := COMPLAINT.match(line):
            failures.setdefault("", Failure("", found[1]))
    return Ran(status, stages, failures, broken)
