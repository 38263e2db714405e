"""Localisation: its loss by hand, what does not matter where there is nothing, at most one box."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cv_pipelines.models import builder
from cv_pipelines.models.localizer import Localizer

CLASSES = 3


class Numbers(nn.Module):
    """A head that says the same of every image."""

    def __init__(self, rows):
        super().__init__()
        self.rows = nn.Parameter(torch.tensor(rows))

    def forward(self, maps):
        return self.rows[: len(maps)]


class Last(nn.Module):
    def forward(self, x):
        return [x]


def fixed(rows, alpha=0.5, threshold=0.05):
    return Localizer(Last(), Numbers(rows), 64, alpha, threshold)


def target(boxes, labels):
    return {"boxes": torch.tensor(boxes).float().reshape(-1, 4), "labels": torch.tensor(labels).long()}


ROWS = [[0.7, 0.5, 0.4, 0.3, 0.2, 1.0, -1.0, 0.5], [-0.2, 0.1, 0.9, 0.8, 0.7, 0.0, 2.0, 1.0]]
IMAGES = (torch.randn(3, 100, 50), torch.randn(3, 64, 64))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_loss_is_the_share_of_entropy_and_of_squares(alpha):
    model = fixed(ROWS, alpha)
    losses = model(list(IMAGES), [target([[10, 20, 30, 60]], [2]), target([], [])])
    there = -F.logsigmoid(torch.tensor(0.7)) - torch.log_softmax(torch.tensor([1.0, -1.0, 0.5]), 0)[2]
    nothing = -F.logsigmoid(torch.tensor(0.2))
    # centre (20 / 50, 40 / 100), sides (20 / 50, 40 / 100)
    squares = (0.5 - 0.4) ** 2 + (0.4 - 0.4) ** 2 + (0.3 - 0.4) ** 2 + (0.2 - 0.4) ** 2
    assert losses["classes"].item() == pytest.approx(alpha * (there + nothing).item() / 2, abs=1e-6)
    assert losses["box"].item() == pytest.approx((1 - alpha) * squares / 2, abs=1e-6)


def test_box_and_class_do_not_matter_where_there_is_no_object():
    model = fixed(ROWS)
    sum(model(list(IMAGES), [target([[10, 20, 30, 60]], [2]), target([], [])]).values()).backward()
    gradient = model.head.rows.grad
    assert gradient[0].abs().min(dim=0).values >= 0
    assert gradient[0, 5:].abs().sum() > 0
    assert gradient[1, 0] != 0
    assert not gradient[1, 1:].any()


def test_of_several_objects_the_largest_is_learned():
    one = fixed(ROWS)(list(IMAGES), [target([[0, 0, 5, 5], [10, 20, 30, 60]], [0, 2])] * 2)
    other = fixed(ROWS)(list(IMAGES), [target([[10, 20, 30, 60]], [2])] * 2)
    assert one == other


def test_at_most_one_box_in_the_images_own_pixels():
    found = fixed(ROWS, threshold=0.3).eval()(list(IMAGES))
    assert [len(one["boxes"]) for one in found] == [1, 0]
    (box,) = found[0]["boxes"].tolist()
    assert box == pytest.approx([50 * 0.35, 100 * 0.3, 50 * 0.65, 100 * 0.5], abs=1e-4)
    score = torch.sigmoid(torch.tensor(0.7)) * torch.softmax(torch.tensor([1.0, -1.0, 0.5]), 0)[0]
    assert found[0]["scores"].item() == pytest.approx(score.item())
    assert found[0]["labels"].tolist() == [0]


def test_a_box_without_area_is_none():
    rows = [[3.0, 0.5, 0.5, -0.1, 0.2, 5.0, 0.0, 0.0]]
    assert len(fixed(rows).eval()([IMAGES[0]])[0]["boxes"]) == 0


def test_bright_squares_are_learned():
    torch.manual_seed(0)
    model = builder("localizer")(3, 2, weights="none", size=64, width=16, hidden=32, dropout=0.0)
    pictures, targets = [], []
    for k in range(6):
        image = torch.zeros(3, 64, 64)
        x, y = 4 * k + 2, 34 - 5 * k
        image[k % 2, y : y + 28, x : x + 28] = 1.0
        pictures.append(image if k else torch.zeros(3, 64, 64))
        targets.append(target([[x, y, x + 28, y + 28]], [k % 2]) if k else target([], []))
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    losses = []
    for _ in range(30):
        loss = sum(model(pictures, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]
