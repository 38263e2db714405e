"""The doctor's checks: what is wrong is named with what mends it."""

import socket
from importlib.metadata import version

import pytest

from cv_pipelines.config import SourceConfig
from cv_pipelines.diagnosis import checkout, hardware, software, sources

PYPROJECT = """
[project]
requires-python = "{python}"
dependencies = [{libraries}]
[project.optional-dependencies]
dev = ["no-such-library"]
{extra}
"""


@pytest.fixture
def project(tmp_path):
    def write(python=">=3.11", libraries='"numpy>=1"', extra="", lock=None):
        text = PYPROJECT.format(python=python, libraries=libraries, extra=extra)
        (tmp_path / "pyproject.toml").write_text(text)
        if lock is not None:
            (tmp_path / "requirements.lock").write_text(lock)
        return tmp_path

    return write


def test_python(project):
    assert software.python(project()).status == "ok"
    found = software.python(project(python=">=4"))
    assert (found.status, found.mend) == ("missing", "make setup PYTHON=python3.11")


@pytest.mark.parametrize(
    ("libraries", "status", "told"),
    [
        ('"numpy>=1"', "ok", "all 1 are there"),
        ('"numpy>=999"', "missing", f"numpy {version('numpy')} is not >=999"),
        ('"no-such-library>=1"', "missing", "no-such-library is not installed"),
        ("\"no-such-library; sys_platform == 'nowhere'\"", "ok", "all 1 are there"),
    ],
)
def test_libraries(project, libraries, status, told):
    found = software.libraries(project(libraries=libraries))
    assert (found.status, found.told) == (status, told)
    assert bool(found.mend) == (status == "missing")


def test_a_library_of_another_version_than_the_lock_is_named(project):
    here = version("numpy")
    pinned = f"numpy=={here} \\\n    --hash=sha256:00\n"
    assert software.locked(project(lock=pinned)).status == "ok"
    found = software.locked(project(lock="numpy==0.1 \\\n    --hash=sha256:00\n    # via x\n"))
    assert (found.status, found.told) == ("warn", f"numpy {here} (lock 0.1)")
    other = "numpy==0.1 ; sys_platform == 'nowhere' \\\n    --hash=sha256:00\n"
    assert software.locked(project(lock=other)).status == "ok"


def test_extras(project):
    found = software.extras(project(extra='some = ["numpy"]\nother = ["no-such-library>=2"]'))
    assert found.told == "there: some; not there: other (no-such-library>=2)"
    assert found.mend == "python -m uv pip install --editable '.[other]'"


@pytest.mark.parametrize(("free", "status"), [(5e8, "missing"), (5e9, "warn"), (5e10, "ok")])
def test_disk(tmp_path, monkeypatch, free, status):
    monkeypatch.setattr(hardware.shutil, "disk_usage", lambda path: type("", (), {"free": free}))
    found = hardware.disk(tmp_path / "data")
    assert (found.status, bool(found.mend)) == (status, status != "ok")


def test_little_shared_memory_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware.shutil, "disk_usage", lambda path: type("", (), {"free": 64e6}))
    assert hardware.shared_memory(tmp_path).status == "warn"
    assert hardware.shared_memory(tmp_path / "none").status == "ok"


def test_outside_git(tmp_path):
    assert checkout.repository(tmp_path).mend == "git init && git add --all && git commit"
    assert checkout.dvc(tmp_path).mend == "dvc init"


def test_stages_that_are_out_of_date(tmp_path):
    assert checkout.stages(tmp_path, "text").mend == "kedro cv dvc"
    (tmp_path / "dvc.yaml").write_text("text")
    assert checkout.stages(tmp_path, "text").status == "ok"


def test_whether_a_remote_answers(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert checkout.answers(f"http://127.0.0.1:{port}/x")
    assert not checkout.answers(f"http://127.0.0.1:{port}/x")
    assert checkout.answers(str(tmp_path))
    assert not checkout.answers(str(tmp_path / "none"))
    assert checkout.answers("s3://bucket/x")  # which is not known


def test_sources(tmp_path):
    def check(**values):
        return sources.source("one", SourceConfig.model_validate({"reader": "voc"} | values))

    root = tmp_path / "raw"
    assert check(root=str(root)).status == "warn"
    assert str(root) in check(root=str(root)).mend
    archive = {"file": "a.tar", "size": 2_500_000_000, "urls": ["https://example.org/a.tar"]}
    fetch = {"folder": str(tmp_path / "fetched"), "archives": [archive]}
    found = check(root=str(root), fetch=fetch)
    assert (found.status, found.told) == ("ok", "not there; the first run fetches it (2.50 GB)")
    by_hand = {"folder": str(tmp_path / "fetched"), "archives": [{"file": "a.tar"}], "ask": "Register."}
    assert check(root=str(root), fetch=by_hand).mend == f"put a.tar into {root}. Register."
    root.mkdir()
    (root / "file").write_text("")
    assert check(root=str(root)).status == "ok"
    assert check(root=str(root), sample={"n": 3}).told == "is drawn"
    assert sources.raw_folder(tmp_path / "none", None).status == "warn"
