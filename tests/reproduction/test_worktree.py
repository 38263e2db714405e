"""The worktree: what a run ran, with its parameters; nothing of it stays."""

import subprocess

import pytest
import yaml

from cv_pipelines.errors import ReproductionError
from cv_pipelines.reproduction.record import Record
from cv_pipelines.reproduction.worktree import checked_out, configure, replaced


def git(folder, *arguments):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def project(tmp_path):
    """A project below the top of its repository, whose code has changed since its first commit."""
    folder = tmp_path / "repository" / "project"
    folder.mkdir(parents=True)
    git(folder.parent, "init", "--quiet")
    for text in ("one", "two"):
        (folder / "code.py").write_text(f"{text}\n")
        git(folder.parent, "add", "--all")
        git(folder.parent, "commit", "--quiet", "--message", text)
    return folder


def record_of(project, commit="HEAD~1", **values):
    given = {"experiment": "toy", "commit": git(project, "rev-parse", commit).strip(), "dirty": False}
    given |= {"kept": False, "project": str(project), "sections": {}, "threads": 1, "python": "3.11"}
    return Record.model_validate(given | values)


def test_the_commit_is_checked_out_and_removed_again(project):
    with checked_out(project, record_of(project), None) as tree:
        assert (tree / "code.py").read_text() == "one\n"
        assert (project / "code.py").read_text() == "two\n"
    assert not tree.exists()
    assert git(project, "worktree", "list").count("\n") == 1


def test_it_is_removed_where_the_run_in_it_fails(project):
    with pytest.raises(KeyboardInterrupt), checked_out(project, record_of(project), None) as tree:
        raise KeyboardInterrupt
    assert not tree.exists()
    assert git(project, "worktree", "list").count("\n") == 1


def test_changes_that_were_kept_are_applied(project, tmp_path):
    (project / "code.py").write_text("three\n")
    (tmp_path / "patch").write_text(git(project, "diff", "--relative"))
    with checked_out(project, record_of(project, "HEAD"), tmp_path / "patch") as tree:
        assert (tree / "code.py").read_text() == "three\n"


def test_changes_that_do_not_apply_are_told(project, tmp_path):
    (tmp_path / "patch").write_text("--- a/code.py\n+++ b/code.py\n@@ -1 +1 @@\n-four\n+five\n")
    with (
        pytest.raises(ReproductionError, match="do not apply"),
        checked_out(project, record_of(project), tmp_path / "patch"),
    ):
        pass
    assert git(project, "worktree", "list").count("\n") == 1


def test_a_commit_that_is_not_there_is_told(project):
    record = record_of(project).model_copy(update={"commit": "0" * 40})
    with pytest.raises(ReproductionError, match="no commit 0000"), checked_out(project, record, None):
        pass


def test_parameters_are_those_of_the_run_raw_data_stay_and_samples_are_drawn_anew(project, tmp_path):
    sections = {
        "experiments": {"toy": {"task": "gan", "train": {"epochs": 3}}},
        "sources": {
            "real": {"reader": "voc", "root": "/old/data/01_raw/voc"},
            "far": {"reader": "voc", "root": "/older/voc"},
            "drawn": {"reader": "voc", "root": "/old/data/01_raw/drawn", "sample": {"n": 3}},
        },
    }
    record = record_of(project).model_copy(update={"project": "/old", "sections": sections})
    configure(tmp_path, record, project)
    folder = tmp_path / "conf/local/parameters"
    assert yaml.safe_load((folder / "experiments/reproduced.yml").read_text()) == sections["experiments"]
    found = yaml.safe_load((folder / "sources/reproduced.yml").read_text())
    assert {name: values["root"] for name, values in found.items()} == {
        "real": f"{project}/data/01_raw/voc",
        "far": "/older/voc",
        "drawn": f"{tmp_path}/data/01_raw/drawn",
    }


def test_paths_are_replaced_at_whatever_depth(tmp_path):
    given = {"fetch": {"folder": "/old/x", "urls": ["/old/y", "https://old/z", "/oldest"]}}
    assert replaced(given, "/old", tmp_path) == {
        "fetch": {"folder": f"{tmp_path}/x", "urls": [f"{tmp_path}/y", "https://old/z", "/oldest"]}
    }
