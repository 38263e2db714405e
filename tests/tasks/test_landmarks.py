"""Landmarks: whose points count, what does not care, scores by hand."""

import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision import tv_tensors

from cv_pipelines.config import Evaluate, Named
from cv_pipelines.data.augment import Chain
from cv_pipelines.data.datasets import SampleDataset, SourceData
from cv_pipelines.data.landmarks import landmarks_of, main_object
from cv_pipelines.data.preprocessing import Preprocessing
from cv_pipelines.errors import ConfigError
from cv_pipelines.metrics.landmarks import landmark_scores, point_distances
from cv_pipelines.sources import coco
from cv_pipelines.tasks.base import Context
from cv_pipelines.tasks.landmarks import Landmarks

PLAIN = Preprocessing(size=None, mean=[0.0] * 3, std=[1.0] * 3)


class Told(nn.Module):
    """Says the same of every image."""

    def __init__(self, output):
        super().__init__()
        self.output = nn.Parameter(torch.tensor(output))

    def forward(self, x):
        return self.output.expand(len(x), -1)


def task_of(output, experiment, data, **options):
    return Landmarks(Told(output), Context(experiment("landmarks"), data, PLAIN), **options).eval()


def item_of(boxes, poses, size=(40, 80)):
    """An item as the dataset reads it; poses are (K, P, 3)."""
    points = torch.tensor(np.array(poses), dtype=torch.float32)
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {
        "image": tv_tensors.Image(torch.zeros(3, *size, dtype=torch.uint8)),
        "index": 0,
        "boxes": tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=size),
        "labels": torch.zeros(len(boxes), dtype=torch.int64),
        "keypoints": tv_tensors.KeyPoints(points[..., :2], canvas_size=size),
        "visibility": points[..., 2].long(),
    }


def test_outputs_are_one_of_presence_and_two_a_point(point_source, box_source):
    assert Landmarks.n_outputs(point_source) == 7
    with pytest.raises(ConfigError, match="no class has keypoints"):
        Landmarks.n_outputs(box_source)


def test_a_point_is_the_middle_of_its_pixel_as_a_share_of_width_and_height():
    batch = Landmarks.collate([item_of([[0, 0, 9, 9]], [[[0, 0, 2], [79, 39, 1]]])])
    expected = torch.tensor([[0.5 / 80, 0.5 / 40], [79.5 / 80, 39.5 / 40]])
    assert torch.allclose(batch["points"][0], expected)
    assert batch["known"].tolist() == [[1, 1]]
    assert batch["present"].tolist() == [1]


def test_the_largest_object_with_a_known_point_counts():
    boxes = np.array([[0, 0, 5, 5], [0, 0, 9, 9], [0, 0, 20, 20]], float)
    assert main_object(boxes, np.array([[True], [True], [False]])) == 1
    assert main_object(boxes, np.array([[False], [False], [False]])) == 2


class TestDontCare:
    """No object, or a point that nobody has marked: neither loss nor gradient of the points."""

    output = (0.0, 0.1, 0.2, 0.3, 0.4)

    def loss(self, experiment, data, items):
        task = task_of(self.output, experiment, data, points_weight=1.0, beta=1.0).train()
        task.samples = len(items)
        loss = task.training_step(Landmarks.collate(items), 0)
        loss.backward()
        return loss.item(), task.model.output.grad.tolist()

    def test_without_an_object_the_points_do_not_matter(self, experiment, point_source):
        loss, gradient = self.loss(experiment, point_source, [item_of([], np.zeros((0, 2, 3)))])
        assert loss == pytest.approx(math.log(2))
        assert gradient[0] == pytest.approx(0.5)
        assert gradient[1:] == [0, 0, 0, 0]

    def test_unknown_points_do_not_matter(self, experiment, point_source):
        item = item_of([[0, 0, 9, 9]], [[[39.5, 19.5, 2], [0, 0, 0]]])
        loss, gradient = self.loss(experiment, point_source, [item])
        # half the squared distances of the one known point, shared by both points
        assert loss == pytest.approx(math.log(2) + 0.5 * (0.4**2 + 0.3**2) / 2)
        assert gradient[0] == pytest.approx(-0.5)
        assert gradient[1:] == pytest.approx([-0.2, -0.15, 0, 0])

    def test_a_batch_is_the_mean_of_its_samples(self, experiment, point_source):
        items = [item_of([], np.zeros((0, 2, 3))), item_of([[0, 0, 9, 9]], [[[3, 4, 2], [5, 6, 0]]])]
        whole, _ = self.loss(experiment, point_source, items)
        assert whole == pytest.approx(np.mean([self.loss(experiment, point_source, [i])[0] for i in items]))


def test_rows_are_in_the_pixels_of_the_image_whatever_the_model_saw(experiment, point_source):
    task, part = (
        task_of([2.0, 0.5, 0.25, 0.0, 0.0, 1.0, 1.0], experiment, point_source),
        point_source.only("test"),
    )
    task.evaluate_on(part)
    dataset = SampleDataset(part, "none", size=[16, 32])
    with torch.no_grad():
        (row, _) = task.predict_rows(Landmarks.collate_inputs([dataset[1], dataset[0]]))
    assert row["sample_id"] == part.samples["sample_id"].iat[1]
    assert row["score"] == pytest.approx(1 / (1 + math.exp(-2)))
    assert row["keypoints"] == pytest.approx([31.5, 15.5, 1, -0.5, -0.5, 1, 63.5, 63.5, 1])


