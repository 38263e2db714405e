"""Distances between two versions of a source."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from cv_pipelines.commands import data as commands
from cv_pipelines.data.drift import Version, drift, enforce_drift, load_version
from cv_pipelines.data.schema import Box, Categories, Quarantine, boxes_table, categories_of, samples_table
from cv_pipelines.errors import DataLimitError, SourceError
from cv_pipelines.plots.drift import drift_page


@pytest.fixture
def version():
    rng = np.random.default_rng(0)
    rows = [
        {"sample_id": f"s{k}", "media": f"{k}.jpg", "split": "train", "group": f"s{k}", "width": 100}
        | {"height": 80, "labels": [k % 2], "content_hash": f"h{k}"}
        for k in range(200)
    ]
    boxes = [Box(f"s{k}", k // 2 % 2, 0, 0, 10 + k % 7, 10) for k in range(0, 200, 2)]
    measures = pd.DataFrame(
        {"sample_id": [f"s{k}" for k in range(200)], "brightness": rng.normal(120, 20, 200)}
    )
    names = categories_of(["cat", "dog"])
    return Version(samples_table(rows), boxes_table(boxes), measures, Categories(labels=names, objects=names))


def test_the_same_version_is_at_distance_zero(version):
    found = drift(version, version)
    assert set(found["distances"].values()) == {0.0}
    assert found["samples"] == {"old": 200, "new": 200, "added": 0, "removed": 0, "changed": 0}


def test_class_shares_are_compared_by_name(version):
    swapped = Categories(labels=categories_of(["dog", "cat"]), objects=version.categories.objects)
    labels = [[1 - labels[0]] for labels in version.samples["labels"]]
    same = replace(version, categories=swapped, samples=version.samples.assign(labels=labels))
    assert drift(version, same)["distances"]["classes"] == 0.0
    fewer = replace(version, samples=version.samples[version.samples["labels"].map(lambda v: v[0] == 0)])
    assert drift(version, fewer)["distances"]["classes"] == pytest.approx(0.5)
    assert drift(version, fewer)["shares"]["classes"] == {"cat": (0.5, 1.0), "dog": (0.5, 0.0)}


def test_a_shifted_measure_has_the_distance_of_its_distributions(version):
    brighter = version.measures.assign(brightness=version.measures["brightness"] + 1000)
    found = drift(version, replace(version, measures=brighter))
    assert found["distances"]["brightness"] == 1.0
    assert next(iter(found["distances"])) == "brightness"


def test_added_removed_and_changed_samples_are_counted(version):
    rows = version.samples.iloc[10:].assign(
        content_hash=lambda t: t["content_hash"].where(t.index > 14, "new")
    )
    more = rows.iloc[:3].assign(sample_id=["x", "y", "z"])
    found = drift(version, replace(version, samples=pd.concat([rows, more])))
    assert found["samples"] == {"old": 200, "new": 193, "added": 3, "removed": 10, "changed": 5}


def test_a_limit_is_enforced(version):
    other = replace(version, annotations=version.annotations.assign(category=0))
    free = drift(version, other)
    assert (free["limit"], free["beyond"]) == (None, [])
    enforce_drift("pets", free)
    enforce_drift("pets", drift(version, other, free["distances"]["objects"]))
    found = drift(version, other, 0.0)
    assert found["beyond"] == ["objects"]
    with pytest.raises(
        DataLimitError, match=r"pets: limits\.drift is passed by objects 0\.\d+; .* at most 0\.0"
    ):
        enforce_drift("pets", found)


def test_classes_that_appear_and_vanish_are_named(version):
    found = drift(version, replace(version, annotations=version.annotations.assign(category=0)))
    assert (found["appeared"]["objects"], found["vanished"]["objects"]) == ([], ["dog"])
    found = drift(replace(version, annotations=version.annotations.assign(category=0)), version)
    assert (found["appeared"]["objects"], found["vanished"]["objects"]) == (["dog"], [])


def test_shares_of_pixels_are_compared(version):
    masks = Categories(mask=categories_of(["sky", "road"]))
    old, new = (replace(version, categories=masks, samples=version.samples.assign(labels=None)) for _ in "ab")
    old, new = (replace(v, annotations=version.annotations.iloc[:0]) for v in (old, new))
    found = drift(replace(old, pixels=[30, 10]), replace(new, pixels=[100, 100]))
    assert found["distances"]["pixels"] == pytest.approx(0.25)
    assert found["shares"]["pixels"] == {"sky": (0.75, 0.5), "road": (0.25, 0.5)}


def test_signals_are_told_by_the_names_of_their_channels(version):
    measures = pd.DataFrame({"mean_0": np.zeros(200), "deviation_1": np.ones(200), "mean_9": np.ones(200)})
    signals = replace(version, measures=measures, channels=["acc_x", "acc_y"])
    found = drift(signals, replace(signals, measures=measures * 2))
    assert {"mean of acc_x", "deviation of acc_y", "mean_9"} <= found["distances"].keys()
    assert found["medians"]["deviation of acc_y"] == (1.0, 2.0)


def test_defects_are_counted_in_both(version):
    rows = pd.DataFrame({"reason": ["empty file", "empty file", "CMYK image"]})
    found = drift(replace(version, quarantine=rows), replace(version, quarantine=rows.iloc[1:]))
    assert found["defects"] == {"CMYK image": (1, 1), "empty file": (2, 1)}


def test_the_page_names_what_changed_and_what_is_beyond_the_limit(version):
    brighter = replace(version, measures=version.measures.assign(brightness=0.0))
    brighter = replace(brighter, quarantine=pd.DataFrame({"reason": ["empty file"]}))
    found = drift(version, brighter, 0.5)
    page = drift_page("pets", found, version, brighter)
    assert "Drift: pets" in page
    assert "Beyond the limit of 0.5: brightness." in page
    assert "empty file" in page
    assert "All are within the limit of 0.5" in drift_page(
        "pets", drift(version, version, 0.5), version, version
    )
    assert json.loads(json.dumps(found))["beyond"] == ["brightness"]


def test_a_missing_version_is_named(tmp_path):
    with pytest.raises(SourceError, match="pets"):
        load_version(tmp_path, "pets")


def save(version, data):
    tables, prepared = data / "02_intermediate/pets", data / "05_model_input/pets"
    for folder in (tables, prepared):
        folder.mkdir(parents=True)
    version.samples.to_parquet(prepared / "manifest.parquet")
    version.measures.to_parquet(prepared / "measures.parquet")
    version.annotations.to_parquet(tables / "annotations.parquet")
    Quarantine().table().to_parquet(tables / "quarantine.parquet")
    (tables / "categories.json").write_text(version.categories.model_dump_json())
    (prepared / "facts.json").write_text("{}")
    (prepared / "statistics.json").write_text("{}")


@pytest.mark.parametrize(("limit", "status"), [(None, 0), (0.99, 1)])
def test_the_command_writes_both_reports_and_fails_beyond_the_limit(
    version, tmp_path, monkeypatch, limit, status
):
    save(version, tmp_path / "old")
    brighter = version.measures.assign(brightness=version.measures["brightness"] + 1000)
    save(replace(version, measures=brighter), tmp_path / "data")
    section = {"reader": "voc", "limits": {"drift": limit}}
    monkeypatch.setattr(commands, "source_parameters", lambda project, source: section)
    project = SimpleNamespace(project_path=tmp_path)
    found = CliRunner().invoke(commands.drift, ["pets", "--old", str(tmp_path / "old")], obj=project)
    assert found.exit_code == status, found.output
    folder = tmp_path / "data/08_reporting/drift_pets"
    assert json.loads((folder / "drift.json").read_text())["distances"]["brightness"] == 1.0
    assert (folder / "drift.html").exists()
    assert ("pets: limits.drift is passed by brightness 1.000" in found.output) == bool(status)


def test_a_version_is_compared_with_the_one_accepted_last_and_accepted_if_it_passes(
    version, tmp_path, monkeypatch
):
    section = {"reader": "voc", "limits": {"drift": 0.5}}
    monkeypatch.setattr(commands, "source_parameters", lambda project, source: section)
    project, data = SimpleNamespace(project_path=tmp_path), tmp_path / "data"
    accepted = data / "05_model_input/pets.accepted"

    def judged(brightness, *words):
        shutil.rmtree(data / "02_intermediate", ignore_errors=True)
        shutil.rmtree(data / "05_model_input/pets", ignore_errors=True)
        measures = version.measures.assign(brightness=brightness)
        save(replace(version, measures=measures), data)
        return CliRunner().invoke(commands.drift, ["pets", *words], obj=project)

    def known():
        return set(load_version(accepted, "pets").measures["brightness"])

    assert judged(1.0).exit_code == 0  # the first version
    assert known() == {1.0}
    for _ in range(2):  # a version that failed is not what the next one is compared with
        failed = judged(2.0)
        assert failed.exit_code == 1
        assert "Error: DataLimitError: pets: limits.drift is passed by brightness 1.000" in failed.output
        assert known() == {1.0}
    assert judged(2.0, "--accept").exit_code == 0
    assert known() == {2.0}
    assert judged(2.0).exit_code == 0
    assert judged(1.0, "--old", str(accepted)).exit_code == 1
    assert known() == {2.0}
