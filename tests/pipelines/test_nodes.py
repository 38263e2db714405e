"""The nodes of the data stages on a drawn sample, and the hooks around a run."""

import logging

import click
import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from cv_pipelines.data.schema import ANNOTATIONS, QUARANTINE, SAMPLES, Categories
from cv_pipelines.errors import DataLimitError, LeakageError
from cv_pipelines.hooks import ExperimentHooks
from cv_pipelines.pipelines.evaluate.pipeline import create_pipeline as evaluate
from cv_pipelines.pipelines.ingest.nodes import read_source
from cv_pipelines.pipelines.ingest.pipeline import TABLES
from cv_pipelines.pipelines.ingest.pipeline import create_pipeline as ingest
from cv_pipelines.pipelines.prepare.nodes import (
    compute_statistics,
    enforce_limits,
    measure_samples,
    report_source,
    split_samples,
)
from cv_pipelines.pipelines.source_data import source_data
from cv_pipelines.pipelines.train.pipeline import create_pipeline as train


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw") / "sample_voc"
    sample = {"n": 16, "size": [32, 32]}
    return {"reader": "voc", "root": str(root), "sample": sample, "validation": {"share": 0.25}}


@pytest.fixture(scope="module")
def tables(source, tmp_path_factory):
    given = read_source(source, tmp_path_factory.mktemp("store"))
    return dict(zip(TABLES, given, strict=True))


def test_ingest_gives_the_documented_tables(tables):
    SAMPLES.validate(tables["samples"])
    ANNOTATIONS.validate(tables["annotations"])
    QUARANTINE.validate(tables["quarantine"])
    assert len(Categories.model_validate(tables["categories"]).objects) == 20
    assert tables["facts"]
    assert tables["ingested"]["reader"] == "voc"


def test_the_stamp_is_saved_last_so_that_it_vouches_for_the_other_tables():
    (node,) = ingest("any").nodes
    assert node.outputs[-1] == "any.ingested"


def test_the_manifest_has_every_split_and_every_sample(source, tables):
    manifest, facts = split_samples(source, tables["samples"], tables["facts"])
    assert manifest["split"].value_counts().to_dict() == {"train": 9, "test": 4, "val": 3}
    assert sorted(manifest["sample_id"]) == sorted(tables["samples"]["sample_id"])
    assert facts == tables["facts"]  # nothing is shared, so nothing is added


def test_a_leak_into_our_own_split_stops_the_run(source, tables):
    samples = tables["samples"].assign(group="one video")
    by_sample = source | {"validation": {"by": "sample", "share": 0.25}}
    with pytest.raises(LeakageError, match="one video"):
        split_samples(by_sample, samples, tables["facts"])


def test_a_leak_between_official_splits_is_stated_and_not_refused(source, tables):
    samples = tables["samples"].assign(group="one video")
    official = {"reader": "voc", "root": source["root"]}
    _, facts = split_samples(official, samples, tables["facts"])
    (found,) = facts["shared"].values()
    assert found["shared_groups"]


def test_statistics_are_those_of_the_train_split_alone(source, tables):
    manifest, _ = split_samples(source, tables["samples"], tables["facts"])
    rest = {"source": source} | {name: tables[name] for name in ("annotations", "categories", "arrays")}
    whole = compute_statistics(manifest=manifest, **rest)
    alone = compute_statistics(manifest=manifest[manifest["split"] == "train"], **rest)
    assert whole == alone
    assert len(whole["mean"]) == 3
    assert all(0 <= value <= 255 for value in whole["mean"])


