"""The plan of a source: its files, its parameters, its code."""

import json

import pandas as pd
import pytest

from cv_pipelines.config import SourceConfig
from cv_pipelines.planning.sources import PREPARED, READ, source_steps
from cv_pipelines.sources.ingest import NAMED, folders_of, ingest
from cv_pipelines.sources.preparation import preparation


def config_of(root, **values):
    return SourceConfig.model_validate({"reader": "image_folder", "root": str(root), **values})


@pytest.fixture
def project(tmp_path):
    """Raw pictures, and the data folder as a run leaves it."""
    from PIL import Image

    root, data = tmp_path / "raw", tmp_path / "data"
    for split in ("train", "val"):
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True)
            for i in range(3):
                Image.new("RGB", (8, 8), (i, len(label), ord(label[0]))).save(
                    root / split / label / f"{i}.png"
                )
    config = config_of(root)
    tables, prepared = data / "02_intermediate/pictures", data / "05_model_input/pictures"
    for folder, files in ((tables, READ), (prepared, PREPARED)):
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).write_text("{}")
    read, stamp = ingest(config, tables)
    read.samples.to_parquet(tables / "samples.parquet")
    read.samples.to_parquet(prepared / "manifest.parquet")
    (tables / "ingested.json").write_text(json.dumps(stamp))
    verdict = {"provenance": preparation(config).model_dump(mode="json")}
    (prepared / "verdict.json").write_text(json.dumps(verdict))
    return root, data


def planned(project, **values):
    root, data = project
    return source_steps("pictures", config_of(root, **values), data)


def test_nothing_is_needed_where_nothing_has_changed(project):
    assert [step.state for step in planned(project)] == ["fresh", "fresh"]


def test_new_files_are_counted_by_folder(project):
    for name in ("7.png", "8.png"):
        (project[0] / "train/cat" / name).write_bytes((project[0] / "train/cat/0.png").read_bytes())
    (project[0] / "val/dog/2.png").unlink()
    read, prepare = planned(project)
    assert read.reasons == ["source changed: train/cat: 2 files new", "source changed: val/dog: 1 file gone"]
    assert (read.state, prepare.state) == ("run", "maybe")


def test_files_that_are_gone_are_named(project, monkeypatch):
    for path in ("train/cat/1.png", "train/dog/0.png"):
        (project[0] / path).unlink()
    expected = [f"{project[0]}/train/{path} is gone since it was read" for path in ("cat/1.png", "dog/0.png")]
    assert planned(project)[0].gone == expected
    # of folders too large to be noted by name, the samples' own
    stamp = project[1] / "02_intermediate/pictures/ingested.json"
    known = json.loads(stamp.read_text())
    known["folders"] = {folder: facts[:3] for folder, facts in known["folders"].items()}
    stamp.write_text(json.dumps(known))
    assert planned(project)[0].gone == expected


def test_names_are_noted_of_small_folders_only(project, tmp_path):
    (project[0] / "lists").mkdir()
    for number in range(NAMED + 1):
        (project[0] / "lists" / f"{number}.txt").touch()
    found = folders_of(project[0])
    assert len(found["lists"]) == 3
    assert found["train/cat"][3] == ["0.png", "1.png", "2.png"]


def test_reading_takes_as_long_as_it_did(project):
    read = source_steps("pictures", config_of(project[0], test={"by": "sample", "share": 0.2}), project[1])[0]
    stamp = json.loads((project[1] / "02_intermediate/pictures/ingested.json").read_text())
    assert read.seconds == stamp["seconds"] > 0
    # what is loaded is not read: its time says nothing
    _, again = ingest(config_of(project[0]), project[1] / "02_intermediate/pictures")
    assert again["seconds"] > 0


def test_a_file_that_was_replaced_is_noticed(project):
    (project[0] / "train/cat/0.png").write_bytes(b"another")
    told = "source changed: train/cat: files replaced or rewritten (3 as before)"
    assert planned(project)[0].reasons == [told]


def test_other_splits_prepare_anew_and_read_nothing(project):
    read, prepare = planned(project, test={"by": "sample", "share": 0.2})
    assert (read.state, prepare.state) == ("fresh", "run")
    assert "`test.share` changed none → 0.2" in prepare.reasons


def test_tables_that_were_read_since_prepare_anew(project):
    samples = project[1] / "02_intermediate/pictures/samples.parquet"
    pd.read_parquet(samples).iloc[1:].to_parquet(samples)
    assert planned(project)[1].reasons == ["the tables were read anew since"]


def test_a_table_that_is_gone_is_read_again(project):
    (project[1] / "02_intermediate/pictures/annotations.parquet").unlink()
    assert planned(project)[0].reasons == ["annotations.parquet is gone"]


def test_what_was_never_read(project, tmp_path):
    read, prepare = source_steps("pictures", config_of(project[0]), tmp_path / "empty")
    assert (read.reasons, prepare.reasons) == (["not read yet"], ["not prepared yet"])


def test_a_missing_folder_is_named(tmp_path):
    read, prepare = source_steps("pictures", config_of(tmp_path / "nowhere"), tmp_path / "data")
    assert (read.state, prepare.state) == ("missing", "missing")
    assert read.reasons == [f"no folder {tmp_path}/nowhere; does CV_PIPELINES_RAW name the raw data?"]


def test_archives_that_need_a_person_are_missing_and_others_are_fetched(tmp_path):
    archive = {"file": "data.tar", "size": 1000}
    fetch = {"folder": str(tmp_path / "fetched"), "archives": [archive], "ask": "Register first."}
    read = source_steps("p", config_of(tmp_path / "raw", fetch=fetch), tmp_path / "data")[0]
    assert read.reasons == [f"put data.tar into {tmp_path}/raw. Register first."]
    archive["urls"] = ["https://example.org/data.tar"]
    read = source_steps("p", config_of(tmp_path / "raw", fetch=fetch), tmp_path / "data")[0]
    assert (read.state, read.reasons, read.disk) == ("run", ["its files are not fetched yet"], 2000)


def test_a_sample_of_another_size_is_drawn_anew(tmp_path):
    root = tmp_path / "drawn"
    root.mkdir()
    config = config_of(root, sample={"n": 9})
    (root / "sample.json").write_text(json.dumps({"n": 6, "size": None, "seed": 0}))
    read = source_steps("p", config, tmp_path / "data")[0]
    assert read.reasons == ["its sample changes: `n` 6 → 9"]
