"""Detectors that find keypoints: what they are given to learn, and what their predictions hold."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from cv_pipelines.config import Evaluate, Named
from cv_pipelines.data.augment import Chain
from cv_pipelines.data.datasets import SampleDataset
from cv_pipelines.data.preprocessing import Preprocessing
from cv_pipelines.errors import ConfigError
from cv_pipelines.inference.rows import prediction_schema
from cv_pipelines.models import builder
from cv_pipelines.tasks.base import Context
from cv_pipelines.tasks.detection import COLUMNS, Detection

PLAIN = Preprocessing(size=None, mean=[0.0] * 3, std=[1.0] * 3)


class Posed(nn.Module):
    """Finds what is bright: its box, and the points that `point_source` has."""

    def __init__(self, points=3):
        super().__init__()
        self.keypoints = points

    def forward(self, images, targets=None):
        if targets is not None:
            return {"known": torch.stack([(t["keypoints"][..., 2] > 0).sum() for t in targets]).float().sum()}
        found = []
        for image in images:
            rows, columns = (image.amax(dim=0) > 100).nonzero(as_tuple=True)
            x, y = float(columns.min()), float(rows.min())
            right, foot = float(columns.max()), float(rows.max())
            points = [[right, y, 1], [x, y, 1], [x + (right + 1 - x) // 2, foot, 1]]
            found.append(
                {
                    "boxes": torch.tensor([[x, y, right + 1, foot + 1]]),
                    "labels": torch.tensor([int(image[1].max() > 100)]),
                    "scores": torch.tensor([0.5]),
                    "keypoints": torch.tensor([points]),
                }
            )
        return found


def task_of(experiment, data, model=None, **sections):
    return Detection(model or Posed(), Context(experiment("detection", **sections), data, PLAIN)).eval()


def test_points_reach_the_model_in_training(experiment, point_source):
    task = task_of(experiment, point_source)
    assert task.target == "points"
    dataset = SampleDataset(point_source, task.target)
    batch = Detection.collate([dataset[0], dataset[2], dataset[9]])
    assert [len(t["keypoints"]) for t in batch["targets"]] == [1, 0, 1]
    assert batch["targets"][1]["keypoints"].shape == (0, 3, 3)
    assert batch["targets"][0]["keypoints"].dtype == torch.float32
    truth = point_source.annotations["keypoints"].iloc[0]
    assert batch["targets"][0]["keypoints"].flatten().tolist() == truth
    task.samples = 3
    assert float(task.training_step(batch, 0)) == 3 + 0 + 2


def test_poses_that_are_found_score_as_what_they_are(experiment, point_source):
    task, part = task_of(experiment, point_source), point_source.only("train")
    task.evaluate_on(part)
    dataset = SampleDataset(part, "none")
    rows = task.predict_rows(Detection.collate_inputs([dataset[i] for i in range(6)]))
    assert list(rows[0]) == [*COLUMNS, "keypoints"]
    assert set(rows[0]) <= set(prediction_schema("detection", part.categories, task.target).names)
    told = pd.DataFrame([row for row in rows if row["sample_id"] != "s02"])  # where nothing is to be found
    values = Detection.score(told, part, Evaluate()).values
    assert [values["map"], values["keypoint_map"], values["keypoint_ar"]] == pytest.approx([1, 1, 1])
    moved = told.assign(keypoints=[[v + 3.0 for v in pose] for pose in told["keypoints"]])
    assert Detection.score(moved, part, Evaluate()).values["keypoint_map"] < 0.6


def test_an_epoch_in_which_nothing_is_found_has_the_figure_that_chooses(experiment, point_source):
    task = task_of(experiment, point_source)
    assert task.monitor == "val_keypoint_map"
    values = Detection.validation_figures(pd.DataFrame([]), point_source.only("val"), Evaluate())
    assert values["keypoint_map"] == 0


@pytest.mark.parametrize("name", ["boxes", "mosaic"])
def test_points_move_with_their_objects(point_source, name):
    """Of these images the points of an object are corners of its box, whatever is done to both."""
    options = {"boxes": {"crop": False, "color": 0.0}, "mosaic": {"size": [64, 64], "p": 1.0}}[name]
    chain = Chain([Named.model_validate({"name": name, **options})])
    dataset = SampleDataset(point_source, "points", augment=chain)
    for epoch in range(6):
        target = Detection.collate([dataset[epoch, 0]])["targets"][0]
        for box, points in zip(target["boxes"], target["keypoints"], strict=True):
            left_ear, right_ear = points[0], points[1]
            if left_ear[2] and right_ear[2]:
                assert left_ear[0] > right_ear[0]  # mirrored ones have changed names
                assert torch.allclose(right_ear[:2], box[:2], atol=1.5)


def test_another_number_of_points_is_refused(experiment, point_source, box_source):
    with pytest.raises(ConfigError, match=r"model\.points: 17; objects of source toy have 3"):
        task_of(experiment, point_source, Posed(17))
    with pytest.raises(ConfigError, match="no class has keypoints"):
        task_of(experiment, box_source)


def test_averaging_with_the_mirror_image_is_refused(experiment, point_source):
    with pytest.raises(ConfigError, match=r"evaluate\.flip: .* finds keypoints, which are not fused"):
        task_of(experiment, point_source, evaluate={"flip": True})


def test_keypoint_rcnn_is_such_a_detector(experiment, point_source):
    torch.manual_seed(0)
    small = {
        "weights": "none",
        "min_size": 64,
        "max_size": 64,
        "first_stride": 8,
        "width": 16,
        "head_width": 16,
    }
    options = {**small, "keypoint_width": 8, "keypoint_convs": 1, "proposals": 20, "score_threshold": 0.0}
    model = builder("keypoint_rcnn")(3, 2, points=3, **options)
    task, part = task_of(experiment, point_source, model), point_source.only("test")
    task.evaluate_on(part)
    dataset = SampleDataset(part, "none")
    with torch.no_grad():
        rows = task.predict_rows(Detection.collate_inputs([dataset[0], dataset[1]]))
    assert rows
    assert all(len(row["keypoints"]) == 9 for row in rows)
    assert np.isfinite([row["keypoints"] for row in rows]).all()
