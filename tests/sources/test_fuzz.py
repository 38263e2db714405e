"""Every reader on damaged samples: tables or a typed error, nothing else. More of it: `fuzzing.py`."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import pytest

from cv_pipelines.sources import READERS

spec = importlib.util.spec_from_file_location("fuzzing", Path(__file__).with_name("fuzzing.py"))
fuzzing = importlib.util.module_from_spec(spec)
sys.modules["fuzzing"] = fuzzing  # dataclasses look their module up
spec.loader.exec_module(fuzzing)

DRAWN = sorted(set(READERS) - {"digits"})


def check(name, inputs, seed, folder):
    outcomes = Counter()
    for outcome, find in fuzzing.fuzz(name, inputs, seed, folder):
        assert find is None, f"input {find.seed}, {find.files}\n{find.error}"
        outcomes[outcome] += 1
    assert outcomes["read"] + outcomes["refused"] == inputs


@pytest.mark.parametrize("name", DRAWN)
def test_a_damaged_sample_is_read_or_refused(name, tmp_path):
    check(name, 25, 0, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_thousands_of_damaged_samples_are_read_or_refused(name, tmp_path):
    check(name, 2000, 1, tmp_path)
