"""The Markdown pages: what a retraining did, and how results differ from those of another commit."""

import json
import subprocess
from contextlib import chdir

import dvc.cli
import pytest
import yaml

from cv_pipelines.errors import RetrainingError
from cv_pipelines.retraining.changes import changes
from cv_pipelines.retraining.record import Item, Record
from cv_pipelines.retraining.summary import summary_of, table

ROW = {"name": "accuracy", "a": 0.9, "b": 0.95, "effect": 0.05, "low": 0.01, "high": 0.09, "n": 1200}
DECISION = {
    "model": "classification.digits",
    "challenger": {"number": "3", "experiment": "wide"},
    "champion": {"number": "2", "experiment": "narrow"},
    "checks": [{"name": "better", "passed": False, "told": "in 0.7 | 0.9 asked"}],
    "comparison": {
        "confidence": 0.9,
        "metric": "accuracy",
        "overall": [ROW],
        "slices": {"class": [ROW | {"name": "7"}]},
    },
}
DRIFT = {
    "samples": {"old": 1000, "new": 1500, "added": 600, "removed": 100, "changed": 3},
    "distances": {"brightness": 0.4, "classes": 0.1},
    "limit": 0.2,
    "beyond": ["brightness"],
}


def record(**items):
    made = Record(began="2030-01-01T00:00:00", commit="0123456789abcdef", **items)
    made.transfers = {"pull": Item(state="done"), "push": Item(state="done")}
    return made


def lines(made):
    return summary_of(made).splitlines()


def test_a_refusal_is_told_with_conditions_and_comparison():
    page = lines(record(promotions={"to_use": Item(state="refused", facts=DECISION)}))
    assert page[0] == "# Retraining: model refused"
    assert page[2] == "2030-01-01T00:00:00 UTC, commit `0123456789ab`. Exit status 3."
    assert "## to_use: refused" in page
    assert "`classification.digits`, version 3 (wide); champion before: version 2 (narrow)." in page
    assert "| better | **does not hold** | in 0.7 \\| 0.9 asked |" in page
    assert "| figure | champion | this one | difference | 90 % interval | of |" in page
    assert "| accuracy | 0.9000 | 0.9500 | +0.0500 | +0.0100 to +0.0900 | 1,200 |" in page
    assert "| 7 | 0.9000 | 0.9500 | +0.0500 | +0.0100 to +0.0900 | 1,200 |" in page


def test_drift_is_told_of_sources_that_moved():
    facts = {"splits": {"train": 1400, "test": 100}, "drift": DRIFT}
    page = lines(record(sources={"pets": Item(state="gate", told="too far", facts=facts)}))
    assert page[0] == "# Retraining: data refused"
    assert "| pets | refused | train 1,400, test 100 | brightness 0.400 | too far |" in page
    assert "1,000 samples before, 1,500 now; 600 added, 100 removed, 3 changed." in page
    assert "| brightness | 0.400 | 0.2 | **beyond** |" in page
    still = summary_of(record(sources={"pets": Item(state="unchanged", facts=facts)}))
    assert still.startswith("# Retraining: up to date\n")
    assert "Drift of" not in still


def test_scores_stand_side_by_side():
    scores = {"before": None, "now": {"name": "accuracy", "value": 0.5, "n": 40}}
    page = lines(record(experiments={"wide": Item(state="trained", facts=scores)}))
    assert page[0] == "# Retraining: trained again"
    assert "| wide | trained again | none | accuracy 0.5000 (40 samples) |  |" in page


def test_steps_that_were_not_reached_are_told():
    page = summary_of(record(experiments={"wide": Item()}))
    assert page.startswith("# Retraining: failed\n")
    assert "| wide | was not reached |" in page


def test_the_job_is_linked_where_there_is_one(monkeypatch):
    assert "actions/runs" not in summary_of(record())
    for name, value in (("SERVER_URL", "https://git"), ("REPOSITORY", "a/b"), ("RUN_ID", "5")):
        monkeypatch.setenv(f"GITHUB_{name}", value)
    assert "[The job](https://git/a/b/actions/runs/5)" in summary_of(record())


def test_no_cell_breaks_a_table():
    assert table(["a"], [["x|y\nz <b>"]]).splitlines() == ["| a |", "| --- |", "| x\\|y z &lt;b> |"]


def metrics(value, **contract):
    values = {"accuracy": value}
    return json.dumps({"task": "classification", "values": values, "contract": {"n": 10, **contract}})


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository under DVC, and a function that makes results and a lock of them."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    folder = tmp_path / "project"
    folder.mkdir()

    def git(*words):
        named = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        subprocess.run(["git", *named, *words], cwd=folder, check=True, capture_output=True)

    def made(**texts):
        stages = {}
        for name, text in texts.items():
            file = folder / f"{name}.txt"
            file.write_text(text)
            path = f"data/08_reporting/{name}/metrics.json"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            stages[name] = {"cmd": f"cp {file.name} {path}", "deps": [file.name], "metrics": [path]}
        (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
        with chdir(folder):
            assert dvc.cli.main(["repro", "--quiet"]) == 0
        git("add", "--all")
        git("commit", "--quiet", "--message", "results")

    git("init", "--quiet", "--initial-branch=main")
    with chdir(folder):
        assert dvc.cli.main(["init", "--quiet"]) == 0
    git("commit", "--quiet", "--message", "start")
    return folder, made


@pytest.mark.filterwarnings("ignore:_NoneStep.value")  # of DVC itself
def test_results_are_compared_with_those_of_another_commit(project):
    folder, made = project
    made(same=metrics(0.5), better=metrics(0.5), other=metrics(0.5), gone=metrics(0.5))
    assert "names the same results as `main` (4 experiments)" in changes(folder, "main")
    made(same=metrics(0.5), better=metrics(0.75), other=metrics(0.9, n=20), new=metrics(0.1))
    page = changes(folder, "main~1").splitlines()
    assert page[2:] == [
        "| experiment | figure | before | here | difference |  |",
        "| --- | --- | --- | --- | --- | --- |",
        "| better | accuracy | 0.5000 | 0.7500 | +0.2500 |  |",
        "| gone | accuracy | 0.5000 | n/a |  | gone |",
        "| new | accuracy | n/a | 0.1000 |  | new |",
        "| other | accuracy | 0.5000 | 0.9000 |  | not comparable: n differ |",
    ]
    assert [row.split(" | ")[-1] for row in changes(folder, "main~2").splitlines()[4:]] == ["new |"] * 4
    with pytest.raises(RetrainingError, match="git rev-parse"):
        changes(folder, "nowhere")
