"""The sliding window: crops and convolution say the same, every place is seen, squares are found."""

import pytest
import torch
from torchvision.ops import box_iou

from cv_pipelines.models import builder
from cv_pipelines.models.sliding.network import STRIDE, WINDOW, WindowClassifier

SIZES = [(64, 64), (40, 90), (300, 1), (5, 5), (200, 150)]
OPTIONS = {"sides": [20.0, 31.0], "width": 4, "hidden": 8}


def images(*sizes):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(3, *size, generator=generator) for size in sizes]


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    net = WindowClassifier(4, 4, 8)
    with torch.no_grad():  # batch norms that do something
        net.train()(torch.randn(64, 3, WINDOW, WINDOW) * 3 + 1)
    return net.eval()


def test_a_window_of_the_convolution_has_the_scores_of_the_crop(classifier):
    (image,) = images((WINDOW + 7 * STRIDE, WINDOW + 11 * STRIDE))
    with torch.no_grad():
        found = classifier.convolved(image[None])
        assert found.shape == (1, 8, 12, 4)
        for row, column in [(0, 0), (7, 11), (3, 5)]:
            top, left = STRIDE * row, STRIDE * column
            alone = classifier(image[None, :, top : top + WINDOW, left : left + WINDOW])
            assert torch.allclose(found[0, row, column], alone[0], atol=1e-5)
            others = classifier(image[None, :, :WINDOW, 2 : 2 + WINDOW])
            assert not torch.allclose(found[0, row, column], others[0], atol=1e-3)


def test_crops_and_convolution_give_the_same_scores_of_all_images():
    torch.manual_seed(0)
    one = builder("sliding_window")(3, 3, **OPTIONS, sliding="convolution").eval()
    other = builder("sliding_window")(3, 3, **OPTIONS, sliding="crops").eval()
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        pairs = zip(one.windows(images(*SIZES)), other.windows(images(*SIZES)), strict=True)
        for (logits, boxes), (same_logits, same_boxes) in pairs:
            assert torch.allclose(logits, same_logits, atol=1e-5)
            assert torch.equal(boxes, same_boxes)


def test_an_image_has_the_same_scores_alone_and_in_a_batch():
    model = builder("sliding_window")(3, 3, **OPTIONS).eval()
    with torch.no_grad():
        together = model.windows(images(*SIZES))
        for k, image in enumerate(images(*SIZES)):
            assert torch.allclose(model.windows([image])[0][0], together[k][0], atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_an_object_of_a_side_that_is_looked_for_is_met_wherever_it_lies(size):
    """Half a stride off in both directions, in a window of 28 object pixels, is an IoU of 0.75."""
    model = builder("sliding_window")(3, 3, **OPTIONS | {"sides": [30.0]}).eval()
    (_, boxes) = model.windows(images(size))[0]
    if min(size) < 30:
        assert len(boxes) > 0
        return
    corners = torch.rand(200, 2) * (torch.tensor(size[::-1]) - 30)
    assert box_iou(torch.cat([corners, corners + 30], dim=1), boxes).amax(dim=1).min() > 0.7


def test_bright_squares_are_learned():
    torch.manual_seed(0)
    model = builder("sliding_window")(3, 2, sides=[24.0], width=8, hidden=16)
    pictures, targets = [], []
    for k in range(8):
        image = torch.zeros(3, 64, 64)
        x, y = 4 * k + 2, 30 - 3 * k
        image[k % 2, y : y + 24, x : x + 24] = 1.0
        pictures.append(image)
        targets.append({"boxes": torch.tensor([[x, y, x + 24.0, y + 24.0]]), "labels": torch.tensor([k % 2])})
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(25):
        loss = model(pictures, targets)["loss_classifier"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = model.eval()(pictures)
    for one, target in zip(found, targets, strict=True):
        assert one["labels"][0] == target["labels"][0]
        assert box_iou(one["boxes"][:1], target["boxes"]) > 0.6


def test_the_best_window_learns_an_object_that_none_fits():
    """A narrow object overlaps no window by half; it must not become background."""
    model = builder("sliding_window")(3, 2, **OPTIONS)
    target = {"boxes": torch.tensor([[10.0, 10, 12, 60]]), "labels": torch.tensor([1])}
    (logits, boxes) = model.windows(images((64, 64)))[0]
    _, count = model._loss(logits, boxes, target)
    assert count == 4  # itself and three of the ground
