"""Detectors that find masks: what they are given to learn, and what their predictions hold."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from cv_pipelines.data.datasets import SampleDataset
from cv_pipelines.data.encoding import decode_segmentation, encode_segmentation
from cv_pipelines.data.preprocessing import Preprocessing
from cv_pipelines.errors import ConfigError
from cv_pipelines.models import builder
from cv_pipelines.tasks.base import Context
from cv_pipelines.tasks.detection import COLUMNS, Detection

PLAIN = Preprocessing(size=None, mean=[0.0] * 3, std=[1.0] * 3)


class Bright(nn.Module):
    """Finds what is bright: its box, and a mask that is sure of it."""

    masks = True

    def forward(self, images, targets=None):
        if targets is not None:
            return {"size": torch.stack([target["masks"].sum() for target in targets]).float().sum()}
        found = []
        for image in images:
            mask = (image.amax(dim=0) > 100).float()
            rows, columns = mask.nonzero(as_tuple=True)
            corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            boxes = torch.tensor([[float(corner) for corner in corners]])
            found.append(
                {
                    "boxes": boxes,
                    "labels": torch.tensor([1]),
                    "scores": torch.tensor([0.5]),
                    "masks": (0.9 * mask + 0.05)[None, None],
                }
            )
        return found


@pytest.fixture
def task(box_source, experiment):
    return Detection(Bright(), Context(experiment("detection"), box_source, PLAIN)).eval()


def test_the_model_says_what_its_target_is(task, box_source, experiment):
    assert task.target == "masks"
    boxes = builder("fcos")(3, 2, weights="none", width=32)
    assert Detection(boxes, Context(experiment("detection"), box_source, PLAIN)).target == "boxes"


def test_masks_reach_the_model_in_training(task, box_source):
    dataset = SampleDataset(box_source, task.target)
    batch = Detection.collate([dataset[0], dataset[1]])
    task.samples = 2
    areas = box_source.annotations["area"].iloc[:2].sum()  # without polygons a mask is its box
    assert float(task.training_step(batch, 0)) == areas


def test_rows_hold_masks_that_score_as_what_they_are(task, box_source):
    part = box_source.only("test")
    task.evaluate_on(part)
    dataset = SampleDataset(part, "none")
    rows = task.predict_rows(Detection.collate_inputs([dataset[0], dataset[1]]))
    assert [list(row) for row in rows] == [[*COLUMNS, "segmentation"]] * 2
    for row, (_, truth) in zip(rows, part.annotations.iterrows(), strict=True):
        mask = decode_segmentation(row["segmentation"], 64, 64)
        x, y, w, h = (int(truth[key]) for key in "xywh")
        assert mask[y : y + h, x : x + w].all()
        assert mask.sum() == w * h


def test_averaging_with_the_mirror_image_is_refused(box_source, experiment):
    config = experiment("detection", evaluate={"flip": True})
    with pytest.raises(ConfigError, match=r"evaluate\.flip: .* finds masks, which are not fused"):
        Detection(Bright(), Context(config, box_source, PLAIN))


@settings(max_examples=50, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1)))
def test_a_packed_mask_comes_back_as_it_was(mask):
    text = encode_segmentation(mask)
    assert np.array_equal(decode_segmentation(text, *mask.shape), mask)
    assert json.loads(text)["size"] == list(mask.shape)
