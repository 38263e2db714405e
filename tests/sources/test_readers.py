"""What every registered reader promises, tested on the sample that it writes itself."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from cv_pipelines.data.images import read_mask
from cv_pipelines.data.schema import ANNOTATIONS, QUARANTINE, SAMPLES, Tables, Truth
from cv_pipelines.errors import SourceError
from cv_pipelines.sources import READERS, reader

PACKED = ("digits",)
"""Readers of data that lie inside a library: no files, no `write_sample`."""

WRITERS = sorted(set(READERS) - set(PACKED))


@dataclass
class Case:
    module: ModuleType
    roots: tuple[Path, Path]
    truth: Truth
    tables: Tables

    def options(self) -> dict[str, Any]:
        return getattr(self.module, "SAMPLE_OPTIONS", {})


def write(module, root):
    """Write the sample, small where the format lets one choose the size of its images."""
    parameters = inspect.signature(module.write_sample).parameters
    small = {"n": 24, "size": (48, 40)} if "size" in parameters else {"n": 2}
    return module.write_sample(root, **small, seed=3)


@pytest.fixture(scope="module", params=WRITERS)
def case(request, tmp_path_factory):
    module = reader(request.param)
    roots = (tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two"))
    truth = write(module, roots[0])
    assert write(module, roots[1]) == truth
    return Case(module, roots, truth, module.read(roots[0], **getattr(module, "SAMPLE_OPTIONS", {})))


def test_sample_is_read_back_without_a_defect(case):
    splits = {split: count for split, count in case.truth.splits.items() if count}
    assert case.tables.samples["split"].value_counts().to_dict() == splits
    assert case.tables.quarantine.to_dict("records") == []


def test_labels_are_those_drawn(case):
    names = case.tables.categories.names("labels")
    rows = case.tables.samples
    found = {i: [names[k] for k in labels] for i, labels in zip(rows.sample_id, rows.labels, strict=True)}
    assert found == (case.truth.labels or {key: [] for key in rows.sample_id})


def test_boxes_are_those_drawn(case):
    names = case.tables.categories.names("objects")
    found: dict[str, list[tuple[str, float, float, float, float]]] = {}
    for row in case.tables.annotations.itertuples():
        found.setdefault(row.sample_id, []).append((names[row.category], row.x, row.y, row.w, row.h))
    assert found == {sample: boxes for sample, boxes in case.truth.boxes.items() if boxes}


def test_two_writes_give_the_same_bytes(case):
    one, two = (
        {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        for root in case.roots
    )
    assert sorted(one) == sorted(two)
    assert [path for path in one if one[path] != two[path]] == []


def test_two_reads_give_the_same_tables(case):
    again = case.module.read(case.roots[1], **case.options())
    for name in ("samples", "annotations", "quarantine"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(case.tables, name))
    assert (again.categories, again.facts) == (case.tables.categories, case.tables.facts)
    assert list(again.arrays) == list(case.tables.arrays)
    for name, array in case.tables.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)


def test_files_exist_and_masks_decode(case):
    root, tables = case.roots[0], case.tables
    assert all((root / path).is_file() for path in tables.samples["media"].dropna())
    for row in tables.samples.dropna(subset=["target"]).itertuples():
        mask = read_mask(root / row.target, tables.categories)
        assert mask.shape == (row.height, row.width)
        classes = set(np.unique(mask).tolist()) - {tables.categories.ignore_index}
        assert classes <= set(range(len(tables.categories.mask)))


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_nothing_there_is_an_error_that_names_the_folder(name, folder, tmp_path):
    module = reader(name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=folder) as caught:
        module.read(tmp_path / folder)
    assert str(tmp_path / folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def check_tables(tables):
    SAMPLES.validate(tables.samples)
    ANNOTATIONS.validate(tables.annotations)
    QUARANTINE.validate(tables.quarantine)
    samples, categories = tables.samples, tables.categories
    for kind in ("labels", "objects", "mask"):
        assert [c.index for c in getattr(categories, kind)] == list(range(len(getattr(categories, kind))))
    known = set(range(len(categories.labels)))
    assert all(set(labels) <= known for labels in samples["labels"])
    assert categories.multi_label or not known or (samples["labels"].map(len) == 1).all()
    assert (samples["content_hash"].str.len() == 32).all()
    assert not samples["media"].dropna().str.startswith("/").any()
    packed = samples.loc[samples["media"].isna(), "row"]
    for array in tables.arrays.values():
        assert sorted(packed) == list(range(len(array)))
    assert tables.arrays or packed.empty
    assert {"reader", "official_split", "licence"} <= set(tables.facts)
    boxes = tables.annotations.merge(samples[["sample_id", "width", "height"]], how="left")
    assert boxes["width"].notna().all()
    assert (boxes["category"] < len(categories.objects)).all()
    assert (boxes[["x", "y"]] >= 0).all(axis=None)
    assert (boxes["x"] + boxes["w"] <= boxes["width"] + 1e-6).all()
    assert (boxes["y"] + boxes["h"] <= boxes["height"] + 1e-6).all()


def test_tables_hold_together(case):
    check_tables(case.tables)


@pytest.mark.parametrize("name", PACKED)
def test_packed_sources_hold_together_and_ignore_the_root(name, tmp_path):
    module = reader(name)
    tables = module.read(tmp_path / "missing")
    check_tables(tables)
    pd.testing.assert_frame_equal(tables.samples, module.read(tmp_path).samples)


@pytest.mark.parametrize("name", sorted(READERS))
def test_options_are_keywords_with_a_type_a_default_and_a_word_of_explanation(name):
    module = reader(name)
    hints = get_type_hints(module.read)
    root, *options = inspect.signature(module.read).parameters.values()
    text = inspect.getdoc(module.read)
    assert root.name == "root"
    assert hints["return"] is Tables
    for option in options:
        assert option.kind is inspect.Parameter.KEYWORD_ONLY
        assert hints[option.name] is not Any
        assert f"    {option.name}: " in text.split("Args:")[1]
        assert TypeAdapter(hints[option.name]).validate_python(option.default) == option.default
    assert inspect.getdoc(module)


def test_unknown_reader_is_named_with_those_there_are():
    with pytest.raises(KeyError, match=r"no reader 'vok'.*voc"):
        reader("vok")