def test_the_data_report_names_the_source_and_shows_every_split(source, tables):
    manifest, facts = split_samples(source, tables["samples"], tables["facts"])
    rest = {name: tables[name] for name in ("annotations", "categories", "arrays")}
    measures = measure_samples(source, manifest=manifest, **rest)
    quarantine = tables["quarantine"]
    limited = source | {"limits": {"repaired": 0.5, "imbalance": 1.0}}
    page, summary, counts, gallery = report_source(
        "shapes", limited, quarantine, facts, measures, manifest=manifest, **rest
    )
    assert "Data: shapes" in page
    assert "at most 0.5" in page
    assert "NOT KEPT" in page
    assert [one["kept"] for one in summary["checks"] if one["limit"]] == [True, False]
    assert set(summary["measures"]) == {"train", "val", "test"}
    unlike = source | {"limits": {"dropped": 0.0}}
    assert enforce_limits("shapes", unlike, summary)["dropped"]["value"] == 0.0
    with pytest.raises(DataLimitError, match=r"shapes: limits\.smallest_class"):
        enforce_limits("shapes", source | {"limits": {"smallest_class": 1000}}, summary)
    assert len(counts.data)
    assert len(gallery.to_dict()["layout"].get("images", [])) + len(gallery.data)


def test_a_source_without_files_has_no_root(tables):
    packed = source_data(
        {"reader": "digits"}, pd.DataFrame(), pd.DataFrame(), tables["categories"], {"images": np.zeros(1)}
    )
    assert packed.root is None
    assert packed.statistics == {}


def test_wiring_follows_what_the_experiment_declares():
    (alone,), (started,) = train("a", "s", None).nodes, train("a", "s", "b").nodes
    assert set(started.inputs) - set(alone.inputs) == {"b.checkpoint"}
    assert {node.name for node in evaluate("a", "s", "gan", "c").nodes} == {"a.predict", "a.score"}
    assert "c.checkpoint" in evaluate("a", "s", "gan", "c").inputs()
    assert "a.coco_files" in {node.name for node in evaluate("a", "s", "detection", None).nodes}


def test_a_run_of_data_alone_is_logged_and_not_tracked(tmp_path, caplog):
    (tmp_path / "conf").mkdir()
    nodes = [Node(lambda: 1, None, "a.x", name="first", namespace="a", tags=["ingest"])]
    pipeline = Pipeline([*nodes, Node(lambda x: x, "a.x", "a.y", name="second", namespace="a")])
    hooks = ExperimentHooks()
    hooks.project = tmp_path
    catalog = DataCatalog({"parameters": MemoryDataset({})})
    with caplog.at_level(logging.INFO, "cv_pipelines.hooks"):
        hooks.before_pipeline_run({"pipeline_names": ["data_a"]}, pipeline, catalog)
        for node in pipeline.nodes:
            hooks.before_dataset_loaded(node)
            hooks.before_node_run(node)
            hooks.after_node_run(node, {}, {})
        hooks.after_pipeline_run(pipeline)
    assert [record.getMessage() for record in caplog.records] == ["1 of 2: a.first", "2 of 2: a.second"]
    assert hooks.tracker is None
    assert list(tmp_path.iterdir()) == [tmp_path / "conf"]


def test_a_limit_that_is_passed_reaches_the_terminal_with_its_file(tmp_path):
    folder = tmp_path / "conf/base/parameters/sources"
    folder.mkdir(parents=True)
    (folder / "shapes.yml").write_text("shapes: {reader: voc, limits: {dropped: 0.1}}\n")
    hooks = ExperimentHooks()
    hooks.project = tmp_path
    expected = r"conf/base/parameters/sources/shapes\.yml: shapes: limits\.dropped is 0\.2"
    with pytest.raises(click.ClickException, match=expected):
        hooks.on_pipeline_error(DataLimitError("limits.dropped is 0.2", "shapes"))


def test_every_node_function_is_run_by_the_names_of_its_arguments(source, tmp_path):
    """Kedro passes inputs by name or position: the real nodes, in the real order, in a plain runner."""
    store = tmp_path / "store"
    pipeline = ingest("s")
    catalog = DataCatalog(
        {"params:s": MemoryDataset(source), "s.store": MemoryDataset(store, copy_mode="assign")}
    )
    given = SequentialRunner().run(pipeline, catalog)
    assert given.keys() == {f"s.{table}" for table in TABLES}
    assert len(given["s.samples"].load()) == 16
