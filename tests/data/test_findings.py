"""The numbers of a data report: exact on sources made up for it."""

import json

import numpy as np
import pandas as pd
import pytest

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.duplicates import exact_duplicates, near_duplicates
from cv_pipelines.data.findings import balance, object_numbers, quantiles, summarise
from cv_pipelines.data.schema import Box, Categories, Quarantine, boxes_table, categories_of, samples_table

NAMES = categories_of(["cat", "dog"])


def rows(*content):
    """Make samples of (split, group, hash, label) on images of 100 × 50 pixels."""
    made = [
        {
            "sample_id": f"s{k}",
            "media": f"{k}.jpg",
            "split": split,
            "group": group,
            "width": 100,
            "height": 50,
        }
        | {"labels": [label], "content_hash": content}
        for k, (split, group, content, label) in enumerate(content)
    ]
    return samples_table(made)


@pytest.fixture
def data():
    samples = rows(
        ("train", "ann", "a", 0),
        ("train", "ann", "b", 0),
        ("train", "bob", "a", 1),
        ("val", "bob", "c", 0),
        ("test", "cid", "a", 0),
    )
    boxes = [
        Box("s0", 0, 0, 0, 10, 20),
        Box("s0", 1, 0, 0, 40, 10, difficult=True),
        Box("s3", 1, 0, 0, 100, 50),
    ]
    lists = Categories(labels=NAMES, objects=NAMES, mask=categories_of(["sky", "road"]))
    return SourceData(samples, boxes_table(boxes), lists, statistics={"pixels": [30, 10]})


def test_equal_contents_are_found_within_and_across_splits(data):
    found = exact_duplicates(data.samples)
    assert found.to_dict("records") == [
        {"split": "train", "sample_id": "s0", "other_split": "test", "other_id": "s4", "same_labels": True},
        {"split": "train", "sample_id": "s0", "other_split": "train", "other_id": "s2", "same_labels": False},
    ]
    assert exact_duplicates(data.samples.iloc[[1, 3]]).empty


def test_the_first_of_equal_contents_is_that_of_the_earliest_split():
    found = exact_duplicates(rows(("test", "a", "x", 0), ("val", "b", "x", 0), ("train", "c", "x", 0)))
    assert found["sample_id"].tolist() == ["s2", "s2"]
    assert sorted(found["other_split"]) == ["test", "val"]


def test_objects_are_counted_by_class_area_and_shape(data):
    found = object_numbers(data)
    assert (found["n"], found["crowd"], found["difficult"]) == (3, 0, 1)
    assert found["classes"]["train"] == {"cat": 1, "dog": 1}
    assert found["classes"]["val"] == {"cat": 0, "dog": 1}
    assert found["without"] == {"train": 2, "val": 0, "test": 1}
    assert found["areas"] == {"small": 2, "medium": 1, "large": 0}
    assert [found["aspect"][k] for k in ("min", "median", "max")] == [0.5, 2.0, 4.0]
    assert found["size"]["max"] == 1.0
    assert (found["an_image"]["median"], found["an_image"]["max"]) == (0, 2)


def test_balance():
    assert balance({"a": 5, "b": 5}) == {"smallest": 5, "largest": 5, "ratio": 1.0, "evenness": 1.0}
    found = balance({"a": 0, "b": 7})
    assert (found["smallest"], found["ratio"], found["evenness"]) == (0, 7.0, 0.0)


def test_quantiles_are_of_the_values():
    found = quantiles(np.arange(101))
    assert (found["min"], found["p05"], found["median"], found["p95"], found["max"]) == (0, 5, 50, 95, 100)


def test_the_summary_has_it_all_and_is_json(data):
    quarantine = Quarantine()
    quarantine.drop("x.jpg", "empty file")
    measures = pd.DataFrame({"sample_id": data.samples["sample_id"], "brightness": [1.0, 2, 3, 4, 5]})
    alike = near_duplicates(data.samples, pd.Series(["0" * 16, None, None, None, "0" * 16]))
    found = summarise(
        data, quarantine.table(), {"reader": "x"}, measures, exact_duplicates(data.samples), alike
    )
    assert json.loads(json.dumps(found)) == found
    assert found["splits"] == {"train": 3, "val": 1, "test": 1}
    assert found["groups"] == {"train": 2, "val": 1, "test": 1}
    assert found["duplicates"] == {"train|test": 1, "train|train": 1}
    assert found["label_conflicts"] == 1
    assert found["near_duplicates"] == {"train|test": 1}
    assert found["leakage"]["train|val"]["groups"] == ["bob"]
    assert found["leakage"]["train|test"]["shared_contents"] == 1
    assert found["pixels"] == {"sky": 0.75, "road": 0.25}
    assert found["measures"]["train"] == {"brightness": 2.0}
    assert found["quarantine"] == [{"reason": "empty file", "action": "dropped", "n": 1}]


def test_a_source_without_objects_or_defects(data):
    bare = SourceData(data.samples.iloc[:0], boxes_table([]), Categories())
    none = pd.DataFrame({"phash": []})
    found = summarise(
        bare,
        Quarantine().table(),
        {},
        none,
        exact_duplicates(bare.samples),
        near_duplicates(bare.samples, none["phash"]),
    )
    assert (found["splits"], found["objects"], found["quarantine"]) == ({}, {"n": 0}, [])
