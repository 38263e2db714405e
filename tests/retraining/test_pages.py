"""What the pages show can be done as they show it."""

import re
import shlex
from contextlib import chdir
from pathlib import Path

import dvc.cli
import pytest
import yaml

from cv_pipelines.config import SourceConfig
from cv_pipelines.retraining.steps import STEPS
from cv_pipelines.sources.fetch import fetch

PROJECT = Path(__file__).resolve().parents[2]
REMOTES = (PROJECT / "docs/remotes.md").read_text(encoding="utf8")
RETRAINING = (PROJECT / "docs/retraining.md").read_text(encoding="utf8")


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


@pytest.mark.filterwarnings("ignore:_NoneStep.value")  # of DVC itself
def test_dvc_takes_every_setting_of_a_remote(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    lines = [line.split(" #")[0] for block in blocks(REMOTES, "bash") for line in block.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith(("dvc remote", "dvc config"))]
    assert {word.split(":")[0] for words in commands for word in words if "://" in word} == {
        *("s3", "gs", "azure", "ssh", "https"),
    }
    with chdir(tmp_path):
        assert dvc.cli.main(["init", "--quiet", "--no-scm"]) == 0
        for words in commands:
            if words[1] == "add":  # each kind of its own
                Path(".dvc/config").write_text("[core]\n    no_scm = True\n")
                Path(".dvc/config.local").unlink(missing_ok=True)
            assert dvc.cli.main(words) == 0, words
        assert dvc.cli.main(["remote", "modify", "store", "no_such_setting", "1"]) != 0


def test_shards_hold_all_files_are_the_same_each_time_and_are_unpacked(tmp_path):
    (pack,) = blocks(REMOTES, "python")
    files = {f"{kind}/{n}.txt": f"{kind} {n}" for kind in ("wren", "tit") for n in range(20)}
    for name, text in files.items():
        (tmp_path / "birds" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "birds" / name).write_text(text)
    shards = tmp_path / "data/01_raw/birds.shards"
    with chdir(tmp_path):
        exec(pack, {})
        first = {path.name: path.read_bytes() for path in shards.iterdir()}
        (tmp_path / "birds/wren/0.txt").touch()
        exec(pack, {})
        assert {path.name: path.read_bytes() for path in shards.iterdir()} == first
        (tmp_path / "birds/wren/0.txt").write_text("another")
        exec(pack, {})
        changed = [path.name for path in shards.iterdir() if path.read_bytes() != first[path.name]]
        assert len(changed) == 1

        (shown,) = (block for block in blocks(REMOTES, "yaml") if block.startswith("birds:"))
        section = yaml.safe_load(shown)["birds"]
        section["fetch"]["folder"] = str(tmp_path / "unpacked")
        section["fetch"]["archives"] = [
            {"file": path.name, "urls": [f"data/01_raw/birds.shards/{path.name}"]}
            for path in shards.iterdir()
        ]
        folder = fetch(SourceConfig.model_validate(section))
    found = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.txt")}
    assert found == files | {"wren/0.txt": "another"}


def test_the_page_shows_the_projects_own_file_and_every_step():
    (shown, *_) = blocks(RETRAINING, "yaml")
    own = (PROJECT / "conf/base/retrain.yml").read_text(encoding="utf8")
    assert yaml.safe_load(shown) == yaml.safe_load(own)
    table = re.findall(r"^\| `retrain-(\w+)`", RETRAINING, flags=re.MULTILINE)
    assert table == [*STEPS, "announce"]
