"""What happened, in which status it ends, and how it is read from what commands say."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cv_pipelines.errors import RetrainingError
from cv_pipelines.retraining.commands import Failure, read, run
from cv_pipelines.retraining.plan import Plan
from cv_pipelines.retraining.record import Item, begin, load, save

PLAN = Plan(
    sources={"pets": "drift_pets", "digits": "data_digits"},
    experiments={"base": {"digits"}, "fine": {"digits", "base"}, "breeds": {"pets"}},
    promotions={"to_breeds": "breeds"},
    tracked={},
)


def record(**states):
    """A record in which all went well, but for the named items."""
    made = begin(PLAN, "now", "abc")
    for items in (made.transfers, made.sources, made.experiments, made.promotions):
        for name in items:
            items[name] = Item(state=states.get(name, "done"))
    return made


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ({}, 0),
        ({"to_breeds": "promoted", "breeds": "trained", "pets": "new"}, 0),
        ({"to_breeds": "refused"}, 3),
        ({"pets": "gate", "breeds": "skipped", "to_breeds": "skipped"}, 4),
        ({"digits": "gate", "to_breeds": "refused"}, 4),
        ({"digits": "gate", "breeds": "failed", "to_breeds": "skipped"}, 1),
        ({"push": "failed"}, 1),
        ({"fine": "pending"}, 1),  # a step was killed
    ],
)
def test_the_gravest_item_gives_the_status(states, status):
    assert record(**states).status == status


def test_nothing_has_come_through_before_it_began():
    assert begin(PLAN, "now", "abc").status == 1


def test_only_what_needs_something_that_failed_has_to_wait():
    made = record(digits="gate", base="skipped")
    assert made.blocked(PLAN.experiments["fine"]) == "waits for digits, base"
    assert made.blocked(PLAN.experiments["breeds"]) == ""
    assert record(pull="failed").blocked(set()) == "results of before could not be pulled"


def test_steps_find_what_those_before_them_wrote(tmp_path):
    made = record(pets="gate")
    save(made, tmp_path)
    assert load(tmp_path) == made
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(RetrainingError, match="begin with the step `pull`"):
        load(tmp_path)


SAID = """Stage 'data_digits' didn't change, skipping
Running stage 'data_pets':
> kedro run --pipeline data_pets
Error: DataLimitError: conf/base/pets.yml: pets: limits.dropped is 0.5; allowed is at most 0.1
WARNING: failed to run: kedro run --pipeline data_pets, exited with 1
WARNING: Stage 'breeds' will be skipped due to this failure
Running stage 'base':
> kedro run --pipeline base --namespaces base
Error: something broke
WARNING: failed to run: kedro run --pipeline base --namespaces base, exited with 1
ERROR: failed to reproduce stages: 'data_pets' and 'base'
""".splitlines()


def test_failures_are_told_stage_by_stage():
    ran = read(255, SAID)
    assert (ran.stages, ran.broken) == (["data_pets", "base"], ["data_pets", "base"])
    why = ran.why("data_pets")
    assert why.kind == "DataLimitError"
    assert why.told.startswith("conf/base/pets.yml: pets: limits.dropped")
    assert ran.why("base") == Failure("", "something broke")


def test_what_dvc_itself_complains_of_is_told():
    ran = read(255, ["ERROR: failed to fetch data from the cloud - 3 files failed to download"])
    assert (ran.broken, ran.why().told) == (
        [],
        "failed to fetch data from the cloud - 3 files failed to download",
    )
    assert "status 9" in read(9, []).why().told


BUSY = """Running stage 'base':
WARNING: '/project/data/08_reporting/data_pets' is busy, it is being blocked by:
  (PID 21433): dvc repro
WARNING: Stages 'breeds' and 'drift_pets' will be skipped due to this failure
ERROR: failed to reproduce 'data_pets'
""".splitlines()


def test_a_stage_that_could_not_start_is_told_with_what_dvc_says_of_it():
    ran = read(255, BUSY)
    assert (ran.stages, ran.broken) == (["base"], ["data_pets"])
    assert ran.why("data_pets").told.endswith("data_pets' is busy, it is being blocked by:")


def test_a_command_runs_in_the_project_and_is_shown_while_it_goes(tmp_path, capsys):
    (tmp_path / "one.py").write_text("import sys; print('Running stage \\'x\\':'); sys.exit(3)")
    ran = run(["one"], tmp_path)
    assert (ran.status, ran.stages) == (3, ["x"])
    assert "Running stage 'x':" in capsys.readouterr().out


CHILD = """
import subprocess, sys
print("Running stage 'x':", flush=True)
script = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"
subprocess.run([sys.executable, "-c", script])
"""
PARENT = """
import signal, sys
from pathlib import Path
from cv_pipelines.retraining.commands import run
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
run(["child"], Path.cwd())
"""


def alive(pid):
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks processes up in /proc")
def test_what_a_command_has_started_ends_with_it(tmp_path):
    (tmp_path / "child.py").write_text(CHILD)
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parents[2] / 'src'}"}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], cwd=tmp_path, env=environment)
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
        time.sleep(0.05)
        assert parent.poll() is None
    started = int((tmp_path / "pid").read_text())
    assert alive(started)
    parent.terminate()
    assert parent.wait(60) == 143
    for _ in range(100):
        if not alive(started):
            break
        time.sleep(0.05)
    assert not alive(started)
