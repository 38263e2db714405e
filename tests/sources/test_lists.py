"""Lists that cannot be read are refused with a typed error."""

import os
from pathlib import Path

import pytest

from cv_pipelines.errors import SourceError
from cv_pipelines.sources.lists import read_lines, read_whole


def test_bytes_that_are_no_text_are_replaced(tmp_path):
    (tmp_path / "list").write_bytes(b"a\r\n\xffb\n")
    assert read_lines(tmp_path / "list") == ["a", "\ufffdb"]


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path), lambda path: None]
)
def test_what_is_no_file_is_refused_at_once(tmp_path, make):
    make(tmp_path / "list")
    with pytest.raises(SourceError, match="list: missing, or not a file"):
        read_whole(tmp_path / "list")


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "list").touch()
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(SourceError, match="Permission denied"):
        read_whole(tmp_path / "list")
