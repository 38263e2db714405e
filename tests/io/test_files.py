"""Datasets of files: what is saved is what is loaded, and a kill while saving leaves what was there."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from kedro.io import DatasetError

from cv_pipelines.files import write_text
from cv_pipelines.io.arrays import ArraysDataset
from cv_pipelines.io.folder import FolderDataset
from cv_pipelines.io.page import PageDataset


@pytest.fixture
def arrays(tmp_path):
    return ArraysDataset(filepath=str(tmp_path / "deep" / "arrays"))


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.dictionaries(
        st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
        arrays_of.arrays(
            st.sampled_from([np.uint8, np.int64, np.float32, np.bool_]),
            arrays_of.array_shapes(max_dims=4, min_side=0, max_side=4),
        ),
        max_size=3,
    )
)
def test_arrays_come_back_as_they_were(arrays, data):
    arrays.save(data)
    loaded = arrays.load()
    assert loaded.keys() == data.keys()
    for name, array in data.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


def test_arrays_are_mapped_read_only(arrays):
    arrays.save({"images": np.zeros((3, 2), np.uint8)})
    loaded = arrays.load()["images"]
    assert isinstance(loaded, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        loaded[0] = 1


def test_no_arrays_are_a_dataset_too(arrays):
    assert not arrays.exists()
    assert arrays.load() == {}
    arrays.save({})
    assert arrays.exists()
    assert arrays.load() == {}


def test_saving_drops_what_is_no_longer_there(arrays, tmp_path):
    arrays.save({"a": np.arange(3), "b": np.arange(4)})
    arrays.save({"b": np.arange(5)})
    assert files(tmp_path) == ["b.npy"]
    assert arrays.load()["b"].tolist() == [0, 1, 2, 3, 4]


def test_saving_what_was_loaded_writes_nothing(arrays, tmp_path):
    arrays.save({"a": np.arange(3)})
    path = tmp_path / "deep" / "arrays" / "a.npy"
    before = path.stat()
    arrays.save(arrays.load())
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    "change", [lambda a: a[:2], lambda a: a[::-1], lambda a: a.reshape(2, 2), lambda a: a + 1]
)
def test_saving_a_part_of_what_was_loaded_writes_the_part(arrays, change):
    arrays.save({"a": np.arange(4)})
    wanted = np.array(change(np.arange(4)))
    arrays.save({"a": change(arrays.load()["a"])})
    np.testing.assert_array_equal(arrays.load()["a"], wanted)


def test_a_map_stays_valid_while_its_file_is_replaced(arrays):
    arrays.save({"a": np.arange(1000)})
    mapped = arrays.load()["a"]
    arrays.save({"a": np.zeros(1000, int)})
    assert mapped[999] == 999
    assert arrays.load()["a"][999] == 0


def test_a_kill_while_writing_arrays_leaves_the_old_ones(arrays, monkeypatch):
    arrays.save({"a": np.arange(3)})

    def killed(file, array, **options):
        file.write(b"\x93NUMPY half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            arrays.save({"a": np.zeros(3)})
    assert arrays.load()["a"].tolist() == [0, 1, 2]
    arrays.save({"a": np.ones(1)})
    assert arrays.load()["a"].tolist() == [1]


@pytest.mark.parametrize("damage", [b"", b"no array at all"])
def test_a_damaged_array_is_an_error_that_names_it(arrays, tmp_path, damage):
    arrays.save({"a": np.arange(3)})
    (tmp_path / "deep" / "arrays" / "a.npy").write_bytes(damage)
    with pytest.raises(DatasetError, match=r"deep/arrays"):
        arrays.load()


def test_arrays_are_never_pickled(arrays):
    with pytest.raises(DatasetError):
        arrays.save({"a": np.array([{}, "text"], dtype=object)})
    assert arrays.load() == {}


def test_a_folder_loads_as_its_absolute_path_and_need_not_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = FolderDataset(filepath="data/work")
    assert folder.load() == tmp_path.resolve() / "data" / "work"
    assert not folder.load().exists()
    assert folder.exists()


def test_nothing_is_saved_to_a_folder(tmp_path):
    with pytest.raises(DatasetError, match="nodes write into it themselves"):
        FolderDataset(filepath=str(tmp_path)).save("text")


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r")))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_page_comes_back_as_it_was(tmp_path, text):
    page = PageDataset(filepath=str(tmp_path / "deep" / "report.html"))
    page.save(text)
    assert page.exists()
    assert page.load() == text
    assert files(tmp_path) == ["report.html"]


def test_a_page_that_is_missing_or_no_text_is_an_error_that_names_it(tmp_path):
    page = PageDataset(filepath=str(tmp_path / "report.html"))
    assert not page.exists()
    with pytest.raises(DatasetError, match=r"report\.html"):
        page.load()
    (tmp_path / "report.html").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DatasetError, match=r"report\.html"):
        page.load()


def test_a_kill_while_writing_a_page_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_text(path, "old")

    def killed(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "new")
    assert path.read_text() == "old"


@pytest.mark.parametrize("kind", [ArraysDataset, FolderDataset, PageDataset])
def test_a_dataset_says_where_it_lies_and_keeps_its_metadata(kind):
    dataset = kind(filepath="data/x", metadata={"kedro-viz": {"layer": "models"}})
    assert "data/x" in str(dataset)
    assert dataset.metadata == {"kedro-viz": {"layer": "models"}}
