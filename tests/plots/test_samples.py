"""Samples as a person sees them: masks of objects, and which samples are shown."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.schema import Categories, annotations_table, categories_of, samples_table
from cv_pipelines.plots.samples import object_colors, object_mask_of, sample_gallery

SQUARE = np.zeros((30, 40), np.uint8)
SQUARE[5:15, 10:20] = 1


def run_lengths(mask):
    flat = mask.flatten(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    return np.diff([0, *edges, len(flat)]).tolist()


def packed(mask):
    return coco_mask.encode(np.asfortranarray(mask))["counts"].decode()


FORMS = {
    "polygon": [[10, 5, 20, 5, 20, 15, 10, 15]],
    "runs": {"size": [30, 40], "counts": run_lengths(SQUARE)},
    "packed": {"size": [30, 40], "counts": packed(SQUARE)},
}


def source(tmp_path, segmentations, split="train"):
    Image.new("RGB", (40, 30), (90, 40, 10)).save(tmp_path / "a.jpg")
    row = {"sample_id": "a", "media": "a.jpg", "split": split, "group": "a", "width": 40, "height": 30}
    samples = samples_table([row | {"labels": [0], "content_hash": "x"}])
    objects = [
        {"sample_id": "a", "category": k, "x": 0, "y": 0, "w": 9, "h": 9, "area": area, "segmentation": text}
        for k, (area, text) in enumerate(segmentations)
    ]
    lists = Categories(labels=categories_of(["cat"]), objects=categories_of(["cat", "dog"]))
    return SourceData(samples, annotations_table(objects), lists, root=tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_object_mask_is_painted(tmp_path, form):
    found = object_mask_of(source(tmp_path, [(100.0, json.dumps(FORMS[form]))]), 0)
    assert found.dtype == np.uint8
    assert found.tolist() == SQUARE.tolist()


def test_small_objects_lie_on_large_ones(tmp_path):
    whole = json.dumps({"size": [30, 40], "counts": packed(np.ones((30, 40), np.uint8))})
    data = source(tmp_path, [(100.0, json.dumps(FORMS["packed"])), (1200.0, whole)])
    found = object_mask_of(data, 0)
    assert found.tolist() == np.where(SQUARE == 1, 1, 2).tolist()
    assert list(object_colors(data)) == ["no object", "cat", "dog"]


def test_objects_without_masks_have_none(tmp_path):
    assert object_mask_of(source(tmp_path, [(9.0, None)]), 0) is None


def test_the_gallery_shows_object_masks_and_any_split_that_is_there(tmp_path):
    figure = sample_gallery(source(tmp_path, [(100.0, json.dumps(FORMS["runs"]))], split="test"))
    assert figure.layout.title.subtitle.text == "image · truth"
    assert {trace.name for trace in figure.data if trace.name} == {"truth", "no object", "cat"}
