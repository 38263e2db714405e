"""What a source may show before whatever trains on it is refused."""

import pytest

from cv_pipelines.config import Limits
from cv_pipelines.data.limits import enforce
from cv_pipelines.errors import DataLimitError

SUMMARY = {
    "splits": {"train": 90, "test": 20},
    "classes": {"train": {"cat": 80, "dog": 10}, "test": {"cat": 20, "dog": 0}},
    "quarantine": [
        {"reason": "empty file", "action": "dropped", "n": 10},
        {"reason": "CMYK image", "action": "repaired", "n": 50},
    ],
    "near_duplicates": {"train|test": 2},
}


def test_nothing_is_asked_unless_it_is_set():
    assert enforce(Limits(), SUMMARY) == {}


def test_values_on_the_limit_pass():
    limits = Limits(dropped=10 / 120, near_duplicates=0.1, smallest_class=10)
    found = enforce(limits, SUMMARY)
    assert {name: one["value"] for name, one in found.items()} == {
        "dropped": pytest.approx(10 / 120),
        "near_duplicates": 0.1,
        "smallest_class": 10,
    }


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"dropped": 0.08}, "dropped is 0.08333; allowed is at most 0.08"),
        ({"near_duplicates": 0.09}, "near_duplicates is 0.1; allowed is at most 0.09"),
        ({"smallest_class": 11}, "smallest_class is 10; allowed is at least 11"),
    ],
)
def test_what_is_passed_is_named_with_its_limit(limits, told):
    with pytest.raises(DataLimitError, match=told):
        enforce(Limits(**limits), SUMMARY)


def test_all_that_is_passed_is_named():
    with pytest.raises(DataLimitError, match=r"dropped.*smallest_class"):
        enforce(Limits(dropped=0.0, smallest_class=100), SUMMARY)


def test_a_source_without_classes_or_samples_has_values_too():
    empty = {"splits": {}, "classes": {}, "quarantine": [], "near_duplicates": {}}
    assert enforce(Limits(dropped=0.0, near_duplicates=0.0), empty)["dropped"]["value"] == 0.0