def test_what_collate_makes_of_the_truth_scores_as_perfect(experiment, point_source):
    """Through the resize: the shares of a training target are those that a prediction is read from."""
    dataset = SampleDataset(point_source, "points", size=[32, 32])
    batch = Landmarks.collate([dataset[i] for i in range(10)])
    assert batch["present"].tolist() == [float(i not in (2, 8)) for i in range(10)]
    places = batch["points"] * 64 - 0.5
    truth = landmarks_of(point_source)
    assert torch.tensor(truth.known).float().equal(batch["known"])
    # a resize halves the pixel's index, not its middle: half a small pixel off
    assert np.abs(places.numpy() - truth.points)[truth.known].max() <= 0.5


def predicted(truth, data, shift=0.0, chance=0.9):
    rows = [np.insert(pose + shift, 2, 1.0, axis=1).ravel().tolist() for pose in truth.points]
    return pd.DataFrame({"sample_id": data.samples["sample_id"], "score": chance, "keypoints": rows})


class TestScores:
    """From rows to figures."""

    def test_perfect_points(self, point_source):
        truth = landmarks_of(point_source)
        found = Landmarks.score(predicted(truth, point_source), point_source, Evaluate())
        assert found.values == pytest.approx(
            {"mean_error": 0.0, "pck_10": 1.0, "pck_20": 1.0, "presence_accuracy": 0.8}
        )
        assert found.contract["classes"] == ["left_ear", "right_ear", "foot"]
        assert [row["n"] for row in found.details["per_point"]] == [8, 8, 7]
        assert found.samples["score"].tolist() == [-100.0 if i in (2, 8) else 0.0 for i in range(10)]

    def test_a_shift_by_hand(self, point_source):
        truth = landmarks_of(point_source)
        found = Landmarks.score(predicted(truth, point_source, 3.2 / math.sqrt(2)), point_source, Evaluate())
        assert found.values["mean_error"] == pytest.approx(100 * 3.2 / 64)
        assert found.values["pck_20"] == 1.0  # boxes are 24 to 29 pixels long
        # a tenth is 2.4 to 2.9 pixels
        assert found.values["pck_10"] == 0.0

    def test_rows_may_come_in_any_order(self, point_source):
        rows = predicted(landmarks_of(point_source), point_source, 2.0)
        one = Landmarks.score(rows, point_source, Evaluate()).values
        assert Landmarks.score(rows[::-1], point_source, Evaluate()).values == one

    def test_nothing_known_is_no_number(self):
        empty = landmark_scores(
            np.full((2, 3), np.nan), np.ones(2), np.full(2, np.nan), np.zeros(2), np.zeros(2, bool)
        )
        assert np.isnan([empty["mean_error"], empty["pck_10"], empty["pck_20"]]).all()
        assert empty["presence_accuracy"] == 1.0

    def test_shapes_have_to_agree(self):
        with pytest.raises(ValueError, match="expected"):
            point_distances(np.zeros((2, 3, 2)), np.zeros((2, 4, 2)), np.ones((2, 4), bool))

    @settings(max_examples=30, deadline=None)
    @given(st.floats(0.1, 100), st.integers(1, 5))
    def test_scaling_picture_and_points_changes_nothing(self, factor, points):
        rng = np.random.default_rng(points)
        one, other = rng.uniform(0, 50, (2, 4, points, 2))
        known, sides, spans = np.ones((4, points), bool), np.full(4, 50.0), np.full(4, 20.0)
        chances, present = np.ones(4), np.ones(4, bool)
        plain = landmark_scores(point_distances(one, other, known), sides, spans, chances, present)
        distances = point_distances(one * factor, other * factor, known)
        scaled = landmark_scores(distances, sides * factor, spans * factor, chances, present)
        assert scaled == pytest.approx(plain)


def test_mirroring_swaps_left_and_right(point_source):
    dataset = SampleDataset(
        point_source, "points", augment=Chain([Named.model_validate({"name": "mirror", "p": 1.0})])
    )
    plain, mirrored = (Landmarks.collate([d[0]]) for d in (SampleDataset(point_source, "points"), dataset))
    across = plain["points"][0, [1, 0, 2]] * torch.tensor([-1, 1]) + torch.tensor([1, 0])
    assert torch.allclose(mirrored["points"][0], across)


@pytest.mark.real_data
def test_people_of_coco():
    root = Path(os.environ.get("CV_PIPELINES_RAW", "")) / "coco"
    if "CV_PIPELINES_RAW" not in os.environ or not root.is_dir():
        pytest.skip("CV_PIPELINES_RAW is unset or has no coco/")
    tables = coco.read(root, annotations="keypoints")
    data = SourceData(tables.samples, tables.annotations, tables.categories, root=root)
    truth = landmarks_of(data)
    assert truth.present.sum() == 75
    assert truth.known.any(axis=1).sum() == 60
    dataset = SampleDataset(data, "points", size=[64, 64])
    batch = Landmarks.collate([dataset[i] for i in range(8)])
    assert batch["present"].tolist() == truth.present[:8].astype(float).tolist()
    sizes = data.samples[["width", "height"]].to_numpy()[:8, None]
    places = batch["points"].numpy() * sizes - 0.5
    apart = np.abs(places - truth.points[:8])[truth.known[:8]]
    assert apart.max() < np.max(sizes) / 64 / 2 + 0.5  # half a pixel of the small image
