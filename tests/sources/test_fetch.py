"""A source that is not there is fetched once; what is there is read as it is."""

import hashlib
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections import Counter

import pytest
from pydantic import ValidationError

from cv_pipelines.config import SourceConfig
from cv_pipelines.errors import FetchError
from cv_pipelines.sources import idx
from cv_pipelines.sources.fetch import fetch, source_root
from cv_pipelines.sources.ingest import ingest


def digest(data):
    return hashlib.md5(data).hexdigest()


@pytest.fixture
def packed(server, tmp_path):
    """A data set of one tar, one zip and one plain file on a server; the section that declares it."""
    made = tmp_path / "made"
    made.mkdir()
    (made / "a.txt").write_bytes(b"one")
    with tarfile.open(made / "images.tar.gz", "w:gz") as tar:
        tar.add(made / "a.txt", "images/a.txt")
    with zipfile.ZipFile(made / "labels.zip", "w") as file:
        file.writestr("labels.txt", "two")
    (made / "readme").write_bytes(b"three")
    archives = []
    for name, into in (("images.tar.gz", "."), ("labels.zip", "annotations"), ("readme", None)):
        server.files[name] = (made / name).read_bytes()
        facts = {"size": len(server.files[name]), "md5": digest(server.files[name])}
        archives.append({"file": name, "urls": [server.url(name)], "into": into, **facts})
    return {"folder": str(tmp_path / "data" / "set"), "archives": archives}


FILES = {"images/a.txt": b"one", "annotations/labels.txt": b"two", "readme": b"three"}


def config(fetched, root=None, **more):
    return SourceConfig.model_validate(
        {"reader": "idx", "root": root and str(root), "fetch": fetched, **more}
    )


def written(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_data_set_is_fetched_once(packed, server, tmp_path):
    folder = fetch(config(packed))
    assert folder == tmp_path / "data" / "set"
    assert written(folder) == FILES
    asked = list(server.asked)
    assert fetch(config(packed)) == folder
    assert server.asked == asked
    assert source_root(config(packed)) == folder
    assert not list((tmp_path / "data").glob("*.unpacking"))


def test_archives_that_have_changed_are_unpacked_again(tmp_path):
    shard = tmp_path / "0.tar"

    def pack(text, name="a.txt"):
        (tmp_path / name).write_text(text)
        with tarfile.open(shard, "w") as tar:
            tar.add(tmp_path / name, name)

    wanted = {"folder": str(tmp_path / "set"), "archives": [{"file": "0.tar", "urls": [str(shard)]}]}
    pack("one")
    folder = fetch(config(wanted))
    (folder / "kept").touch()
    assert fetch(config(wanted)) == folder
    assert (folder / "kept").exists()
    pack("other", "b.txt")
    assert written(fetch(config(wanted))) == {"b.txt": b"other"}
    # With a digest, it is the content that counts and not the time.
    wanted["archives"][0]["md5"] = digest(shard.read_bytes())
    fetch(config(wanted))
    (folder / "kept").touch()
    os.utime(shard, (1, 1))
    assert fetch(config(wanted)) == folder
    assert (folder / "kept").exists()
    shard.unlink()
    assert (fetch(config(wanted)) / "kept").exists()  # nor does it have to be kept


def test_a_root_with_data_is_read_as_it_is(packed, server, tmp_path):
    root = tmp_path / "raw"
    root.mkdir()
    (root / "something").touch()
    assert fetch(config(packed, root)) == root
    assert server.asked == []


def test_archives_in_the_root_are_taken_and_the_root_is_not_written_to(packed, server, tmp_path):
    root = tmp_path / "raw"
    root.mkdir()
    for name in ("images.tar.gz", "labels.zip"):
        (root / name).write_bytes(server.files[name])
    assert fetch(config(packed, root)) == tmp_path / "data" / "set"
    assert [name for name, _ in server.asked] == ["readme"]
    assert {path.name for path in root.iterdir()} == {"images.tar.gz", "labels.zip"}
    assert written(tmp_path / "data" / "set") == FILES


def test_a_local_archive_is_an_address_too(packed, server, tmp_path):
    for archive in packed["archives"]:
        archive["urls"] = [str(tmp_path / "absent"), str(tmp_path / "made" / archive["file"])]
    assert written(fetch(config(packed))) == FILES
    assert server.asked == []


def test_what_only_a_person_can_get_is_asked_for_before_anything_is_downloaded(packed, server, tmp_path):
    packed["archives"][1]["urls"] = []
    packed["ask"] = "Register with the authors."
    with pytest.raises(FetchError) as error:
        fetch(config(packed, tmp_path / "raw"))
    said = str(error.value)
    assert f"put labels.zip into {tmp_path / 'raw'} or {tmp_path / 'data' / 'set'}.downloads" in said
    assert "Register with the authors." in said
    assert server.asked == []
    (tmp_path / "data" / "set.downloads").mkdir(parents=True)
    (tmp_path / "data" / "set.downloads" / "labels.zip").write_bytes(server.files["labels.zip"])
    assert written(fetch(config(packed, tmp_path / "raw"))) == FILES


def test_a_wrong_file_that_somebody_put_there_is_named(packed, tmp_path):
    downloads = tmp_path / "data" / "set.downloads"
    downloads.mkdir(parents=True)
    (downloads / "labels.zip").write_bytes(b"an error page")
    with pytest.raises(FetchError, match=r"set\.downloads/labels\.zip: 13 bytes; expected"):
        fetch(config(packed))
    assert not (tmp_path / "data" / "set").exists()


def test_no_address_gives_it(packed, server, tmp_path):
    server.files.pop("labels.zip")
    with pytest.raises(FetchError, match=r"labels\.zip: cannot be downloaded\n.*status 404"):
        fetch(config(packed))
    assert not (tmp_path / "data" / "set").exists()


def test_an_unsafe_archive_leaves_no_data_set(packed, server, tmp_path):
    bad = tmp_path / "bad.tar"
    with tarfile.open(bad, "w") as tar:
        tar.addfile(tarfile.TarInfo("../../escaped"))
    server.files["labels.zip"] = bad.read_bytes()
    packed["archives"][1] |= {"size": None, "md5": None}
    with pytest.raises(FetchError, match="points out of the folder"):
        fetch(config(packed))
    assert not (tmp_path / "data" / "set").exists()
    assert not list(tmp_path.rglob("escaped"))


def test_a_fetched_source_is_ingested_and_read_from_where_it_lies(server, tmp_path):
    idx.write_sample(tmp_path / "made", n=20)
    archives = []
    for path in sorted((tmp_path / "made").iterdir()):
        server.files[path.name] = path.read_bytes()
        archives.append({"file": path.name, "urls": [server.url(path.name)], "into": None})
    fetched = {"folder": str(tmp_path / "data" / "digits"), "archives": archives}
    tables, stamp = ingest(config(fetched, tmp_path / "raw"), tmp_path / "store")
    assert len(tables.samples) == 20
    again, known = ingest(config(fetched, tmp_path / "raw"), tmp_path / "store")
    assert known | {"seconds": 0} == stamp | {"seconds": 0}  # read twice, for nothing was stored
    assert again.samples.equals(tables.samples)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"file": "a/b"}, "without folders"),
        ({"into": "../x"}, "stay below"),
        ({"into": "/x"}, "stay below"),
        ({"md5": "xyz"}, "match pattern"),
        ({"size": 0}, "greater than 0"),
        ({"mirror": "x"}, "not permitted"),
    ],
)
def test_a_wrong_declaration_is_refused(change, said):
    with pytest.raises(ValidationError, match=said):
        config({"folder": "x", "archives": [{"file": "a"} | change]})


