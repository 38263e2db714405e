"""What is kept of a run: the changes that are in no commit, the parameters of all that it needs."""

import subprocess

import pytest

from cv_pipelines.experiments import Experiment
from cv_pipelines.reproduction.record import (
    PATCH,
    RECORD,
    Record,
    Surroundings,
    changes_of,
    record_of,
    sections_of,
    write_record,
)


def git(folder, *arguments):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def project(tmp_path):
    """A checkout with code and a page."""
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "src/a.py").write_text("x = 1\n")
    (folder / "README.md").write_text("words\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "one")
    return folder


def test_a_clean_checkout_has_no_changes_whatever_the_pages_say(project):
    (project / "README.md").write_text("other words\n")
    assert changes_of(project) == b""
    found = Surroundings.of(project)
    assert (found.dirty, found.patch) == (False, None)
    assert found.commit == git(project, "rev-parse", "HEAD").strip()


def test_edited_new_and_removed_files_are_in_the_patch_and_the_checkout_is_left_alone(project, tmp_path):
    (project / "src/gone.py").write_text("")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "two")
    (project / "src/a.py").write_text("x = 2\n")
    (project / "src/new.bin").write_bytes(bytes(range(256)))
    (project / "src/gone.py").unlink()
    before = git(project, "status", "--porcelain"), git(project, "count-objects")
    found = Surroundings.of(project)
    assert (git(project, "status", "--porcelain"), git(project, "count-objects")) == before
    assert found.dirty
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(project), str(clone))
    (tmp_path / "patch").write_bytes(found.patch)
    git(clone, "apply", "--binary", str(tmp_path / "patch"))
    assert (clone / "src/a.py").read_text() == "x = 2\n"
    assert (clone / "src/new.bin").read_bytes() == bytes(range(256))
    assert not (clone / "src/gone.py").exists()


def test_outside_git_there_is_no_commit(tmp_path):
    assert Surroundings.of(tmp_path).commit is None


def test_a_record_is_written_with_its_changes_and_those_of_before_are_removed(tmp_path):
    changed = Surroundings(commit="c", patch=b"changes", dirty=True)
    record = record_of("toy", changed, tmp_path, {"experiments": {"toy": {"task": "gan"}}})
    assert write_record(tmp_path / "toy", record, changed) == [tmp_path / "toy" / n for n in (RECORD, PATCH)]
    assert Record.model_validate_json((tmp_path / "toy" / RECORD).read_text()) == record
    assert record.kept
    clean = Surroundings(commit="c")
    write_record(tmp_path / "toy", record_of("toy", clean, tmp_path, {}), clean)
    assert not (tmp_path / "toy" / PATCH).exists()


def test_the_sections_of_all_that_an_experiment_needs():
    def made(name, init=None, source="digits"):
        return Experiment(name, "classification", source, init, None, tour=False)

    known = {one.name: one for one in (made("a", "b"), made("b", "c", "shapes"), made("c"), made("other"))}
    parameters = {name: {"of": name} for name in (*known, "digits", "shapes")}
    found = sections_of("a", known, parameters)
    assert {kind: set(sections) for kind, sections in found.items()} == {
        "experiments": {"a", "b", "c"},
        "sources": {"digits", "shapes"},
    }
