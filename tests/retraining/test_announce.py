"""The branch that keeps the lock, in real repositories; issues and pull requests, by a stand-in for `gh`."""

import json
import subprocess
import sys

import pytest

from cv_pipelines.errors import RetrainingError
from cv_pipelines.retraining.announce import announce
from cv_pipelines.retraining.lock_branch import save_lock, take_lock
from cv_pipelines.retraining.record import Item, Record

GH = """#!{python} -IS
import json, sys
from pathlib import Path
words = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(" ".join(words) + "\\n")
if words[1] == "list":
    print(Path({known!r}).with_suffix("." + words[0]).read_text())
if {fails!r} in words:
    sys.exit("not allowed")
"""


def git(folder, *words):
    named = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    done = subprocess.run(["git", *named, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def clones(tmp_path):
    """A repository, and as many clean clones of it as a test asks for."""
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "origin.git")

    def clone(name):
        git(tmp_path, "clone", "--quiet", "origin.git", name)
        return tmp_path / name

    first = clone("first")
    commit(first, "dvc.yaml", "stages")
    return clone


def commit(folder, name, text):
    (folder / name).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", text)
    git(folder, "push", "--quiet", "origin", "HEAD:main")


def lock(folder):
    file = folder / "dvc.lock"
    return file.read_text().strip() if file.exists() else None


def test_a_lock_is_found_again_by_the_next_machine_until_it_is_merged(clones):
    one = clones("one")
    assert not take_lock(one)
    assert not save_lock(one, "no lock yet")
    (one / "dvc.lock").write_text("night 1\n")
    head = git(one, "rev-parse", "HEAD")
    assert save_lock(one, "night 1")
    assert git(one, "rev-parse", "HEAD") == head  # nothing is committed here
    assert git(one, "log", "-1", "--format=%s", "origin/retraining") == "night 1"

    two = clones("two")
    assert take_lock(two)
    assert lock(two) == "night 1"
    commit(clones("other"), "code.py", "new code")
    three = clones("three")
    assert take_lock(three)  # whatever else was merged
    assert save_lock(three, "the same")  # and it is still not main's
    assert git(three, "log", "-1", "--format=%s", "origin/retraining") == "night 1"  # so no new commit

    git(three, "checkout", "--quiet", "--", ".")
    (three / "dvc.lock").unlink()
    git(three, "merge", "--quiet", "--no-edit", "origin/retraining")
    git(three, "push", "--quiet", "origin", "HEAD:main")
    four = clones("four")
    assert not take_lock(four)
    assert lock(four) == "night 1"
    assert not save_lock(four, "merged already")


def test_a_lock_that_somebody_merged_later_wins_over_the_branch(clones):
    one = clones("one")
    (one / "dvc.lock").write_text("night 1")
    save_lock(one, "night 1")
    commit(clones("person"), "dvc.lock", "made by hand")
    two = clones("two")
    assert not take_lock(two)
    assert lock(two) == "made by hand"


def test_a_lock_that_was_changed_on_this_machine_stays(clones):
    one, two = clones("one"), clones("two")
    (one / "dvc.lock").write_text("night 1")
    save_lock(one, "night 1")
    (two / "dvc.lock").write_text("of this machine")
    assert not take_lock(two)
    assert lock(two) == "of this machine"


def test_git_that_refuses_is_told(tmp_path):
    with pytest.raises(RetrainingError, match=r"git status .*not a git repository"):
        take_lock(tmp_path)


@pytest.fixture
def told(clones, tmp_path, monkeypatch):
    """Announces a record beside the issues and pull requests that are open; gives the calls of gh."""

    def announced(states, issues=(), requests=(), changed=True, fails="nothing", **facts):
        project = clones("announcing")
        if changed:
            (project / "dvc.lock").write_text("new")
        gh = tmp_path / "bin/gh"
        gh.parent.mkdir()
        known = tmp_path / "known"
        gh.write_text(
            GH.format(python=sys.executable, log=str(tmp_path / "log"), known=str(known), fails=fails)
        )
        gh.chmod(0o755)
        known.with_suffix(".issue").write_text(json.dumps([{"number": n, "title": t} for n, t in issues]))
        known.with_suffix(".pr").write_text(json.dumps([{"number": n} for n in requests]))
        monkeypatch.setenv("PATH", f"{gh.parent}:/usr/bin:/bin")
        summary = tmp_path / "summary.md"
        record = None
        if states is not None:
            record = Record(began="now", commit="abc", promotions={"p": Item(state=states)})
            record.transfers = {"pull": Item(state="done"), "push": Item(state="done", facts=facts)}
        announce(project, record, summary)
        calls = (tmp_path / "log").read_text().replace(str(summary), "FILE").splitlines()
        return [call for call in calls if " list " not in call]

    return announced


def test_where_all_is_as_it_was_nobody_is_told(told):
    assert told("unchanged", changed=False) == []


def test_a_promotion_opens_a_pull_request(told):
    asked = ["pr create --head retraining --title Retraining: promoted --body-file FILE"]
    assert told("promoted") == asked


def test_a_pull_request_that_waits_is_brought_up_to_date(told):
    asked = ["pr edit 7 --title Retraining: promoted --body-file FILE"]
    assert told("promoted", requests=[7]) == asked


def test_a_promotion_without_a_new_lock_is_an_issue(told):
    asked = ["issue create --title Retraining: promoted --body-file FILE"]
    assert told("promoted", changed=False) == asked


def test_a_lock_of_results_that_are_nowhere_is_not_offered(told):
    asked = ["issue create --title Retraining: promoted --body-file FILE"]
    assert told("promoted", remote="none") == asked


def test_a_refusal_opens_an_issue(told):
    asked = ["issue create --title Retraining: model refused --body-file FILE"]
    assert told("refused", issues=[(3, "Retraining is slow")]) == asked


def test_the_same_refusal_opens_no_second_one_and_closes_another(told):
    found = told("refused", issues=[(3, "Retraining: model refused"), (4, "Retraining: data refused")])
    assert found[0] == "issue edit 3 --body-file FILE"
    assert found[1].startswith("issue close 4 --comment ")
    assert len(found) == 2


def test_issues_are_closed_when_all_is_well_again(told):
    (call,) = told("unchanged", issues=[(4, "Retraining: failed")], changed=False)
    assert call.startswith("issue close 4 ")


def test_a_retraining_that_could_not_begin_is_an_issue(told):
    assert told(None) == ["issue create --title Retraining: failed --body-file FILE"]


def test_gh_that_refuses_is_told(told):
    with pytest.raises(RetrainingError, match="gh pr create: not allowed"):
        told("promoted", fails="create")
