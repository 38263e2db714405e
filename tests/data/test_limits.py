"""What a source may show before whatever trains on it is refused."""

import pickle

import pytest

from cv_pipelines.config import Limits
from cv_pipelines.data.limits import MEANINGS, enforce, measured
from cv_pipelines.errors import DataLimitError

SUMMARY = {
    "splits": {"train": 90, "test": 20},
    "classes": {"train": {"cat": 80, "dog": 10}, "test": {"cat": 20, "dog": 0}},
    "quarantine": [
        {"reason": "empty file", "action": "dropped", "n": 10},
        {"reason": "CMYK image", "action": "repaired", "n": 50},
        {"reason": "EXIF-rotated image", "action": "noted", "n": 70},
    ],
    "near_duplicates": {"train|test": 2},
    "duplicates": {"train|train": 11, "train|test": 5},
    "label_conflicts": 22,
    "groups": {"train": 30, "test": 10},
    "leakage": {"train|test": {"shared_groups": 4}},
}

VALUES = {
    "dropped": 10 / 120,
    "repaired": 50 / 120,
    "repeats": 0.1,
    "duplicates": 0.25,
    "near_duplicates": 0.1,
    "shared_groups": 0.4,
    "label_conflicts": 0.2,
    "smallest_class": 10,
    "imbalance": 8.0,
}


def test_nothing_is_asked_unless_it_is_set():
    assert enforce("pets", Limits(), SUMMARY) == {}


def test_every_limit_but_drift_is_measured_and_has_a_meaning():
    assert measured(SUMMARY) == pytest.approx(VALUES)
    assert set(MEANINGS) == set(VALUES) == set(Limits.model_fields) - {"drift"}


def test_values_on_the_limit_pass():
    found = enforce("pets", Limits(**VALUES), SUMMARY)
    assert {name: one["value"] for name, one in found.items()} == pytest.approx(VALUES)
    assert {name: one["limit"] for name, one in found.items()} == pytest.approx(VALUES)


@pytest.mark.parametrize("name", VALUES)
def test_what_is_passed_is_named_with_source_key_value_and_limit(name):
    least = name == "smallest_class"
    limit = VALUES[name] + 1 if least else VALUES[name] - 0.01
    with pytest.raises(DataLimitError) as error:
        enforce("pets", Limits(**{name: limit}), SUMMARY)
    told = (
        f"pets: limits.{name} is {VALUES[name]:.4g}; allowed is at {'least' if least else 'most'} {limit:.4g}"
    )
    assert str(error.value).startswith(told)
    assert error.value.source == "pets"
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


def test_all_that_is_passed_is_named():
    with pytest.raises(DataLimitError, match=r"dropped.*smallest_class"):
        enforce("pets", Limits(dropped=0.0, smallest_class=100), SUMMARY)


def test_a_source_without_classes_or_samples_has_values_too():
    empty = {key: {} for key in ("splits", "classes", "near_duplicates", "duplicates", "groups", "leakage")}
    summary = empty | {"quarantine": [], "label_conflicts": 0}
    assert set(measured(summary).values()) == {0.0}
