"""YOLO v1: its code, its loss by hand, the sizes that the paper states."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cv_pipelines.models import builder
from cv_pipelines.models.yolo.detector import Truths
from cv_pipelines.models.yolo.selection import Selection
from cv_pipelines.models.yolo.v1 import Balance, CellCode, YoloV1

SIZE = 64
ALL = Selection(0.0, 1.0, 1000, 1000)


@pytest.fixture(scope="module")
def yolo():
    """2 × 2 cells of 32 pixels, two boxes a cell, two classes; no network."""
    return YoloV1(nn.Identity(), nn.Identity(), CellCode(2, SIZE), 2, 2, Balance(5.0, 0.5), "stretch", ALL)


def truths(*boxes, labels=None, images=None):
    n = len(boxes)
    return Truths(
        torch.tensor(images or [0] * n),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels or [0] * n),
    )


def image_with(*cells):
    """Predictions of one image: 0 but for some cells, given as (row, column, numbers)."""
    numbers = torch.zeros(1, 2, 2, 12)
    for row, column, values in cells:
        numbers[0, row, column] = torch.tensor(values)
    return numbers


def test_the_loss_is_equation_3(yolo):
    # The centre (16, 16) is the middle of the first cell, its sides a quarter of the image's: √ = 0.5.
    # The first box is 16 × 4 pixels (IoU 64 / 256), the second 16 × 10.24 (IoU 0.64): it is responsible.
    here = [0.5, 0.5, 0.5, 0.25, 0.3, 0.5, 0.5, 0.5, 0.4, 0.6, 0.7, 0.1]
    there = [0.9, 0.9, 0.9, 0.9, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.8, 0.8]
    losses = yolo.losses(image_with((0, 0, here), (1, 1, there)), truths([8, 8, 24, 24]))
    assert losses["coordinates"] == pytest.approx(5 * (0.5 - 0.4) ** 2)
    assert losses["confidence"] == pytest.approx((0.6 - 0.64) ** 2, abs=1e-6)
    assert losses["background"] == pytest.approx(0.5 * (0.3**2 + 0.2**2))
    assert losses["classes"] == pytest.approx((1 - 0.7) ** 2 + 0.1**2)  # of the cell with the object alone


def test_the_loss_is_a_mean_over_images(yolo):
    one = image_with((0, 0, [0.5, 0.5, 0.5, 0.25, 0.3, 0.5, 0.5, 0.5, 0.4, 0.6, 0.7, 0.1]))
    single = yolo.losses(one, truths([8, 8, 24, 24]))
    both = yolo.losses(torch.cat([one, one]), truths([8, 8, 24, 24], [8, 8, 24, 24], images=[0, 1]))
    assert {k: v.item() for k, v in both.items()} == {k: pytest.approx(v.item()) for k, v in single.items()}


def test_where_no_box_overlaps_the_nearest_is_responsible(yolo):
    # Both boxes have no area; the second has the roots nearer to 0.5.
    here = [0.5, 0.5, 0.0, 0.0, 0.0, 0.5, 0.5, 0.3, 0.0, 0.0, 1.0, 0.0]
    losses = yolo.losses(image_with((0, 0, here)), truths([8, 8, 24, 24]))
    assert losses["coordinates"] == pytest.approx(5 * (0.2**2 + 0.5**2))


def test_a_cell_has_the_larger_of_two_objects(yolo):
    large, small = [4.0, 4, 28, 28], [14.0, 14, 18, 18]
    prediction = image_with((0, 0, [0.4] * 12))
    both = yolo.losses(prediction, truths(small, large, labels=[1, 0]))
    alone = yolo.losses(prediction, truths(large, labels=[0]))
    assert both == alone


def test_perfect_numbers_have_no_loss_and_give_the_box_back(yolo):
    # The centre (44, 20) lies in cell (1, 0) at (12 / 32, 20 / 32); the other box says nothing.
    code = [12 / 32, 20 / 32, (24 / 64) ** 0.5, (8 / 64) ** 0.5, 1.0]
    prediction = image_with((0, 1, [*code, 0, 0, 0, 0, 0, 0, 1]))
    object_ = [32.0, 16, 56, 24]
    for name, value in yolo.losses(prediction, truths(object_, labels=[1])).items():
        assert value == pytest.approx(0, abs=1e-10), name
    boxes, scores = yolo.decode(prediction)
    best = yolo.selection(boxes[0], scores[0])
    assert best["boxes"][0].tolist() == pytest.approx(object_)
    assert best["labels"][0] == 1
    assert best["scores"][0] == 1.0


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=2),
    st.lists(st.floats(1e-4, 1), min_size=2, max_size=2),
    st.integers(1, 13),
)
def test_decoding_undoes_encoding(centre, sides, grid):
    code = CellCode(grid, 448)
    centres, sizes = (torch.tensor([pair], dtype=torch.float64) * 448 for pair in (centre, sides))
    cell, numbers = code.encode(centres, sizes)
    assert ((cell >= 0) & (cell < grid)).all()
    assert ((numbers >= 0) & (numbers <= 1)).all()
    expected = torch.cat([centres - sizes / 2, centres + sizes / 2], dim=1)
    assert torch.allclose(code.decode(cell, numbers), expected, atol=1e-9)


def test_the_default_is_the_paper_s_size():
    """24 convolutions, two linear layers, 7 × 7 × 30 numbers, 98 boxes (Redmon et al. 2016, §2)."""
    with torch.device("meta"):
        model = builder("yolo_v1")(3, 20, backbone="paper")
        prediction = model.predictions(torch.zeros(1, 3, 448, 448))
        boxes, scores = model.decode(prediction)
    assert prediction.shape == (1, 7, 7, 30)
    assert boxes.shape == (1, 98, 4)
    assert scores.shape == (1, 98, 20)
    layers = [type(layer) for layer in model.modules()]
    assert (layers.count(nn.Conv2d), layers.count(nn.Linear)) == (24, 2)
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(50176, 4096), (4096, 1470)]
