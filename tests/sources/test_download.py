"""Downloads against a real server that cuts, lies, refuses and forgets."""

import hashlib
import random
import signal
import subprocess
import sys
import time

import pytest

from cv_pipelines.errors import FetchError
from cv_pipelines.sources.download import Wanted, defect_of, download

BODY = random.Random(0).randbytes(300_000)
RIGHT = Wanted(len(BODY), {"md5": hashlib.md5(BODY).hexdigest(), "sha256": hashlib.sha256(BODY).hexdigest()})


@pytest.fixture(autouse=True)
def _files(server):
    server.files["a"] = server.files["b"] = BODY


def fetched(server, tmp_path, wanted=RIGHT, names="a", **options):
    target = tmp_path / "deep" / "file.bin"
    download([server.url(name) for name in names], target, wanted, pause=0.001, **options)
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]
    return target.read_bytes()


def test_a_file_arrives_whole_and_reports_its_bytes(server, tmp_path):
    seen = []
    assert fetched(server, tmp_path, report=seen.append) == BODY
    assert seen == sorted(seen)
    assert seen[-1] == len(BODY)
    assert server.asked == [("a", None)]


@pytest.mark.parametrize("wanted", [RIGHT, Wanted()])
def test_a_cut_download_goes_on_where_it_was(server, tmp_path, wanted):
    server.script["a"] = ["cut 100000", "cut 50000", 500]
    assert fetched(server, tmp_path, wanted) == BODY
    assert [asked for _, asked in server.asked] == [None, "bytes=100000-", "bytes=150000-", "bytes=150000-"]


@pytest.mark.parametrize(
    "script",
    [
        ["cut 100000", "no range"],
        ["cut 100000", "other range"],
        ["long"],
        ["short"],
        ["cut 100000", "long"],
        ["cut 0", "cut 1", "short"],
        [500, 502, "wait 0", 429, 408],
        ["cut 10", "wrong byte"],
        ["wrong byte"],
    ],
    ids=str,
)
def test_a_server_that_lies_or_stumbles_is_asked_again(server, tmp_path, script):
    server.script["a"] = list(script)
    assert fetched(server, tmp_path) == BODY


def test_without_a_published_size_a_short_header_is_noticed_by_the_digest(server, tmp_path):
    server.script["a"] = ["short"]
    assert fetched(server, tmp_path, Wanted(None, RIGHT.digests), "ab") == BODY


@pytest.mark.parametrize(("script", "said"), [([404], "404"), ([403], "403"), (["wrong byte"] * 2, "md5")])
def test_the_next_address_is_tried(server, tmp_path, script, said, caplog):
    server.script["a"] = list(script)
    assert fetched(server, tmp_path, names="ab") == BODY
    assert said in caplog.text


def test_an_address_that_never_answers_well_is_given_up(server, tmp_path):
    server.script["a"] = [500] * 9
    assert fetched(server, tmp_path, names="ab", attempts=3) == BODY
    assert [name for name, _ in server.asked] == ["a"] * 3 + ["b"]


def test_all_addresses_are_named_when_none_gives_the_file(server, tmp_path):
    server.script = {"a": [404], "b": ["wrong byte"] * 2}
    with pytest.raises(FetchError) as error:
        fetched(server, tmp_path, names="abc")
    said = str(error.value)
    assert "/a: status 404" in said
    assert f"/b: md5 {hashlib.md5(bytes([BODY[0] ^ 1]) + BODY[1:]).hexdigest()}; expected" in said
    assert "/c: status 404" in said
    assert not (tmp_path / "deep" / "file.bin").exists()


def test_no_server_is_an_error_that_names_the_address(tmp_path):
    with pytest.raises(FetchError, match=r"127\.0\.0\.1.*gave up after 2 attempts"):
        download(["http://127.0.0.1:9/x"], tmp_path / "x", RIGHT, attempts=2, pause=0.001)


def test_more_bytes_than_published_are_not_taken(server, tmp_path):
    server.script["a"] = ["endless"]
    assert fetched(server, tmp_path, names="ab") == BODY


def test_a_file_that_changed_on_the_server_is_fetched_anew(server, tmp_path):
    server.files["a"], server.tags["a"], server.script["a"] = BODY[::-1], '"old"', ["cut 1000", 404]
    with pytest.raises(FetchError):
        fetched(server, tmp_path)
    server.files["a"], server.tags["a"] = BODY, '"new"'
    assert fetched(server, tmp_path, Wanted()) == BODY
    assert server.asked[-1] == ("a", "bytes=1000-")


def test_a_part_that_is_whole_already_is_not_fetched_again(server, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file.bin.part").write_bytes(BODY)
    assert fetched(server, tmp_path) == BODY


def test_a_part_of_another_file_costs_one_fresh_start(server, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file.bin.part").write_bytes(b"x" * 1000)
    assert fetched(server, tmp_path) == BODY
    (tmp_path / "deep" / "file.bin.part").write_bytes(b"x" * (len(BODY) + 5))
    (tmp_path / "deep" / "file.bin").unlink()
    assert fetched(server, tmp_path) == BODY


def test_a_killed_download_goes_on(server, tmp_path):
    server.script["a"] = ["stall"]
    target = tmp_path / "deep" / "file.bin"
    code = "import sys; from pathlib import Path; from cv_pipelines.sources.download import *;"
    code += "download([sys.argv[1]], Path(sys.argv[2]), Wanted())"
    running = subprocess.Popen([sys.executable, "-c", code, server.url("a"), str(target)])
    part = target.with_name("file.bin.part")
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
        if running.poll() is not None:
            break
    running.send_signal(signal.SIGKILL)
    running.wait()
    server.go.set()
    assert not target.exists()
    have = part.stat().st_size if part.exists() else 0
    assert fetched(server, tmp_path) == BODY
    assert server.asked[-1] == ("a", f"bytes={have}-" if have else None)


@pytest.mark.parametrize(
    ("body", "defect"),
    [(BODY, None), (BODY[:-1], "299,999 bytes"), (b"", "0 bytes"), (b"\0" + BODY[1:], "md5")],
)
def test_defects_are_named(tmp_path, body, defect):
    (tmp_path / "f").write_bytes(body)
    found = defect_of(tmp_path / "f", RIGHT)
    assert found is None if defect is None else defect in found
