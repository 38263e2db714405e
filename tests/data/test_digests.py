"""Digests of a source: each part changes with its content, and with nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cv_pipelines.data.digests import digests_of
from cv_pipelines.data.schema import categories_of


def parts_that_change(one, other, masks=False):
    a, b = digests_of(one, masks), digests_of(other, masks)
    return {key for key in a | b if a.get(key) != b.get(key)}


def with_cell(data, row, column, value):
    samples = data.samples.copy()
    samples.at[row, column] = value
    return replace(data, samples=samples)


@pytest.mark.parametrize(("row", "part"), [(0, "data.train"), (7, "data.val"), (9, "data.test")])
@pytest.mark.parametrize(("column", "value"), [("content_hash", "00"), ("labels", [1]), ("sample_id", "new")])
def test_a_changed_sample_changes_its_split_alone(box_source, row, part, column, value):
    changed = with_cell(box_source, row, column, value)
    assert parts_that_change(box_source, changed) == {part}


def test_a_moved_object_changes_the_split_of_its_sample(box_source):
    objects = box_source.annotations.copy()
    objects.loc[objects["sample_id"] == "s09", "x"] += 1
    assert parts_that_change(box_source, replace(box_source, annotations=objects)) == {"data.test"}


def test_a_redrawn_mask_changes_the_split_of_its_sample(box_source):
    drawn = box_source.annotations.assign(segmentation="[[0, 0, 4, 0, 4, 4]]")
    redrawn = drawn.copy()
    redrawn.loc[redrawn["sample_id"] == "s09", "segmentation"] = "[[0, 0, 4, 0, 4, 5]]"
    given, changed = (replace(box_source, annotations=objects) for objects in (drawn, redrawn))
    assert parts_that_change(given, changed) == {"data.test"}


def test_a_moved_point_changes_the_split_of_its_sample(point_source):
    objects = point_source.annotations.copy()
    place = objects.index[objects["sample_id"] == "s09"][0]
    objects.at[place, "keypoints"] = [v + 1 for v in objects.at[place, "keypoints"]]
    assert parts_that_change(point_source, replace(point_source, annotations=objects)) == {"data.test"}
    as_read_back = objects["keypoints"].map(np.array)
    again = replace(point_source, annotations=objects.assign(keypoints=as_read_back))
    assert parts_that_change(replace(point_source, annotations=objects), again) == set()


def test_a_sample_that_moves_changes_both_splits(box_source):
    moved = with_cell(box_source, 0, "split", "test")
    assert parts_that_change(box_source, moved) == {"data.train", "data.test"}


def test_class_names_and_statistics_count(box_source):
    named = box_source.categories.model_copy(update={"objects": categories_of(["a", "b"])})
    assert parts_that_change(box_source, replace(box_source, categories=named)) == {"classes"}
    assert parts_that_change(box_source, replace(box_source, statistics={"mean": [1]})) == {"statistics"}


def test_the_folder_does_not_count(box_source, tmp_path):
    assert parts_that_change(box_source, replace(box_source, root=tmp_path)) == set()


def test_a_mask_that_is_drawn_anew_counts_where_masks_do(mask_source, tmp_path):
    for path in mask_source.root.glob("*.png"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    moved = replace(mask_source, root=tmp_path)
    assert parts_that_change(mask_source, moved, masks=True) == set()
    Image.fromarray(np.ones((16, 16), np.uint8)).save(tmp_path / "19.png")
    assert parts_that_change(mask_source, moved, masks=True) == {"data.test"}
    assert parts_that_change(mask_source, moved, masks=False) == set()
