"""What git prints comes back as bytes; None where it cannot be asked."""

import subprocess

from cv_pipelines.provenance.git import git


def test_what_git_prints_comes_back(tmp_path):
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "a.txt").write_text("a")
    assert git(tmp_path, "add", "--all") == b""
    assert git(tmp_path, "ls-files") == b"a.txt\n"
    other = git(tmp_path, "ls-files", GIT_INDEX_FILE=str(tmp_path / "other"))
    assert other == b""


def test_none_where_git_fails_or_is_not_there(tmp_path, monkeypatch):
    assert git(tmp_path / "nowhere", "status") is None
    assert git(tmp_path, "rev-parse", "HEAD") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git(tmp_path, "--version") is None
