"""The tables: what they hold, fill in, and refuse."""

import pandas as pd
import pytest
from pandera.errors import SchemaErrors
from pydantic import ValidationError

from cv_pipelines.data.schema import (
    ANNOTATIONS,
    QUARANTINE,
    SAMPLES,
    Categories,
    Quarantine,
    annotations_table,
    categories_of,
    mirrored_points,
    samples_table,
)

SAMPLE = {"sample_id": "a", "split": "train", "group": "g", "labels": [1], "content_hash": "00"}
OBJECT = {"sample_id": "a", "category": 0, "x": 1, "y": 2, "w": 3, "h": 4, "area": 12}


def test_missing_columns_get_their_defaults():
    row = samples_table([SAMPLE]).iloc[0]
    assert row["row"] == -1
    assert (row["width"], row["height"]) == (0, 0)
    assert pd.isna(row["media"])
    assert pd.isna(row["target"])
    assert row["labels"] == [1]


def test_objects_are_numbered_from_one_and_plain_by_default():
    found = annotations_table([OBJECT, OBJECT | {"iscrowd": True}, OBJECT | {"annotation_id": 90}])
    assert found["annotation_id"].tolist() == [1, 2, 90]
    assert found["iscrowd"].tolist() == [False, True, False]
    assert found["difficult"].tolist() == [False] * 3
    assert found["x"].dtype == "float64"


@pytest.mark.parametrize(("make", "schema"), [(samples_table, SAMPLES), (annotations_table, ANNOTATIONS)])
def test_an_empty_table_has_every_column_with_its_type(make, schema):
    found = make([])
    assert list(found.columns) == list(schema.columns)
    assert len(found) == 0
    assert schema.validate(found).equals(found)
    for name, column in schema.columns.items():
        if column.dtype is not None and str(column.dtype) in {"int64", "float64", "bool"}:
            assert str(found[name].dtype) == str(column.dtype), name


@pytest.mark.parametrize(
    "change",
    [{"split": "holdout"}, {"width": -1}, {"sample_id": None}, {"group": None}, {"row": "first"}],
)
def test_a_wrong_sample_is_refused(change):
    with pytest.raises(SchemaErrors, match=next(iter(change))):
        samples_table([SAMPLE | change])


def test_a_sample_id_occurs_once():
    with pytest.raises(SchemaErrors, match="sample_id"):
        samples_table([SAMPLE, SAMPLE])


@pytest.mark.parametrize("change", [{"w": 0}, {"h": -1}, {"category": -1}, {"area": -5}, {"x": None}])
def test_a_wrong_object_is_refused(change):
    with pytest.raises(SchemaErrors, match=next(iter(change))):
        annotations_table([OBJECT | change])


def test_an_annotation_id_occurs_once():
    with pytest.raises(SchemaErrors, match="annotation_id"):
        annotations_table([OBJECT | {"annotation_id": 1}] * 2)


def test_tables_survive_parquet(tmp_path):
    found = annotations_table(
        [OBJECT | {"keypoints": [1.0, 2.0, 2.0], "segmentation": "[[0, 0, 1, 1]]"}, OBJECT]
    )
    found.to_parquet(tmp_path / "objects.parquet")
    again = ANNOTATIONS.validate(pd.read_parquet(tmp_path / "objects.parquet"))
    assert again["keypoints"].iat[0].tolist() == [1.0, 2.0, 2.0]
    assert again.drop(columns="keypoints").equals(found.drop(columns="keypoints"))


def test_quarantine_keeps_rows_in_order():
    quarantine = Quarantine()
    quarantine.drop("a.jpg", "empty file", "0 bytes")
    quarantine.repair("b.jpg", "CMYK image")
    found = quarantine.table()
    assert found.to_dict("records") == [
        {"file": "a.jpg", "reason": "empty file", "action": "dropped", "detail": "0 bytes"},
        {"file": "b.jpg", "reason": "CMYK image", "action": "repaired", "detail": ""},
    ]
    assert list(Quarantine().table().columns) == list(QUARANTINE.columns)


class TestCategories:
    """Class lists."""

    def test_names_are_numbered_in_order(self):
        found = categories_of(["cat", "dog"], ids=["n02", "n01"], colors=[(1, 2, 3), None])
        assert [(c.index, c.id, c.name, c.color) for c in found] == [
            (0, "n02", "cat", (1, 2, 3)),
            (1, "n01", "dog", None),
        ]
        assert [c.id for c in categories_of(["cat"])] == ["cat"]

    def test_lists_of_other_lengths_are_refused(self):
        with pytest.raises(ValueError, match="zip"):
            categories_of(["cat", "dog"], ids=["1"])

    def test_names_of_a_kind(self):
        categories = Categories(labels=categories_of(["a"]), mask=categories_of(["sky", "road"]))
        assert categories.names("mask") == ["sky", "road"]
        assert categories.names("objects") == []

    def test_json_round_trip(self):
        categories = Categories(objects=categories_of(["a"]), mask_lookup={"1,2,3": 0}, multi_label=True)
        assert Categories.model_validate_json(categories.model_dump_json()) == categories

    def test_unknown_keys_are_refused(self):
        with pytest.raises(ValidationError, match="lables"):
            Categories.model_validate({"lables": []})


def test_points_with_a_side_have_a_counterpart_in_the_mirror():
    names = ["nose", "left_eye", "right_eye", "left_horn", "hand_right", "hand_left", "leftover"]
    assert mirrored_points(names) == [0, 2, 1, 3, 5, 4, 6]
