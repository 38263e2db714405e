"""What holds of every YOLO: gradients, awkward images and objects, half precision, boxes there and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from cv_pipelines.models import builder
from cv_pipelines.models.yolo.detector import paired_iou
from cv_pipelines.models.yolo.letterbox import frame_of, in_squares
from cv_pipelines.models.yolo.selection import Selection

OPTIONS = {
    "yolo_v1": {"backbone": "paper", "width": 0.05, "hidden": 32, "head_stride": 1, "dropout": 0.0},
    "yolo_v3_tiny": {"width": 0.1},
    "yolo_v5": {"width": 0.1, "box_weight": 1.0},
}
NONE = torch.zeros(0, 4)


@pytest.fixture(params=sorted(OPTIONS))
def model(request):
    torch.manual_seed(0)
    return builder(request.param)(3, 3, size=64, **OPTIONS[request.param])


def target(boxes):
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {"boxes": boxes, "labels": torch.arange(len(boxes)) % 3}


def crowded(n):
    corners = torch.rand(n, 2) * 56
    return torch.cat([corners, corners + 1 + torch.rand(n, 2) * 7], dim=1)


def test_every_parameter_learns(model):
    boxes = [[2.0, 2, 7, 8], [10, 12, 30, 34], [1, 3, 62, 60], [40, 5, 55, 60], [4, 50, 60, 60]]
    losses = model([torch.randn(3, 64, 64) for _ in range(4)], [target(boxes)] * 4)
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


AWKWARD = {
    "no objects": ([(64, 64), (64, 64)], [[], []]),
    "one image without objects": ([(64, 64), (64, 64)], [[], [[5, 5, 30, 30]]]),
    "one-pixel boxes": ([(64, 64), (64, 64)], [[[5, 5, 6, 6], [63, 63, 64, 64]], [[0, 0, 1, 1]]]),
    "boxes without area": ([(64, 64), (64, 64)], [[[5, 5, 5, 9]], [[7, 7, 7, 7]]]),
    "500 objects": ([(64, 64), (64, 64)], [crowded(500), crowded(500)]),
    "mixed sizes": (
        [(64, 64), (50, 90), (200, 30)],
        [[[5, 5, 30, 30]], [[50, 5, 89, 49]], [[2, 2, 28, 199]]],
    ),
    "one pixel wide": ([(300, 1), (1, 300)], [[[0, 10, 1, 200]], [[10, 0, 200, 1]]]),
    "panorama": ([(60, 3000), (64, 64)], [[[100, 5, 130, 50], [2000, 0, 2990, 60]], []]),
}


@pytest.mark.parametrize("case", sorted(AWKWARD))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bf16"])
def test_awkward_images_give_finite_losses_and_gradients(model, case, dtype):
    sizes, boxes = AWKWARD[case]
    images = [torch.randn(3, h, w) for h, w in sizes]
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        losses = model(images, [target(one) for one in boxes])
    for name, value in losses.items():
        assert value.dtype == torch.float32, name
        assert torch.isfinite(value), name
    torch.stack(list(losses.values())).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("case", ["mixed sizes", "one pixel wide", "panorama"])
def test_detections_lie_in_their_image(model, case):
    model.selection = Selection(0.0, 0.9, 500, 50)
    sizes, _ = AWKWARD[case]
    with torch.no_grad():
        found = model.eval()([torch.randn(3, h, w) for h, w in sizes])
    for (h, w), output in zip(sizes, found, strict=True):
        x1, y1, x2, y2 = output["boxes"].unbind(dim=1)
        assert ((x1 >= 0) & (x1 <= x2) & (x2 <= w)).all()
        assert ((y1 >= 0) & (y1 <= y2) & (y2 <= h)).all()
        assert (output["labels"] < 3).all()
        assert (output["scores"].diff() <= 0).all()


def test_huge_activations_of_half_precision_do_not_break_the_loss(model):
    count = model.predictions(torch.zeros(1, 3, 64, 64)).detach()
    model.predictions = lambda x: torch.full_like(count, 6e4, dtype=torch.bfloat16).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model([torch.randn(3, 64, 64)], [target([[5, 5, 30, 30]])])
    assert all(torch.isfinite(value) for value in losses.values())


def test_training_needs_targets(model):
    with pytest.raises(ValueError, match="needs targets"):
        model([torch.randn(3, 64, 64)])


@pytest.mark.slow  # trains for some seconds
@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_one_image_is_learnt_by_heart(name):
    torch.manual_seed(0)
    model = builder(name)(3, 3, size=128, **OPTIONS[name])
    image = torch.randn(3, 128, 128) * 0.1
    boxes = torch.tensor([[8.0, 12, 44, 52], [76, 68, 120, 116]])  # far apart: no place is asked for both
    for k, (x1, y1, x2, y2) in enumerate(boxes.int().tolist()):
        image[k, y1:y2, x1:x2] += 2
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    for _ in range(200):
        losses = model([image, image.clone()], [target(boxes)] * 2)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    with torch.no_grad():
        found = model.eval()([image])[0]
    for k in range(2):
        ours = found["boxes"][found["labels"] == k]
        assert len(ours), k
        assert box_iou(ours[:1], boxes[k : k + 1]) > 0.5


def test_paired_iou_is_the_diagonal_of_all_with_all():
    torch.manual_seed(0)
    a, b = crowded(40), crowded(40)
    b[::2] = a[::2] + 1.5
    assert torch.allclose(paired_iou(a, b), box_iou(a, b).diagonal())
    assert paired_iou(a, b).max() > 0.2


class TestLetterbox:
    """Images into squares, boxes there and back."""

    @given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from(["letterbox", "stretch"]))
    def test_boxes_come_back(self, width, height, resize):
        frame, (tall, wide) = frame_of(width, height, 416, resize)
        assert 1 <= tall <= 416
        assert 1 <= wide <= 416
        box = torch.tensor([[0.1 * width, 0.2 * height, 0.7 * width, 0.9 * height], [0, 0, width, height]])
        square = frame.to_square(box.double())
        assert ((square > -1e-6) & (square < 416 + 1e-6)).all()
        assert torch.allclose(frame.to_image(square), box.double(), atol=1e-3)

    def test_a_letterboxed_image_keeps_its_ratio_in_the_middle(self):
        batch, (frame,) = in_squares([torch.ones(1, 10, 40)], 20, "letterbox")
        assert batch.shape == (1, 1, 20, 20)
        assert torch.allclose(batch[0, 0, 7:12], torch.ones(5, 20))
        assert batch[0, 0, :7].abs().max() == batch[0, 0, 12:].abs().max() == 0
        assert frame.to_square(torch.tensor([[0.0, 0, 40, 10]])).tolist() == [[0, 7, 20, 12]]

    def test_a_stretched_image_fills_the_square(self):
        batch, (frame,) = in_squares([torch.ones(1, 10, 40)], 20, "stretch")
        assert torch.allclose(batch, torch.ones(1, 1, 20, 20))
        assert frame.to_square(torch.tensor([[0.0, 0, 40, 10]])).tolist() == [[0, 0, 20, 20]]

    def test_an_image_of_the_right_size_is_not_touched(self):
        image = torch.randn(3, 32, 32)
        assert torch.equal(in_squares([image], 32, "letterbox")[0][0], image)


class TestSelection:
    """Thresholds and class-wise suppression."""

    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]])

    def test_the_weaker_of_two_boxes_of_a_class_goes(self):
        scores = torch.tensor([[0.5, 0.0], [0.6, 0.0], [0.4, 0.0]])
        found = Selection(0.1, 0.5, 10, 10)(self.boxes, scores)
        assert found["boxes"].tolist() == [self.boxes[1].tolist(), self.boxes[2].tolist()]
        assert found["scores"].tolist() == pytest.approx([0.6, 0.4])

    def test_boxes_of_different_classes_stay(self):
        scores = torch.tensor([[0.5, 0.0], [0.0, 0.6], [0.0, 0.05]])
        found = Selection(0.1, 0.5, 10, 10)(self.boxes, scores)
        assert found["labels"].tolist() == [1, 0]

    def test_a_place_may_give_two_classes(self):
        found = Selection(0.1, 0.5, 10, 10)(self.boxes[:1], torch.tensor([[0.5, 0.3]]))
        assert found["labels"].tolist() == [0, 1]

    def test_limits_hold(self):
        scores = torch.tensor([[0.5, 0.0], [0.6, 0.0], [0.4, 0.0]])
        assert Selection(0.1, 1.0, 10, 2)(self.boxes, scores)["scores"].tolist() == pytest.approx([0.6, 0.5])
        assert Selection(0.1, 1.0, 1, 2)(self.boxes, scores)["scores"].tolist() == pytest.approx([0.6])
        assert Selection(0.9, 0.5, 10, 10)(self.boxes, scores)["boxes"].shape == (0, 4)
