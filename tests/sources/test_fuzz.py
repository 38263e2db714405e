"""Every reader on damaged data sets: tables or a typed error. More of it: `python -m fuzzing`."""

import os
import signal
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest
from fuzzing import attempts, damage
from fuzzing.results import Results
from fuzzing.runs import Run, execute
from fuzzing.seeds import CASES, prepare

from cv_pipelines.data import schema
from cv_pipelines.data.schema import QUARANTINE, SAMPLES
from cv_pipelines.sources import READERS, reader

DRAWN = [case.name for case in CASES if case.n]
RAW = os.environ.get("CV_PIPELINES_RAW")


@pytest.fixture
def strict(monkeypatch):
    """As `attempts.bound`, for one test."""
    before = signal.signal(signal.SIGALRM, attempts.Alarm.ring)
    monkeypatch.setattr(pa.DataFrameSchema, "validate", attempts.quick_validate)
    monkeypatch.setattr(schema, "table", attempts.quick_table)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attempts.strict()
        yield
    signal.signal(signal.SIGALRM, before)


def check(tmp_path, name, mode, inputs, seed, raw=None):
    share = next(case.share for case in CASES if case.name == name)
    inputs = max(round(inputs * share), 2)
    results = execute(Run(name, mode, raw, inputs, seed), tmp_path / "report.json", bounded=False)
    assert not results.finds, "\n".join(results.finds[:3])
    assert results.inputs >= inputs / 2  # hypothesis gives up on repetitions


def test_every_reader_has_a_case():
    assert {case.reader for case in CASES} == set(READERS) - {"digits"}  # whose data lie in a library


@pytest.mark.parametrize("mode", ["random", "structured"])
@pytest.mark.parametrize("name", DRAWN)
def test_a_damaged_data_set_is_read_or_refused(name, mode, tmp_path, strict):
    check(tmp_path, name, mode, 10, 0)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["random", "structured"])
@pytest.mark.parametrize("name", DRAWN)
def test_a_thousand_damaged_data_sets_are_read_or_refused(name, mode, tmp_path, strict):
    check(tmp_path, name, mode, 1000, 1)


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif(not RAW, reason="CV_PIPELINES_RAW is not set")
@pytest.mark.parametrize("mode", ["random", "structured"])
@pytest.mark.parametrize("name", [case.name for case in CASES if case.cut])
def test_real_files_are_read_or_refused_when_damaged(name, mode, tmp_path, strict):
    check(tmp_path, name, mode, 200, 1, RAW)


@pytest.mark.real_data
@pytest.mark.skipif(not RAW, reason="CV_PIPELINES_RAW is not set")
@pytest.mark.parametrize("name", [case.name for case in CASES if case.cut])
def test_what_is_cut_of_the_real_files_is_sound(name, tmp_path, strict):
    case = next(case for case in CASES if case.name == name)
    prepare(case, tmp_path, Path(RAW))
    tables = reader(case.reader).read(tmp_path, **case.options)
    assert set(tables.quarantine["reason"]) <= {
        "segment past the recording",
        "grey-scale image",
        "CMYK image",
    }


def test_damage_is_undone(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    other = tmp_path / "c"
    for odd in damage.ODD:
        with damage.applied({tmp_path / "a": odd, tmp_path / "b": b"3", other: b"4"}, tmp_path):
            assert not (tmp_path / "a").is_file()
            assert (tmp_path / "b").read_bytes() == b"3"
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"1", "b": b"2"}


@pytest.mark.parametrize("name", ["..", ".", "../other", "a/..", "a/../../other", "/other"])
def test_nothing_outside_of_the_data_set_is_touched(tmp_path, name):
    root = tmp_path / "set"
    root.mkdir()
    (tmp_path / "other").write_bytes(b"1")
    (root / "b").write_bytes(b"2")
    with pytest.raises(ValueError, match="is not below"), damage.applied({root / name: "nothing"}, root):
        raise AssertionError
    assert (tmp_path / "other").read_bytes() == b"1"
    assert (root / "b").read_bytes() == b"2"


def test_an_untyped_exception_a_hang_and_a_wrong_table_are_finds(strict, monkeypatch, tmp_path):
    module = reader("digits")
    sound = module.read(tmp_path)
    wrong = {"images": np.full((1, 1), np.nan)}
    monkeypatch.setattr(attempts, "SECONDS", 0.05)

    def hang(*_):
        while True:
            pass

    def fail(*_):
        raise KeyError

    def nonsense(*_):
        return type(sound)(sound.samples, sound.annotations, sound.categories, sound.quarantine, wrong)

    results = Results()
    for read in (hang, fail, nonsense, lambda *_: sound):
        monkeypatch.setattr(module, "read", read)
        results.add(lambda: attempts.attempt("digits", tmp_path, {}), lambda: "x")
    assert [find.splitlines()[-1].split(":")[0] for find in results.finds] == [
        "fuzzing.attempts.HangError",
        "KeyError",
        "AssertionError",
    ]
    assert (results.read, results.refused) == (1, 0)


ROWS = [
    {"file": "a", "reason": "b", "action": "dropped", "detail": "d"},
    {"file": "a", "reason": "b", "action": "lost", "detail": "d"},
    {"file": None, "reason": "b", "action": "dropped", "detail": "d"},
]


@pytest.mark.parametrize("row", ROWS)
def test_the_quick_validation_judges_as_the_true_one(row):
    frame = pd.DataFrame([row], dtype=object)
    try:
        expected = QUARANTINE.validate(frame, lazy=True)
    except pa.errors.SchemaErrors:
        with pytest.raises(pa.errors.SchemaErrors):
            attempts.quick_validate(QUARANTINE, frame, lazy=True)
    else:
        pd.testing.assert_frame_equal(attempts.quick_validate(QUARANTINE, frame, lazy=True), expected)


def test_the_quick_validation_sees_ids_that_occur_twice():
    samples = reader("digits").read(Path()).samples
    pd.testing.assert_frame_equal(attempts.quick_validate(SAMPLES, samples, lazy=True), samples)
    with pytest.raises(pa.errors.SchemaErrors):
        attempts.quick_validate(SAMPLES, pd.concat([samples, samples]), lazy=True)