@pytest.mark.slow
def test_a_fetch_killed_at_any_moment_ends_as_an_undisturbed_one(server, tmp_path):
    rng = random.Random(0)
    content = {f"{i % 7}/{i}.bin": rng.randbytes(rng.randrange(60_000)) for i in range(400)}
    with tarfile.open(tmp_path / "big.tar.gz", "w:gz", compresslevel=1) as tar:
        for name, data in content.items():
            (tmp_path / "member").write_bytes(data)
            tar.add(tmp_path / "member", name)
    server.files["big.tar.gz"] = (tmp_path / "big.tar.gz").read_bytes()
    archive = {
        "file": "big.tar.gz",
        "urls": [server.url("big.tar.gz")],
        "md5": digest(server.files["big.tar.gz"]),
    }
    section = {"reader": "idx", "fetch": {"folder": str(tmp_path / "data" / "set"), "archives": [archive]}}
    code = "import sys, json; from cv_pipelines.config import SourceConfig;"
    code += "from cv_pipelines.sources.fetch import fetch; print('ready', flush=True);"
    code += "fetch(SourceConfig.model_validate(json.loads(sys.argv[1])))"
    fell, folder = Counter(), tmp_path / "data" / "set"
    while fell.total() - fell["after the end"] < 50:
        running = subprocess.Popen([sys.executable, "-c", code, json.dumps(section)], stdout=subprocess.PIPE)
        running.stdout.readline()
        time.sleep(rng.random() ** 2 * 0.15)
        running.send_signal(signal.SIGKILL)
        there = {path.suffix for path in (tmp_path / "data").glob("set*")}
        met = "unpacking" if ".unpacking" in there else "downloading" if ".downloads" in there else "before"
        fell[met if running.wait() else "after the end"] += 1
        running.stdout.close()
        if folder.exists() or fell.total() % 3 == 0:  # and again from nothing
            assert written(fetch(SourceConfig.model_validate(section))) == content
            shutil.rmtree(tmp_path / "data")
    assert written(fetch(SourceConfig.model_validate(section))) == content
    assert {path.name for path in (tmp_path / "data").iterdir()} <= {"set", "set.downloads", "set.lock"}
    logging.getLogger(__name__).info("kills of fetch: %s", dict(fell))
    assert min(fell["downloading"], fell["unpacking"]) > 5
