"""The steps, with commands that say what a test makes them say."""

import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from filelock import FileLock

from cv_pipelines.commands import retraining as commands
from cv_pipelines.retraining import steps
from cv_pipelines.retraining.commands import read
from cv_pipelines.retraining.plan import Plan
from cv_pipelines.retraining.record import begin
from cv_pipelines.retraining.steps import Retraining

PLAN = Plan(
    sources={"pets": "drift_pets", "digits": "data_digits"},
    experiments={"base": {"digits"}, "fine": {"digits", "base"}, "breeds": {"pets"}},
    promotions={"to_breeds": "breeds", "to_fine": "fine"},
    tracked={"pets": "data/01_raw/pets.dvc"},
)
ALL = ("pull", "data", "train", "promote", "publish")


class Said:
    """Stands in for commands: those that begin with these words answer so; all others succeed in silence."""

    def __init__(self, **answers):
        self.answers = {key if " " in key else key.replace("_", " "): said for key, said in answers.items()}
        self.asked = []

    def __call__(self, words, project):
        line = " ".join(words)
        self.asked.append(line)
        for begin_, (status, text) in self.answers.items():
            if line.startswith(begin_):
                return read(status, text.splitlines())
        return read(0, [])


@pytest.fixture
def retraining(tmp_path, monkeypatch):
    """Builds a retraining whose commands answer as told."""

    def make(said):
        monkeypatch.setattr(steps, "run", said)
        monkeypatch.setattr(steps, "take_lock", lambda project: False)
        decision(tmp_path, "to_breeds", "unchanged")
        decision(tmp_path, "to_fine", "unchanged")
        return Retraining(tmp_path, PLAN, begin(PLAN, "now", "abc"))

    return make


def decision(project, name, outcome, told="no better"):
    folder = project / "data/08_reporting" / name
    folder.mkdir(parents=True, exist_ok=True)
    checks = [{"name": "better", "passed": outcome != "refused", "told": told}]
    version = {"number": "1", "experiment": "x"}
    said = {"model": "m", "challenger": version, "champion": None, "comparison": None}
    (folder / "decision.json").write_text(json.dumps(said | {"outcome": outcome, "checks": checks}))


def states(retraining, *names):
    for name in names:
        steps.STEPS[name](retraining)
    record = retraining.record
    kinds = (record.transfers, record.sources, record.experiments, record.promotions)
    return {name: item.state for items in kinds for name, item in items.items()}


def test_where_nothing_is_stale_nothing_happens(retraining):
    said = Said()
    made = retraining(said)
    assert set(states(made, *ALL).values()) == {"done", "unchanged"}
    assert made.record.status == 0
    assert "dvc repro --keep-going drift_pets data_digits" in said.asked
    assert "dvc repro --keep-going base fine breeds" in said.asked
    assert "kedro run --pipelines to_fine --namespaces to_fine" in said.asked


def test_only_stages_that_the_lock_knows_are_pulled_and_pushed(retraining):
    said = Said()
    made = retraining(said)
    (made.project / "dvc.lock").write_text("stages: {data_pets: {}, base: {}, other: {}}")
    states(made, "pull", "publish")
    assert said.asked == [
        "dvc config core.remote",
        "dvc fetch data_pets base data/01_raw/pets.dvc",
        "dvc checkout data_pets base data/01_raw/pets.dvc",
        "dvc config core.remote",
        "dvc push data_pets base",
    ]


def test_without_a_remote_results_stay_here(retraining):
    said = Said(dvc_config=(251, "ERROR: option 'remote' doesn't exist"))
    made = retraining(said)
    assert set(states(made, *ALL).values()) == {"done", "unchanged"}
    assert not any("fetch" in line or "push" in line for line in said.asked)


def test_unsaved_work_of_a_killed_run_is_left_where_it_lies(retraining):
    said = Said(dvc_checkout=(1, "ERROR: Can't remove the following unsaved files without confirmation."))
    made = retraining(said)
    (made.project / "dvc.lock").write_text("stages: {base: {}}")
    assert states(made, "pull")["pull"] == "done"
    assert said.asked[-2:] == ["dvc checkout base", "dvc checkout data/01_raw/pets.dvc"]


def test_what_cannot_be_pulled_stops_all(retraining):
    said = Said(dvc_fetch=(255, "ERROR: failed to fetch data from the cloud"))
    found = states(retraining(said), *ALL[:4])
    assert found.pop("push") == "pending"
    assert found.pop("pull") == "failed"
    assert set(found.values()) == {"skipped"}
    assert not any("repro" in line for line in said.asked)


GATE = """Running stage 'data_pets':
Running stage 'drift_pets':
Error: DataLimitError: pets: limits.drift is passed by brightness 0.9
ERROR: failed to reproduce 'drift_pets'
"""


def test_refused_data_hold_back_what_needs_them_and_nothing_else(retraining):
    made = retraining(Said(**{"dvc repro --keep-going drift_pets": (255, GATE)}))
    found = states(made, *ALL)
    assert {name: found[name] for name in ("pets", "breeds", "to_breeds")} == {
        "pets": "gate",
        "breeds": "skipped",
        "to_breeds": "skipped",
    }
    assert {found[name] for name in ("digits", "base", "fine", "to_fine")} == {"unchanged"}
    assert made.record.sources["pets"].told == "pets: limits.drift is passed by brightness 0.9"
    assert made.record.status == 4


BROKEN = """Running stage 'base':
Error: out of memory
Running stage 'breeds':
ERROR: failed to reproduce 'base'
"""


def test_a_training_that_fails_holds_back_those_that_start_from_it(retraining):
    made = retraining(Said(**{"dvc repro --keep-going base": (255, BROKEN)}))
    found = states(made, *ALL)
    assert [found[name] for name in ("base", "fine", "breeds")] == ["failed", "skipped", "trained"]
    assert [found[name] for name in ("to_breeds", "to_fine")] == ["unchanged", "skipped"]
    assert made.record.status == 1


def test_dvc_that_cannot_even_begin_is_a_failure_of_all(retraining):
    made = retraining(Said(dvc_repro=(255, "ERROR: dvc.yaml is invalid")))
    found = states(made, "pull", "data")
    assert (found["pets"], made.record.sources["pets"].told) == ("failed", "dvc.yaml is invalid")


@pytest.mark.parametrize(
    ("status", "outcome", "state"), [(0, "promoted", "promoted"), (3, "refused", "refused")]
)
def test_promotions_say_what_they_decided(retraining, status, outcome, state):
    made = retraining(Said(**{"kedro run --pipelines to_fine": (status, "")}))
    decision(made.project, "to_fine", outcome)
    assert states(made, *ALL)["to_fine"] == state
    assert made.record.status == status
    assert made.record.promotions["to_fine"].told == ("better: no better" if status else "")


def test_a_promotion_that_breaks_does_not_pass_for_its_last_decision(retraining):
    made = retraining(Said(**{"kedro run --pipelines to_fine": (1, "Error: RegistryError: no server")}))
    decision(made.project, "to_fine", "promoted")
    assert states(made, *ALL)["to_fine"] == "failed"
    assert made.record.promotions["to_fine"].told == "no server"


def command(project, monkeypatch, *words):
    monkeypatch.setattr("cv_pipelines.retraining.plan.make_plan", lambda conf, values: PLAN)
    monkeypatch.setattr(commands, "configuration", lambda project: {"retrain": {}})
    monkeypatch.setattr("cv_pipelines.retraining.lock_branch.git", lambda project, *words: "abc")
    return CliRunner().invoke(commands.retrain, list(words), obj=SimpleNamespace(project_path=project))


def test_the_command_ends_with_the_gravest_status_and_a_summary(retraining, monkeypatch):
    made = retraining(Said(**{"kedro run --pipelines to_fine": (3, "")}))
    decision(made.project, "to_fine", "refused")
    page = made.project / "page.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    done = command(made.project, monkeypatch)
    assert done.exit_code == 3, done.output
    summary = (made.project / "build/retrain/summary.md").read_text()
    assert summary.startswith("# Retraining: model refused\n")
    assert page.read_text() == summary


def test_a_step_by_itself_ends_with_its_own_status(retraining, monkeypatch):
    made = retraining(Said(**{"kedro run --pipelines to_fine": (3, "")}))
    decision(made.project, "to_fine", "refused")
    ended = [command(made.project, monkeypatch, name).exit_code for name in ALL]
    assert ended == [0, 0, 0, 3, 0]
    assert "Exit status 3" in (made.project / "build/retrain/summary.md").read_text()


def test_a_step_without_those_before_it_says_where_to_begin(tmp_path, monkeypatch):
    done = command(tmp_path, monkeypatch, "train")
    assert done.exit_code == 1
    assert "begin with the step `pull`" in done.output


def test_a_second_retraining_does_not_begin_while_one_is_running(retraining, monkeypatch):
    made = retraining(Said())
    folder = made.project / "build/retrain"
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        done = command(made.project, monkeypatch)
        assert done.exit_code == 1
        assert "RetrainingError: another retraining is running here" in done.output
        assert not (folder / "record.json").exists()
    assert command(made.project, monkeypatch).exit_code == 0
